/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * Whose process is it? Its cgroup's names carry the container's id; here it is only decided whether there is one, and the
 * names are kept for the agent, once per cgroup.
 */
#ifndef PEERWATCH_CGROUP_H
#define PEERWATCH_CGROUP_H

#include "kernel.h"
#include "scratch.h"

/* Least recently used go first. */
BPF_TABLE("lru_hash", __u64, struct cgroup, cgroups, CGROUPS);

/* Names of one cgroup are assembled here: a struct cgroup is too large for the stack. */
struct cgroup_scratch {
    struct cgroup cgroup;
    char room[256];
    /* In memory and not in registers for the reason that struct scratch gives. */
    volatile __u64 below; /* the cgroup looked at before, if it has a container's name */
    void *volatile node;
    volatile __u32 used;
    __u32 unused;
};
BPF_PERCPU_ARRAY(cgroup_scratches, struct cgroup_scratch, 1);

/* Levels that are looked at, from the leaf up: /docker/<id>/kubelet/kubepods/burstable/pod<uid>/<id>/<own> has eight. */
#define CGROUP_DEPTH 10
#define CONTAINER_ID_LENGTH 64

/* cgroup ids of different hierarchies may be equal: the hierarchy goes into the highest byte. */
static __always_inline __u64 key_of(__u64 id, __u64 hierarchy) {
    return (id & 0x00ffffffffffffffULL) | (hierarchy << 56);
}

static __always_inline __u64 cgroup_key(void *kernfs_node, __u64 hierarchy) {
    return key_of(read_u64(kernfs_node, KERNFS_NODE_ID), hierarchy);
}

#define EACH_BYTE(b) (0x0101010101010101ULL * (b))

/* Sets the highest bit of each byte that is 0-9 or a-f: adding (0x80 - c) sets it where the byte is at least c. No branches:
 * the verifier would take each one both ways. */
static __always_inline __u64 hex_bits(__u64 bytes) {
    __u64 digit = (bytes + EACH_BYTE(0x80 - '0')) & ~(bytes + EACH_BYTE(0x80 - ':'));
    __u64 letter = (bytes + EACH_BYTE(0x80 - 'a')) & ~(bytes + EACH_BYTE(0x80 - 'g'));
    return (digit | letter) & ~bytes;
}

static __always_inline int is_container_id(const char *text) {
    __u64 words[CONTAINER_ID_LENGTH / 8] = {};
    bpf_probe_read_kernel(words, sizeof(words), text);
    __u64 hex = EACH_BYTE(0x80);
#pragma unroll
    for (int i = 0; i < CONTAINER_ID_LENGTH / 8; i++)
        hex &= hex_bits(words[i]);
    return hex == EACH_BYTE(0x80);
}

/* Every runtime and driver ends a container's cgroup with its id of 64 hexadecimal digits, or with that and ".scope". */
static __always_inline int has_container_id(const char *name, long length) {
    return (length >= CONTAINER_ID_LENGTH && is_container_id(name + length - CONTAINER_ID_LENGTH)) ||
           (length >= CONTAINER_ID_LENGTH + 6 && is_container_id(name + length - CONTAINER_ID_LENGTH - 6));
}

/* A pod's cgroup ends with its uid (36 characters, a static pod's 32): `pod<uid>`, or `…-pod<uid>.slice` under systemd. Sums that
 * are 0 in place of comparisons, for the reason that hex_bits() gives. */
static __always_inline int is_pod(const char *name, long length) {
    __u32 begin = 0, uid = 0, static_uid = 0, end = 0;
    const __u32 pod = '-' | 'p' << 8 | 'o' << 16 | 'd' << 24, slice = 'l' | 'i' << 8 | 'c' << 16 | 'e' << 24;
    bpf_probe_read_kernel(&begin, 3, name);
    bpf_probe_read_kernel(&uid, 4, name + length - (4 + 36 + 6));
    bpf_probe_read_kernel(&static_uid, 4, name + length - (4 + 32 + 6));
    bpf_probe_read_kernel(&end, 4, name + length - 4);
    __u64 differs = (begin ^ pod >> 8) | (__u64)(length - (3 + 36)) * (length - (3 + 32));
    __u64 slice_differs = (end ^ slice) | (__u64)(uid ^ pod) * (static_uid ^ pod) | (__u64)(length - (4 + 36 + 6)) >> 63;
    return !differs || !slice_differs;
}

#ifdef CGROUP_V1_SUBSYSTEM
#define HIERARCHIES 2
#else
#define HIERARCHIES 1
#define CGROUP_V1_SUBSYSTEM 0
#endif

/* The kernfs node of a task's cgroup in one hierarchy: 0 is the unified one (v2), n the v1 subsystem with id n - 1. */
static __always_inline void *task_cgroup_node(void *task, int hierarchy) {
    void *set = read_pointer(task, TASK_CGROUPS);
    void *cgroup = hierarchy ? read_pointer(read_pointer(set, CSS_SET_SUBSYS + 8 * (hierarchy - 1)), CSS_CGROUP)
                             : read_pointer(set, CSS_SET_DFL_CGRP);
    return read_pointer(cgroup, CGROUP_KN);
}

/* Whether the cgroup of a task is known. */
static __always_inline int is_met(void *task, __u64 hierarchy) {
    __u64 key = cgroup_key(task_cgroup_node(task, hierarchy), hierarchy);
    return cgroups.lookup(&key) != 0;
}

