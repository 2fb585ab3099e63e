/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * peerwatch's probes, one compilation unit for bcc. Only tracepoints: they are stable, allowed under lockdown, and io_uring
 * passes them too.
 */
#include "anchors.h"
#include "exec.h"
#include "tcp.h"
#include "syscalls.h"
#include "uring.h"
#include "control.h"
