/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What a process is: identity, lineage, executable, arguments, flags. Worked out once per process image and kept, so that a
 * process that connects a thousand times pays once, and its children have their lineage from it.
 */
#ifndef PEERWATCH_PROCESS_H
#define PEERWATCH_PROCESS_H

#include "cgroup.h"
#include "kernel.h"
#include "path.h"
#include "scratch.h"

#define ARGS_BYTES 4096

struct image {
    struct process process;
    __u64 fold; /* the fold that counts its execs: id and place; id 0: none */
    __u32 place;
    __u32 unused;
    char text[SMALL_TEXT];
};

/* Images are assembled here; text may be moved by up to 511 bytes. */
struct image_scratch {
    struct image image;
    char room[512];
};

/* By thread group id, least recently used go first. What was evicted is worked out again while the process lives. */
BPF_TABLE("lru_hash", __u32, struct image, images, IMAGES);
BPF_PERCPU_ARRAY(image_scratches, struct image_scratch, 1);

/* A process whose exec was counted in a fold: it is described there, as long as the fold has this id. Taken out when the process
 * ends. On a cache line of its own. */
struct repeat {
    __u64 users; /* whoever makes it one has the place */
    __u64 start;
    __u64 image;
    __u64 fold;
    __u32 place;
    __u32 pid;
    __u32 exec_id;
    __u32 unused[5];
};

/* A hash table by thread group id, with room for so many of a kind: a third of the price of the kernel's own. A process puts itself
 * there and takes itself out, so only for a place that nobody has do two compete. */
BPF_ARRAY(repeats, struct repeat, REPEATS);
#define REPEAT_WAYS 4

static __always_inline struct repeat *repeat_at(__u32 pid, int way) {
    __u32 place = (pid & (REPEATS / REPEAT_WAYS - 1)) * REPEAT_WAYS + way;
    return repeats.lookup(&place);
}

/* What is noted of a thread group, perhaps of one before that had the same id. */
static __always_inline struct repeat *find_repeat(__u32 pid) {
#pragma unroll
    for (int way = 0; way < REPEAT_WAYS; way++) {
        struct repeat *repeat = repeat_at(pid, way);
        if (repeat && repeat->pid == pid)
            return repeat;
    }
    return 0;
}

/* Returns a place that nobody else has, or 0. */
static __always_inline struct repeat *take_repeat(__u32 pid) {
#pragma unroll
    for (int way = 0; way < REPEAT_WAYS; way++) {
        struct repeat *repeat = repeat_at(pid, way);
        if (!repeat || repeat->users)
            continue;
        if (fetch_add(&repeat->users, 1) == 0) {
            repeat->pid = pid;
            return repeat;
        }
        fetch_add(&repeat->users, -1ULL);
    }
    return 0;
}

static __always_inline void give_repeat_back(struct repeat *repeat) {
    repeat->pid = 0;
    fetch_add(&repeat->users, -1ULL);
}

static __always_inline struct image *image_of(__u64 start, __u32 pid, __u32 exec_id) {
    struct image *image = images.lookup(&pid);
    return image && image->process.start == start && image->process.exec_id == exec_id ? image : 0;
}

/* The innermost pid namespace of a thread group's leader; *level is its depth, 0 on the host. */
static __always_inline void *pid_namespace(void *leader, __u32 *level) {
    void *pid = read_pointer(leader, TASK_THREAD_PID);
    *level = read_u32(pid, PID_LEVEL) & 31; /* MAX_PID_NS_LEVEL is 32 */
    return read_pointer(pid, PID_NUMBERS + *level * UPID_SIZE + UPID_NS);
}

static __always_inline int is_socket(void *file) {
    return file && (read_u16(read_pointer(file, FILE_F_INODE), INODE_I_MODE) & S_IFMT) == S_IFSOCK;
}

/* Of the current process. */
static __always_inline __u32 stdio_flags(void *task) {
    __u32 flags = 0;
    void *files = FIELD_POINTER(task, TASK_FILES);
    if (files) {
        void *table = FIELD_POINTER(files, FILES_FDT);
        if (table && FIELD_U32(table, FDTABLE_MAX_FDS) >= 2) {
            void *stdio[2] = {};
            bpf_probe_read_kernel(stdio, sizeof(stdio), FIELD_POINTER(table, FDTABLE_FD));
            if (is_socket(stdio[0]) || is_socket(stdio[1]))
                flags |= FLAG_STDIO_SOCKET;
        }
    }
    void *signal = FIELD_POINTER(task, TASK_SIGNAL);
    if (signal && FIELD_POINTER(signal, SIGNAL_TTY))
        flags |= FLAG_TTY;
    return flags;
}

