/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What a process is: identity, lineage, executable, arguments, flags. Worked out once per process image and kept, so that a
 * process that connects a thousand times pays once.
 */
#ifndef PEERWATCH_PROCESS_H
#define PEERWATCH_PROCESS_H

#include "cgroup.h"
#include "kernel.h"
#include "path.h"
#include "scratch.h"

/* Ancestors that are named; deeper trees are cut above, and followed on for as many to see where they begin. */
#define ANCESTORS 8
#define UNNAMED_ANCESTORS 64
#define ARGS_BYTES 4096

struct image {
    struct process process;
    char text[SMALL_TEXT];
};

/* Images are assembled here; text may be moved by up to 511 bytes. */
struct image_scratch {
    struct image image;
    char room[512];
};

/* By thread group id, least recently used go first: 8192 images of 504 bytes. What was evicted is worked out again. */
BPF_TABLE("lru_hash", __u32, struct image, images, 8192);
BPF_PERCPU_ARRAY(image_scratches, struct image_scratch, 1);

/* The innermost pid namespace of a thread group's leader; *level is its depth, 0 on the host. */
static __always_inline void *pid_namespace(void *leader, __u32 *level) {
    void *pid = read_pointer(leader, TASK_THREAD_PID);
    *level = read_u32(pid, PID_LEVEL) & 31; /* MAX_PID_NS_LEVEL is 32 */
    return read_pointer(pid, PID_NUMBERS + *level * UPID_SIZE + UPID_NS);
}

static __always_inline int is_socket(void *file) {
    return file && (read_u16(read_pointer(file, FILE_F_INODE), INODE_I_MODE) & S_IFMT) == S_IFSOCK;
}

static __always_inline __u32 stdio_flags(void *task) {
    __u32 flags = 0;
    void *table = read_pointer(read_pointer(task, TASK_FILES), FILES_FDT);
    void *files = read_pointer(table, FDTABLE_FD);
    if (read_u32(table, FDTABLE_MAX_FDS) >= 2 && (is_socket(read_pointer(files, 0)) || is_socket(read_pointer(files, 8))))
        flags |= FLAG_STDIO_SOCKET;
    if (read_pointer(read_pointer(task, TASK_SIGNAL), SIGNAL_TTY))
        flags |= FLAG_TTY;
    return flags;
}

static __always_inline __u32 file_flags(void *file) {
    void *inode = read_pointer(file, FILE_F_INODE);
    __u64 magic = read_u64(read_pointer(inode, INODE_I_SB), SUPER_BLOCK_S_MAGIC);
    if (!read_u32(inode, INODE_I_NLINK))
        return FLAG_MEMFD; /* memfd_create(), O_TMPFILE, or removed while open: no file behind it */
#ifdef OVL_INODE_UPPERDENTRY
    /* struct ovl_inode holds the VFS inode; __upperdentry is set once the file exists in the upper layer. */
    if (magic == OVERLAYFS_SUPER_MAGIC && read_pointer(inode, OVL_INODE_UPPERDENTRY - OVL_INODE_VFS_INODE))
        return FLAG_UPPER_LAYER;
#endif
    /* No image brings files in a tmpfs: /dev/shm, /run, memory volumes. */
    return magic == TMPFS_MAGIC ? FLAG_UPPER_LAYER : 0;
}

