/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * exec: sched_process_exec(task, old_pid, binprm) runs in the new image, after the point of no return (exec_binprm(),
 * fs/exec.c): what did not succeed does not come here.
 */
#ifndef PEERWATCH_EXEC_H
#define PEERWATCH_EXEC_H

#include "first.h"

/* A process that a runtime starts outside and moved into the container's cgroup before it entered its namespaces (runc's
 * nsexec.c executes itself anew there): its parent is not in the container, but in the same mount namespace. */
static __always_inline int is_runtime(void *task, void *parent, __u64 hierarchy, struct cgroup *cgroup) {
    return !is_inside(parent, hierarchy, cgroup) &&
           read_pointer(read_pointer(parent, TASK_NSPROXY), NSPROXY_MNT_NS) ==
               read_pointer(read_pointer(task, TASK_NSPROXY), NSPROXY_MNT_NS);
}

/* Levels whose names say whether a file or folder was moved. */
#define NAMED_LEVELS 8

/* Mixes the hashes and lengths that the kernel keeps of a path's names, up to the root, which is its own parent. Two reads: the
 * verifier of older kernels (met in 6.1) sees no member of eight bytes there. */
static __always_inline __u64 hash_names(void *dentry) {
    __u64 names = 0;
#pragma unroll
    for (int level = 0; level < NAMED_LEVELS; level++) {
        names = names * 31 + (FIELD_U32(dentry, DENTRY_D_NAME_HASH) | (__u64)FIELD_U32(dentry, DENTRY_D_NAME_LEN) << 32);
        void *parent = FIELD_POINTER(dentry, DENTRY_D_PARENT);
        if (!parent || parent == dentry)
            break;
        dentry = parent;
    }
    return names;
}

/* Writes what this exec repeats if others were like it; returns whether that can be said. */
static __always_inline int write_exec_key(struct scratch *scratch, void *task, void *parent) {
    struct process *process = &scratch->event.process;
    struct exec_key *key = &scratch->key.exec;
    void *mm = FIELD_POINTER(task, TASK_MM);
    if (!mm)
        return 0;
    __u64 args = FIELD_U64(mm, MM_ARG_START);
    __u64 length = FIELD_U64(mm, MM_ARG_END) - args;
    if (length > KEY_ARGS)
        return 0;
    void *file = FIELD_POINTER(mm, MM_EXE_FILE);
    if (!file)
        return 0;
    __builtin_memset(key, 0, sizeof(*key));
    /* read_user_memory() wants to see the bound. */
    if (read_user_memory(key->args, BOUND(length, 255) > KEY_ARGS ? KEY_ARGS : BOUND(length, 255), (void *)args))
        return 0;
    void *dentry = FIELD_POINTER(file, FILE_F_PATH + PATH_DENTRY);
    void *inode = FIELD_POINTER(file, FILE_F_INODE);
    if (!dentry || !inode)
        return 0;
    void *fs = FIELD_POINTER(task, TASK_FS);
    if (!fs)
        return 0;
    void *cwd = FIELD_POINTER(fs, FS_PWD + PATH_DENTRY);
    if (!cwd)
        return 0;
    key->parent_start = process->parent_start;
    key->parent_pid = process->parent_pid;
    key->parent_exec_id = FIELD_U32(parent, TASK_SELF_EXEC_ID);
    key->cgroup = process->cgroup;
    key->dentry = (__u64)dentry;
    key->mount = FIELD_U64(file, FILE_F_PATH + PATH_MNT);
    key->inode = FIELD_U64(inode, INODE_I_INO);
    key->changed = FIELD_U64(inode, INODE_I_CTIME_SEC) * 1000000000ULL + FIELD_U32(inode, INODE_I_CTIME_NSEC);
    key->names = hash_names(dentry) ^ (hash_names(cwd) << 1);
    key->folder = (__u64)cwd;
    key->folder_mount = FIELD_U64(fs, FS_PWD + PATH_MNT);
    key->capabilities = process->capabilities;
    key->uid = process->uid;
    key->gid = process->gid;
    key->effective_uid = process->effective_uid;
    key->effective_gid = process->effective_gid;
    key->flags = stdio_flags(task) | file_flags(inode);
    key->args_length = length;
    key->script_length = scratch->script_length;
    return 1;
}

