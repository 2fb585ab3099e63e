/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * Work space per CPU (the BPF stack has 512 bytes), the counters, and the maps that probes share.
 */
#ifndef PEERWATCH_SCRATCH_H
#define PEERWATCH_SCRATCH_H

#include "kernel.h"
#include "records.h"

#define PATH_BYTES 4096 /* PATH_MAX */
#define TEXT_BYTES 8192
#define CGROUP_PATH 512

struct scratch {
    struct event event;
    /* Where the path begins and how much text is used. They live here, not in registers, because the verifier would follow a
     * size back through every loop that it came from; what it loads from memory has no past. */
    volatile __u32 begin;
    volatile __u32 used;
    /* Each has room behind it for a longest write at its last place: the verifier knows the parts, not their sum. */
    char path[PATH_BYTES + PATH_BYTES];
    char text[TEXT_BYTES + PATH_BYTES];
};

/* What is known of a cgroup. */
struct cgroup {
    __u64 first_start; /* start of the first process seen in it that came from outside */
    __u64 container;   /* kernfs id of the container's own cgroup, which this is or is below of; 0: no container's */
    __u32 is_complete; /* the path reaches the root: a container that nests cgroups deep enough could hide its own front */
    __u32 length;
    char path[CGROUP_PATH]; /* names from the leaf to the root, each followed by '/' */
};

BPF_PERCPU_ARRAY(scratches, struct scratch, 1);
BPF_PERCPU_ARRAY(counters, __u64, COUNTER_MAX);
/* What outlives an agent. [0]: wall clock minus boot clock in nanoseconds when the probes were attached; it turns start times
 * of processes into wall time once and for all: with the current difference, a clock that is set would change the identity of
 * every process. [1]: how many lost events agents have reported. */
BPF_ARRAY(state, __u64, 2);

static __always_inline void count(int which) {
    int key = which;
    __u64 *value = counters.lookup(&key);
    if (value)
        *value += 1;
}

#endif
