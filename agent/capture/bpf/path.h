/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * The path of a file as the container sees it: from its dentry up, through mounts, to the root of the mount namespace. Not to
 * the process's own root: a process that calls chroot must not be able to give its executables other names.
 * bpf_d_path() would do this but may not be called from tracepoints.
 */
#ifndef PEERWATCH_PATH_H
#define PEERWATCH_PATH_H

#include "kernel.h"
#include "scratch.h"

/* Deeper paths are cut at the front and counted. */
#define PATH_DEPTH 40

/* Parent, and name with its length, stand beside each other in struct dentry: one read for both. */
struct dentry_head {
    void *parent;
    __u32 hash;
    __u32 length;
    void *name;
};

/* Begins at a `struct path` (dentry and mount): the path will stand at the end of scratch->path, from scratch->begin on. */
static __always_inline void begin_path(struct scratch *scratch, void *dentry, void *vfsmount) {
    scratch->begin = PATH_BYTES;
    scratch->depth = 0;
    scratch->dentry = dentry;
    scratch->mount = vfsmount;
    scratch->root = read_pointer(vfsmount, VFSMOUNT_MNT_ROOT);
}

/* Goes one name or one mount up; returns whether the path is complete. One step at a time, so that one loop walks all paths of a
 * process: the verifier follows each loop to its end, and that is most of what loading the probes costs. */
static __always_inline int walk_on(struct scratch *scratch) {
    void *dentry = scratch->dentry, *vfsmount = scratch->mount;
    __u32 begin = scratch->begin;
    if (dentry == scratch->root) {
        void *mount = vfsmount - MOUNT_MNT;
        void *outer = read_pointer(mount, MOUNT_MNT_PARENT);
        if (outer == mount || !outer)
            return 1;
        scratch->dentry = read_pointer(mount, MOUNT_MNT_MOUNTPOINT);
        scratch->mount = outer + MOUNT_MNT;
        scratch->root = read_pointer(outer + MOUNT_MNT, VFSMOUNT_MNT_ROOT);
        return 0;
    }
    struct dentry_head head = {};
#if DENTRY_D_NAME_LEN == DENTRY_D_PARENT + 12 && DENTRY_D_NAME_NAME == DENTRY_D_PARENT + 16
    bpf_probe_read_kernel(&head, sizeof(head), dentry + DENTRY_D_PARENT);
#else
    head.parent = read_pointer(dentry, DENTRY_D_PARENT);
    head.length = read_u32(dentry, DENTRY_D_NAME_LEN);
    head.name = read_pointer(dentry, DENTRY_D_NAME_NAME);
#endif
    __u32 length = BOUND(head.length, 255); /* NAME_MAX is 255 */
    scratch->depth += 1;
    if (begin < length + 1 || scratch->depth > PATH_DEPTH) {
        /* Without the '/' in front: what is left must not pass for a whole path. */
        if (begin < PATH_BYTES)
            scratch->begin = begin + 1;
        count(COUNTER_PATH_TRUNCATED);
        return 1;
    }
    begin -= length;
    bpf_probe_read_kernel(&scratch->path[begin & (PATH_BYTES - 1)], length, head.name);
    scratch->begin = begin;
    if (head.parent == dentry) /* a file without a place, as memfd_create() makes them: only its name */
        return 1;
    begin -= 1;
    scratch->path[begin & (PATH_BYTES - 1)] = '/';
    scratch->begin = begin;
    scratch->dentry = head.parent;
    return 0;
}

/* Appends `length` bytes, at most `most` (2^n - 1), to scratch->text, where there is room for them. */
static __always_inline void put(struct scratch *scratch, const void *bytes, __u32 length, __u32 most) {
    __u32 at = scratch->used;
    bpf_probe_read_kernel(&scratch->text[at & (TEXT_BYTES - 1)], BOUND(length, most), bytes);
    scratch->used = at + length;
}

/* Appends `length` bytes, at most `most` (2^n - 1), to scratch->text; returns how many there was room for. */
static __always_inline __u32 append(struct scratch *scratch, const void *bytes, __u32 length, __u32 most) {
    __u32 at = scratch->used;
    if (at + length > LONG_TEXT) {
        count(COUNTER_PATH_TRUNCATED);
        return 0;
    }
    put(scratch, bytes, length, most);
    return length;
}

/* Appends the path that was walked and a NUL to scratch->text; returns how many bytes that took. */
static __always_inline __u32 append_path(struct scratch *scratch) {
    if (scratch->begin == PATH_BYTES) { /* the root itself */
        scratch->begin = PATH_BYTES - 1;
        scratch->path[PATH_BYTES - 1] = '/';
    }
    scratch->path[PATH_BYTES] = 0;
    __u32 begin = scratch->begin;
    __u32 length = PATH_BYTES - begin;
    if (length > PATH_BYTES - 2)
        length = PATH_BYTES - 2;
    return append(scratch, &scratch->path[begin & (PATH_BYTES - 1)], length + 1, PATH_BYTES - 1);
}

#endif