/* A fold no longer describes a process. */
static __always_inline void leave_fold(struct repeat *repeat) {
    struct fold *fold = fold_of(repeat->fold, repeat->place);
    if (fold)
        __sync_fetch_and_add(&fold->living, -1ULL);
}

/* Notes that a process is described by a fold, which stays as long; returns whether there was room. */
static __always_inline int keep_repeat(struct process *own, struct fold *fold) {
    struct repeat *repeat = find_repeat(own->pid);
    if (repeat) /* it was a repeat of something else before */
        leave_fold(repeat);
    else
        repeat = take_repeat(own->pid);
    if (!repeat)
        return 0;
    repeat->start = own->start;
    repeat->image = own->image;
    repeat->fold = fold->id;
    repeat->place = fold->place;
    repeat->exec_id = own->exec_id;
    __sync_fetch_and_add(&fold->living, 1);
    return 1;
}

/* What repeats is counted; in full it is handed over by itself, with the description that the fold has: half the price of working
 * it out again. Without room in the ring it is counted then, too, and not lost. */
static __always_inline void repeat_exec(struct event *event, struct fold *fold) {
#ifndef FOLDING
    struct process *process = &event->process, *known = &fold->first.event.process;
    process->gained = known->gained;
    process->flags = known->flags;
    process->exe_length = known->exe_length;
    process->script_length = known->script_length;
    process->ancestors_length = known->ancestors_length;
    process->cwd_length = known->cwd_length;
    process->args_length = known->args_length;
    event->count = 1;
    event->last_time = event->time;
    fold->last_time = event->time; /* it is in use */
    if (emit_small(event, fold->first.text))
        return;
#endif
    count_in(fold, event->time, 0);
}

/* They stand beside each other in struct linux_binprm: one read for both. */
struct binprm_names {
    void *filename, *interpreter;
};

static __always_inline struct binprm_names read_names(void *binary) {
    struct binprm_names names = {};
#if BINPRM_INTERP == BINPRM_FILENAME + 8
    bpf_probe_read_kernel(&names, sizeof(names), binary + BINPRM_FILENAME);
#else
    names.filename = read_pointer(binary, BINPRM_FILENAME);
    names.interpreter = read_pointer(binary, BINPRM_INTERP);
#endif
    return names;
}

int process_exec(struct raw_arguments *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    void *parent = FIELD_POINTER(task, TASK_REAL_PARENT);
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!parent || !scratch)
        return 0;
    __u64 cgroup_id = 0;
    __u32 flags = is_agent(parent) ? FLAG_CANARY : 0;
    struct cgroup *cgroup = 0;
    enum membership membership = task_container(task, flags, &cgroup, &cgroup_id);
    int again = was_begun_again(scratch);
    __u64 hierarchy = cgroup_id >> 56;
    /* Most parents are in all the same cgroups. One in a cgroup that was never met must not pass for one outside. */
    int is_apart = FIELD_POINTER(parent, TASK_CGROUPS) != FIELD_POINTER(task, TASK_CGROUPS);
    if (!again && (membership == UNDESCRIBED || (membership == INSIDE && is_apart && !is_met(parent, hierarchy)))) {
        begin_again_at(scratch, TAIL_EXEC);
        tails.call(ctx, TAIL_CGROUPS);
    }
    if (membership == UNDESCRIBED)
        count(COUNTER_READ_FAILED);
    if (membership != INSIDE || !cgroup)
        return 0;
    if (!flags && is_apart && cgroup->container && is_runtime(task, parent, hierarchy, cgroup)) {
        count(COUNTER_RUNTIME);
        return 0;
    }
    struct event *event = &scratch->event;
    __builtin_memset(event, 0, sizeof(*event));
    event->kind = KIND_EXEC;
    event->time = bpf_ktime_get_boot_ns();
    event->process.image = event->time;
    event->process.flags = flags;
    identify(&event->process, task, cgroup_id);
    scratch->is_foldable = scratch->script_length = scratch->resume = 0;
    void *binary = (void *)ctx->args[2];
    struct binprm_names names = read_names(binary);
    if (names.filename != names.interpreter) {
        long length = bpf_probe_read_kernel_str(scratch->script, SCRIPT_BYTES, names.filename);
        scratch->script_length = length > 0 ? length : 0;
    }
    if (!flags && write_exec_key(scratch, task, parent)) {
        struct fold *fold = exec_fold(&scratch->key.exec);
        if (fold && keep_repeat(&event->process, fold)) {
            repeat_exec(event, fold);
            return 0;
        }
        scratch->is_foldable = !fold;
    }
    tails.call(ctx, TAIL_FIRST);
    return 0;
}