/* Keeps a cgroup's names. */
static __always_inline void describe_cgroup(__u64 key, void *leaf) {
    int zero = 0;
    struct cgroup_scratch *scratch = cgroup_scratches.lookup(&zero);
    if (!scratch)
        return;
    scratch->used = 0;
    scratch->below = 0;
    scratch->node = leaf;
    scratch->cgroup.container = 0;
    scratch->cgroup.is_complete = 0;
    scratch->cgroup.first_start = 0;
#pragma nounroll
    for (int depth = 0; depth < CGROUP_DEPTH; depth++) {
        void *node = scratch->node;
        void *parent = read_pointer(node, KERNFS_NODE_PARENT);
        if (!parent) { /* the root has no name */
            scratch->cgroup.is_complete = 1;
            break;
        }
        __u32 used = scratch->used;
        char *name = &scratch->cgroup.path[used & (CGROUP_PATH - 1)];
        long length = bpf_probe_read_kernel_str(name, 160, read_pointer(node, KERNFS_NODE_NAME));
        if (length <= 1 || used + length > CGROUP_PATH - 1)
            break;
        /* As agent/identity/cgroups.py decides: what is directly below the uppermost pod, else the innermost. */
        if (scratch->below && is_pod(name, length - 1))
            scratch->cgroup.container = scratch->below;
        scratch->below = has_container_id(name, length - 1) ? read_u64(node, KERNFS_NODE_ID) : 0;
        if (!scratch->cgroup.container)
            scratch->cgroup.container = scratch->below;
        used += length;
        scratch->cgroup.path[(used - 1) & (CGROUP_PATH - 1)] = '/';
        scratch->used = used;
        scratch->node = parent;
    }
    scratch->cgroup.length = scratch->used;
    cgroups.update(&key, &scratch->cgroup);
}

/* Keeps the names of all cgroups of the current process and of its parent. */
static __always_inline void describe_cgroups(void *task) {
    void *parent = read_pointer(task, TASK_REAL_PARENT);
#pragma nounroll
    for (int i = 0; i < 2 * HIERARCHIES; i++) {
        __u64 hierarchy = i & 1 ? CGROUP_V1_SUBSYSTEM + 1 : 0;
        void *node = task_cgroup_node(i & 2 ? parent : task, hierarchy);
        __u64 key = cgroup_key(node, hierarchy);
        if (node && !cgroups.lookup(&key))
            describe_cgroup(key, node);
    }
}

/* Of the current task. */
static __always_inline struct cgroup *known_cgroup(void *node, __u64 hierarchy, __u64 *key) {
    *key = key_of(FIELD_U64(node, KERNFS_NODE_ID), hierarchy);
    return cgroups.lookup(key);
}

/* What task_container() finds. */
enum membership {
    OUTSIDE,
    INSIDE,
    UNDESCRIBED, /* describe_cgroups() must come first */
};

/* Finds the cgroup of the current task's container. With `any`, outside of containers its cgroup all the same. Runtimes on v1 and
 * hybrid hosts put containers into the v1 hierarchies, some into v2 too. */
static __always_inline enum membership task_container(void *task, int any, struct cgroup **found, __u64 *key) {
    void *set = FIELD_POINTER(task, TASK_CGROUPS);
    if (!set)
        return OUTSIDE;
    void *cgroup = FIELD_POINTER(set, CSS_SET_DFL_CGRP);
    if (!cgroup)
        return OUTSIDE;
    void *node = FIELD_POINTER(cgroup, CGROUP_KN);
    if (!node)
        return OUTSIDE;
    struct cgroup *unified = known_cgroup(node, 0, key);
    if (!unified)
        return UNDESCRIBED;
    *found = unified;
    if (unified->container)
        return INSIDE;
#if HIERARCHIES == 2
    void *state = FIELD_POINTER(set, CSS_SET_SUBSYS + 8 * CGROUP_V1_SUBSYSTEM);
    if (!state)
        return OUTSIDE;
    cgroup = FIELD_POINTER(state, CSS_CGROUP);
    if (!cgroup)
        return OUTSIDE;
    node = FIELD_POINTER(cgroup, CGROUP_KN);
    if (!node)
        return OUTSIDE;
    __u64 v1_key;
    struct cgroup *v1 = known_cgroup(node, CGROUP_V1_SUBSYSTEM + 1, &v1_key);
    if (!v1)
        return UNDESCRIBED;
    if (v1->container) {
        *found = v1;
        *key = v1_key;
        return INSIDE;
    }
#endif
#ifdef CAPTURE_HOST
    any = 1;
#endif
    return any ? INSIDE : OUTSIDE;
}

/* Whether a task is in the same container as `cgroup`. A cgroup that no probe has met yet counts as outside. */
static __always_inline int is_inside(void *task, __u64 hierarchy, struct cgroup *cgroup) {
    __u64 key = cgroup_key(task_cgroup_node(task, hierarchy), hierarchy);
    struct cgroup *known = cgroups.lookup(&key);
#ifdef CAPTURE_HOST
    if (!read_u32(task, TASK_TGID)) /* the idle task has started the first process, and is no ancestor */
        return 0;
#endif
    return known && known->container == cgroup->container;
}

#endif
