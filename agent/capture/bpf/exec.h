/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * exec: sched_process_exec(task, old_pid, binprm) runs in the new image, after the point of no return (exec_binprm(),
 * fs/exec.c): what did not succeed does not come here.
 */
#ifndef PEERWATCH_EXEC_H
#define PEERWATCH_EXEC_H

#include "emit.h"
#include "process.h"

/* A process that a runtime starts outside and moved into the container's cgroup before it entered its namespaces (runc's
 * nsexec.c executes itself anew there): its parent is not in the container, but in the same mount namespace. */
static __always_inline int is_runtime(void *task, __u64 hierarchy, struct cgroup *cgroup) {
    void *parent = read_pointer(task, TASK_REAL_PARENT);
    __u64 key;
    struct cgroup *outside = cgroup_at(task_cgroup_node(parent, hierarchy), hierarchy, &key);
    return (!outside || outside->container != cgroup->container) &&
           read_pointer(read_pointer(parent, TASK_NSPROXY), NSPROXY_MNT_NS) ==
               read_pointer(read_pointer(task, TASK_NSPROXY), NSPROXY_MNT_NS);
}

RAW_TRACEPOINT_PROBE(sched_process_exec) {
    void *task = (void *)ctx->args[0];
    __u64 cgroup_id = 0;
    struct cgroup *cgroup = task_container(task, &cgroup_id);
    if (!cgroup)
        return 0;
    if (is_runtime(task, cgroup_id >> 56, cgroup)) {
        count(COUNTER_RUNTIME);
        return 0;
    }
    int zero = 0;
    struct scratch *scratch = scratches.lookup(&zero);
    if (!scratch)
        return 0;
    struct event *event = &scratch->event;
    __builtin_memset(event, 0, sizeof(*event));
    event->kind = KIND_EXEC;
    event->time = bpf_ktime_get_boot_ns();
    event->process.image = event->time;
    __u32 used = describe_process(scratch, task, cgroup, cgroup_id);
    if (used > SMALL_TEXT) {
        emit_long(scratch);
        keep_image(scratch);
    } else {
        keep_image(scratch);
        emit_small(event, scratch->text);
    }
    return 0;
}

#endif