/* exit: of what was executed, when its last thread ends. */
int process_exit(struct raw_arguments *ctx) {
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    void *task = (void *)bpf_get_current_task_btf();
    void *leader = FIELD_POINTER(task, TASK_GROUP_LEADER);
    void *signal = FIELD_POINTER(task, TASK_SIGNAL);
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!leader || !signal || !scratch)
        return 0;
    /* do_exit() counted this thread out before. */
    if (FIELD_U32(signal, SIGNAL_LIVE) || FIELD_U32(leader, TASK_FLAGS) & PF_FORKNOEXEC)
        return 0;
    struct event *event = &scratch->event;
    __u64 start = FIELD_U64(leader, TASK_START_BOOTTIME);
    __u64 now = bpf_ktime_get_boot_ns(), begin = now, cgroup_id = 0;
    __u32 exec_id = FIELD_U32(task, TASK_SELF_EXEC_ID);
    struct repeat *repeat = find_repeat(pid);
    scratch->fold = 0;
    if (repeat) {
        leave_fold(repeat);
        if (repeat->start == start && repeat->exec_id == exec_id) { /* else it executed another since, no repeat */
            begin = repeat->image;
            scratch->fold = repeat->fold;
            scratch->place = repeat->place;
        }
        give_repeat_back(repeat);
    }
    if (!scratch->fold) {
        struct image *image = image_of(start, pid, exec_id);
        struct cgroup *cgroup = 0;
        if (image) {
            begin = image->process.image ? image->process.image : start;
            scratch->fold = image->fold;
            scratch->place = image->place;
        } else if (task_container(task, 0, &cgroup, &cgroup_id) != INSIDE)
            return 0;
        /* Else nothing is kept of it any more: only who it was is told. */
    }
    __builtin_memset(event, 0, sizeof(*event));
    event->kind = KIND_EXIT;
    event->time = now;
    event->lifetime = now - begin;
    event->code = FIELD_U32(task, TASK_EXIT_CODE) & 0xff7f;
    event->process.pid = pid;
    event->process.start = start;
    event->process.cgroup = cgroup_id;
    event->process.exec_id = exec_id;
    scratch->is_foldable = scratch->resume = 0;
    if (scratch->fold) {
        struct repeat_key *key = &scratch->key.repeat;
        __builtin_memset(key, 0, sizeof(*key));
        key->owner = scratch->fold;
        key->pid = scratch->place;
        key->kind = KIND_EXIT;
        key->code = event->code;
#ifdef FOLDING
        struct fold *fold = repeat_fold(&scratch->key.repeat);
        if (fold) {
            count_in(fold, now, event->lifetime);
            return 0;
        }
        scratch->is_foldable = 1;
#else
        struct fold *fold = fold_of(scratch->fold, scratch->place);
        if (fold) {
            event->count = 1;
            event->last_time = now;
            fill_in(event, &fold->first.event.process);
            event->process.image = begin; /* its own: of the same process as its exec */
            if (emit_small(event, fold->first.text))
                return 0;
            scratch->is_foldable = 1; /* without room it is counted, and not lost */
        }
#endif
    }
    tails.call(ctx, TAIL_FIRST);
    return 0;
}

#endif