/* Of a file that the current process has. */
static __always_inline __u32 file_flags(void *inode) {
    void *super_block = FIELD_POINTER(inode, INODE_I_SB);
    __u64 magic = super_block ? FIELD_U64(super_block, SUPER_BLOCK_S_MAGIC) : 0;
    if (!FIELD_U32(inode, INODE_I_NLINK))
        return FLAG_MEMFD; /* memfd_create(), O_TMPFILE, or removed while open: no file behind it */
#ifdef OVL_INODE_UPPERDENTRY
    /* struct ovl_inode holds the VFS inode; __upperdentry is set once the file exists in the upper layer. */
    if (magic == OVERLAYFS_SUPER_MAGIC && read_pointer(inode, OVL_INODE_UPPERDENTRY - OVL_INODE_VFS_INODE))
        return FLAG_UPPER_LAYER;
#endif
    /* No image brings files in a tmpfs: /dev/shm, /run, memory volumes. */
    return magic == TMPFS_MAGIC ? FLAG_UPPER_LAYER : 0;
}

static __always_inline __u32 file_flags_of(void *task) {
    void *mm = FIELD_POINTER(task, TASK_MM);
    void *file = mm ? FIELD_POINTER(mm, MM_EXE_FILE) : 0;
    void *inode = file ? FIELD_POINTER(file, FILE_F_INODE) : 0;
    return inode ? file_flags(inode) : 0;
}

/* Fills in who the current process is and runs as. struct cred: uid, gid, suid, sgid, euid, egid stand in a row. */
static __always_inline void identify(struct process *process, void *task, __u64 cgroup_id) {
    process->pid = FIELD_U32(task, TASK_TGID);
    process->cgroup = cgroup_id;
    void *cred = FIELD_POINTER(task, TASK_CRED);
    if (cred) {
        process->uid = FIELD_U32(cred, CRED_UID);
        process->gid = FIELD_U32(cred, CRED_UID + 4);
        process->effective_uid = FIELD_U32(cred, CRED_UID + 16);
        process->effective_gid = FIELD_U32(cred, CRED_UID + 20);
        /* In halves, as the kernel had them until 6.3. */
        process->capabilities = FIELD_U32(cred, CRED_CAP_EFFECTIVE) | (__u64)FIELD_U32(cred, CRED_CAP_EFFECTIVE + 4) << 32;
    }
    process->exec_id = FIELD_U32(task, TASK_SELF_EXEC_ID);
    void *leader = FIELD_POINTER(task, TASK_GROUP_LEADER);
    if (leader) {
        process->start = FIELD_U64(leader, TASK_START_BOOTTIME);
        void *parent = FIELD_POINTER(leader, TASK_REAL_PARENT);
        if (parent) {
            process->parent_pid = FIELD_U32(parent, TASK_TGID);
            void *parent_leader = FIELD_POINTER(parent, TASK_GROUP_LEADER);
            if (parent_leader)
                process->parent_start = FIELD_U64(parent_leader, TASK_START_BOOTTIME);
        }
    }
}

/* Whether the thread group of the current task, or of its parent, is the agent, which says so (control.h). Its pid alone may be
 * another's by now. */
static __always_inline int is_agent(void *task) {
    __u32 pid = state_of(STATE_CANARY);
    return pid && FIELD_U32(task, TASK_TGID) == pid &&
           read_u64(FIELD_POINTER(task, TASK_GROUP_LEADER), TASK_START_BOOTTIME) == state_of(STATE_CANARY_START);
}

static __always_inline __u16 take(__u32 *room, __u16 length) {
    __u16 taken = length < *room ? length : *room;
    *room -= taken;
    return taken;
}

/* Keeps the image of the process in `scratch`, cut to the small size, and returns it. A folder that leaves no room for the
 * arguments is left out. */
static __always_inline struct image *keep_image(struct scratch *scratch) {
    int zero = 0;
    struct image_scratch *work = image_scratches.lookup(&zero);
    if (!work)
        return 0;
    struct image *image = &work->image;
    struct process *process = &image->process;
    *process = scratch->event.process;
    image->fold = 0;
    bpf_probe_read_kernel(image->text, SMALL_TEXT, scratch->text);
    if (scratch->used > SMALL_TEXT) {
        __u32 head = process->exe_length + process->script_length + process->ancestors_length;
        if (head < SMALL_TEXT) {
            __u32 rest = head + process->cwd_length;
            process->cwd_length = 0;
            bpf_probe_read_kernel(&image->text[BOUND(head, 511)], SMALL_TEXT, &scratch->text[BOUND(rest, TEXT_BYTES - 1)]);
        }
        /* The last parts first, since each lies where those before it end. */
        __u32 room = SMALL_TEXT;
        __u16 ancestors_length = process->ancestors_length, args_length = process->args_length;
        process->exe_length = take(&room, process->exe_length);
        process->script_length = take(&room, process->script_length);
        process->ancestors_length = take(&room, ancestors_length);
        process->cwd_length = take(&room, process->cwd_length);
        process->args_length = take(&room, args_length);
        if (process->args_length < args_length)
            process->flags |= FLAG_ARGS_TRUNCATED;
        if (process->ancestors_length < ancestors_length)
            process->flags |= FLAG_LINEAGE_CUT;
    }
    __u32 pid = process->pid;
    images.update(&pid, image);
    return images.lookup(&pid);
}

#endif
