/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * peerwatch's probes, one compilation unit for bcc. Only tracepoints: they are stable, allowed under lockdown, and io_uring
 * passes them too.
 */
#include "cgroup.h"
#include "connect.h"
#include "emit.h"
#include "exec.h"
#include "process.h"
