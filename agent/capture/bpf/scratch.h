/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * Work space per CPU (the BPF stack has 512 bytes), the counters, and the maps that probes share.
 */
#ifndef PEERWATCH_SCRATCH_H
#define PEERWATCH_SCRATCH_H

#include "kernel.h"
#include "keys.h"
#include "records.h"

#define PATH_BYTES 4096 /* PATH_MAX */
#define TEXT_BYTES 8192
#define CGROUP_PATH 512
#define SCRIPT_BYTES 256 /* of a script's path as it was given */

struct scratch {
    struct event event;
    union key key;
    __u32 is_foldable; /* `key` says what this event repeats */
    __u32 script_length;
    __u32 resume; /* the tail call that comes after this one; 0: none */
    __u32 message; /* of one sendmmsg() */
    __u64 fold; /* exit: what counted its exec */
    __u32 place;
    __u32 is_described; /* its cgroups, just now */
    volatile __u32 own_flags;
    __u32 operation; /* of a request to io_uring, */
    void *ring;
    void *request;
    __s64 result;
    /* Where the path begins and how much text is used, and where in which path the walk is. They live here, not in registers,
     * because the verifier would follow a value back through every loop that it came from; what it loads from memory has no past. */
    volatile __u32 begin;
    volatile __u32 used;
    volatile __u32 depth;
    volatile __u32 stage;
    volatile __u32 named; /* ancestors */
    volatile __u32 before; /* where the text ended before the ancestor that is being appended */
    volatile __u32 lineage_head;
    volatile __u32 lineage_exe; /* lengths in what is known of the parent */
    volatile __u32 lineage_begin;
    volatile __u32 lineage_length;
    char *volatile lineage;
    void *volatile dentry;
    void *volatile mount;
    void *volatile root;
    void *volatile top;    /* the last process of the lineage that is known to be in the container, */
    void *volatile parent; /* and its parent, perhaps outside */
    char script[SCRIPT_BYTES];
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

/* One for the process that a probe runs in, one for what may interrupt it: the end of a TCP connect comes with a packet. */
#define OWN_SCRATCH 0
#define PACKET_SCRATCH 1
BPF_PERCPU_ARRAY(scratches, struct scratch, 2);

struct counts {
    __u64 of[COUNTER_MAX];
};
BPF_PERCPU_ARRAY(counters, struct counts, 1);

/* What outlives an agent; the agent writes it, probes read it. */
enum state {
    /* Wall clock minus boot clock in nanoseconds when the probes were attached; it turns start times of processes into wall time
     * once and for all: with the current difference, a clock that is set would change the identity of every process. */
    STATE_BOOT_OFFSET = 0,
    /* Random, one per set of rings: positions in them mean nothing in others. */
    STATE_INSTANCE = 1,
    /* The agent's thread group id and start: what it executes and whom it connects to on its own host are its canaries. */
    STATE_CANARY = 2,
    STATE_CANARY_START = 3,
    /* How many lost events agents have reported, by counter. */
    STATE_REPORTED_RING_FULL = 4,
    STATE_REPORTED_SENDS_SKIPPED = 5,
    STATE_MAX = 6,
};
BPF_ARRAY(state, __u64, STATE_MAX);

/* How the records are laid out, as the loader wrote it: an agent of another version reads what these probes leave behind. */
struct layout {
    char text[4096];
};
BPF_ARRAY(layout, struct layout, 1);

static __always_inline void count_more(int which, __u64 number) {
    int zero = 0;
    struct counts *counts = counters.lookup(&zero);
    if (counts)
        counts->of[which] += number;
}

static __always_inline void count(int which) {
    count_more(which, 1);
}

static __always_inline __u64 state_of(int which) {
    __u64 *value = state.lookup(&which);
    return value ? *value : 0;
}

static __always_inline struct scratch *scratch_of(int which) {
    return scratches.lookup(&which);
}

#endif