/* Fills scratch->event.process and scratch->text from a task; returns the text's length. Everything but `image` is set. */
static __always_inline __u32 describe_process(struct scratch *scratch, void *task, struct cgroup *cgroup, __u64 cgroup_id) {
    struct process *process = &scratch->event.process;
    scratch->used = 0;
    void *leader = read_pointer(task, TASK_GROUP_LEADER);
    void *mm = read_pointer(task, TASK_MM);
    void *file = read_pointer(mm, MM_EXE_FILE);
    void *parent = read_pointer(leader, TASK_REAL_PARENT);

    process->pid = read_u32(task, TASK_TGID);
    process->start = read_u64(leader, TASK_START_BOOTTIME);
    process->cgroup = cgroup_id;
    process->uid = read_u32(read_pointer(task, TASK_CRED), CRED_UID);
    process->parent_pid = read_u32(parent, TASK_TGID);
    process->parent_start = read_u64(read_pointer(parent, TASK_GROUP_LEADER), TASK_START_BOOTTIME);
    process->flags = stdio_flags(task) | file_flags(file);

    process->exe_length = append_path(scratch, file + FILE_F_PATH);
    process->cwd_length = append_path(scratch, read_pointer(task, TASK_FS) + FS_PWD);

    /* Up to the last process in the container, `top`. Its cgroup is the border: pid namespaces may be shared with the host or
     * with the pod, and a process may make more of them. */
    __u64 hierarchy = cgroup_id >> 56;
    __u32 ancestors = scratch->used;
    void *top = leader;
    int left = 0;
    for (int i = 0; i < ANCESTORS; i++) {
        void *parent_leader = read_pointer(parent, TASK_GROUP_LEADER);
        left = !is_inside(parent_leader, hierarchy, cgroup);
        if (left)
            break;
        append_path(scratch, read_pointer(read_pointer(parent, TASK_MM), MM_EXE_FILE) + FILE_F_PATH);
        top = parent_leader;
        parent = read_pointer(parent_leader, TASK_REAL_PARENT);
    }
    for (int i = 0; i < UNNAMED_ANCESTORS && !left; i++) {
        void *parent_leader = read_pointer(parent, TASK_GROUP_LEADER);
        left = !is_inside(parent_leader, hierarchy, cgroup);
        if (left)
            break;
        top = parent_leader;
        parent = read_pointer(parent_leader, TASK_REAL_PARENT);
    }
    __u32 used = scratch->used;
    process->ancestors_length = used - ancestors;

    __u32 level;
    pid_namespace(leader, &level);
    if (!level)
        process->flags |= FLAG_HOST_NAMESPACE;
    __u64 top_start = read_u64(top, TASK_START_BOOTTIME);
    if (!cgroup->first_start)
        cgroup->first_start = top_start;
    void *reaper = read_pointer(read_pointer(pid_namespace(top, &level), PID_NAMESPACE_CHILD_REAPER), TASK_GROUP_LEADER);
    /* A container's first process is whom its orphans go to, unless it shares the namespace: then it came first. An orphan there
     * has left its lineage, and nobody outside has brought it. Nor is a tree too deep to follow a reason to say so. */
    int is_first = is_inside(reaper, hierarchy, cgroup) ? top == reaper : top_start <= cgroup->first_start;
    if (left && !is_first && read_pointer(parent, TASK_GROUP_LEADER) != reaper)
        process->flags |= FLAG_INJECTED;

    __u64 args = read_u64(mm, MM_ARG_START);
    __u64 length = read_u64(mm, MM_ARG_END) - args;
    __u32 room = used < LONG_TEXT ? LONG_TEXT - used : 0;
    if (room > ARGS_BYTES - 1)
        room = ARGS_BYTES - 1;
    if (length > room) {
        length = room;
        process->flags |= FLAG_ARGS_TRUNCATED;
        count(COUNTER_ARGS_TRUNCATED);
    }
    if (bpf_probe_read_user(&scratch->text[used & (TEXT_BYTES - 1)], BOUND(length, ARGS_BYTES - 1), (void *)args)) {
        length = 0;
        count(COUNTER_READ_FAILED);
    }
    process->args_length = length;
    return used + length;
}

static __always_inline __u16 take(__u32 *room, __u16 length) {
    __u16 taken = length < *room ? length : *room;
    *room -= taken;
    return taken;
}

/* Cuts a described process to what a small record holds: the last parts first, since each lies where those before it end. */
static __always_inline void fit_small(struct process *process) {
    __u32 room = SMALL_TEXT;
    __u16 args_length = process->args_length;
    process->exe_length = take(&room, process->exe_length);
    process->cwd_length = take(&room, process->cwd_length);
    process->ancestors_length = take(&room, process->ancestors_length);
    process->args_length = take(&room, args_length);
    if (process->args_length < args_length)
        process->flags |= FLAG_ARGS_TRUNCATED;
}

#endif
