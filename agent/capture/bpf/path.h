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

/* Writes the path to the end of scratch->path, from scratch->begin on. */
static __always_inline void walk_path(struct scratch *scratch, void *dentry, void *vfsmount) {
    scratch->begin = PATH_BYTES;
    for (int depth = 0; depth < PATH_DEPTH; depth++) {
        void *parent = read_pointer(dentry, DENTRY_D_PARENT);
        if (dentry == read_pointer(vfsmount, VFSMOUNT_MNT_ROOT)) {
            void *mount = vfsmount - MOUNT_MNT;
            void *outer = read_pointer(mount, MOUNT_MNT_PARENT);
            if (outer == mount || !outer)
                return;
            dentry = read_pointer(mount, MOUNT_MNT_MOUNTPOINT);
            vfsmount = outer + MOUNT_MNT;
            continue;
        }
        __u32 length = BOUND(read_u32(dentry, DENTRY_D_NAME_LEN), 255); /* NAME_MAX is 255 */
        __u32 begin = scratch->begin;
        if (begin < length + 1)
            break;
        begin -= length;
        bpf_probe_read_kernel(&scratch->path[begin & (PATH_BYTES - 1)], length, read_pointer(dentry, DENTRY_D_NAME_NAME));
        scratch->begin = begin;
        if (parent == dentry) /* a file without a place, as memfd_create() makes them: only its name */
            return;
        begin -= 1;
        scratch->path[begin & (PATH_BYTES - 1)] = '/';
        scratch->begin = begin;
        dentry = parent;
    }
    /* Without the '/' in front: what is left must not pass for a whole path. */
    if (scratch->begin < PATH_BYTES)
        scratch->begin += 1;
    count(COUNTER_PATH_TRUNCATED);
}

/* Appends the path of a `struct path` and a NUL to scratch->text; returns how many bytes that took. */
static __always_inline __u32 append_path(struct scratch *scratch, void *path) {
    walk_path(scratch, read_pointer(path, PATH_DENTRY), read_pointer(path, PATH_MNT));
    if (scratch->begin == PATH_BYTES) { /* the root itself */
        scratch->begin = PATH_BYTES - 1;
        scratch->path[PATH_BYTES - 1] = '/';
    }
    __u32 begin = scratch->begin;
    __u32 length = PATH_BYTES - begin;
    __u32 at = scratch->used;
    if (length > PATH_BYTES - 1)
        length = PATH_BYTES - 1;
    if (at + length + 1 > LONG_TEXT) {
        count(COUNTER_PATH_TRUNCATED);
        return 0;
    }
    bpf_probe_read_kernel(&scratch->text[at & (TEXT_BYTES - 1)], BOUND(length, PATH_BYTES - 1), &scratch->path[begin & (PATH_BYTES - 1)]);
    at += length;
    scratch->text[at & (TEXT_BYTES - 1)] = 0;
    scratch->used = at + 1;
    return length + 1;
}

#endif
