/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * Where a process comes from: taken from what is known of its parent, or, if that was not met before, read from its ancestors.
 */
#ifndef PEERWATCH_LINEAGE_H
#define PEERWATCH_LINEAGE_H

#include "emit.h"
#include "process.h"

/* Finds the fold that describes a process whose exec was a repeat. */
static __always_inline struct fold *fold_of(__u64 id, __u32 place) {
    struct fold *fold = folds.lookup(&place);
    return fold && fold->id == id && fold->in_use ? fold : 0;
}

/* What is known of an image, and its text; 0 if nothing is. Its own pid and start are not in what a fold has. */
static __always_inline struct process *known_process(__u64 start, __u32 pid, __u32 exec_id, char **text) {
    struct image *image = image_of(start, pid, exec_id);
    if (image) {
        *text = image->text;
        return &image->process;
    }
    struct repeat *repeat = find_repeat(pid);
    if (!repeat || repeat->start != start || repeat->exec_id != exec_id)
        return 0;
    struct fold *fold = fold_of(repeat->fold, repeat->place);
    if (!fold)
        return 0;
    *text = fold->first.text;
    return &fold->first.event.process;
}

/* Ancestors that are named where no image of the parent is known; deeper trees are cut above, and followed on for as many to see
 * where they begin. */
#define ANCESTORS 8
#define UNNAMED_ANCESTORS 64

/* Steps for all paths of a process together: some 50 for a usual one. */
#define STEPS 80

enum stage {
    STAGE_EXE,
    STAGE_ANCESTOR,
    STAGE_FOLDER,
};

static __always_inline void begin_file(struct scratch *scratch, void *mm) {
    void *file = read_pointer(mm, MM_EXE_FILE);
    begin_path(scratch, read_pointer(file, FILE_F_PATH + PATH_DENTRY), read_pointer(file, FILE_F_PATH + PATH_MNT));
}

/* How the text names an ancestor, before its executable: twelve bytes, so the start is in halves. */
struct ancestor {
    __u32 pid;
    __u32 start, start_high;
};

static __always_inline struct ancestor ancestor_of(__u32 pid, __u64 start) {
    struct ancestor ancestor = {pid, start, start >> 32};
    return ancestor;
}

/* Takes the lineage from what is known of the parent, if anything is. */
static __always_inline void find_lineage(struct scratch *scratch, struct cgroup *cgroup) {
    struct process *process = &scratch->event.process;
    void *parent = read_pointer(scratch->parent, TASK_GROUP_LEADER);
    scratch->lineage = 0;
    scratch->lineage_head = scratch->lineage_exe = scratch->lineage_length = 0;
    if (!is_inside(parent, process->cgroup >> 56, cgroup))
        return;
    char *text = 0;
    struct process *known =
        known_process(process->parent_start, process->parent_pid, read_u32(parent, TASK_SELF_EXEC_ID), &text);
    if (!known)
        return;
    process->flags |= known->flags & FLAG_INJECTED;
    if (known->flags & FLAG_LINEAGE_CUT)
        return;
    scratch->lineage_head = sizeof(struct ancestor);
    scratch->lineage_exe = known->exe_length; /* all lengths together are at most SMALL_TEXT */
    scratch->lineage_begin = known->exe_length + known->script_length;
    scratch->lineage_length = known->ancestors_length;
    scratch->lineage = text;
}

static __always_inline void append_lineage(struct scratch *scratch) {
    struct process *process = &scratch->event.process;
    struct ancestor parent = ancestor_of(process->parent_pid, process->parent_start);
    put(scratch, &parent, scratch->lineage_head, 15);
    put(scratch, scratch->lineage, scratch->lineage_exe, 511);
    put(scratch, scratch->lineage + scratch->lineage_begin, scratch->lineage_length, 511);
}

/* Goes up to the next ancestor in the container, and begins its path; returns false if there is none, or enough are named. The
 * cgroup is the border: pid namespaces may be shared with the host or with the pod, and a process may make more of them. */
static __always_inline int begin_ancestor(struct scratch *scratch, struct cgroup *cgroup) {
    void *leader = read_pointer(scratch->parent, TASK_GROUP_LEADER);
    if (scratch->named >= ANCESTORS || !is_inside(leader, scratch->event.process.cgroup >> 56, cgroup))
        return 0;
    __u32 pid = read_u32(leader, TASK_TGID);
    __u64 start = read_u64(leader, TASK_START_BOOTTIME);
    scratch->before = scratch->used;
    struct ancestor ancestor = ancestor_of(pid, start);
    append(scratch, &ancestor, sizeof(ancestor), 15);
    scratch->named += 1;
    scratch->top = leader;
    scratch->parent = read_pointer(leader, TASK_REAL_PARENT);
    begin_file(scratch, read_pointer(leader, TASK_MM));
    return 1;
}

/* Says whether a process that was followed up to scratch->top has come from outside. */
static __always_inline void judge_lineage(struct scratch *scratch, struct cgroup *cgroup) {
    struct process *process = &scratch->event.process;
    __u64 hierarchy = process->cgroup >> 56;
    void *top = scratch->top, *parent = scratch->parent;
    int left = 0;
    for (int i = 0; i < UNNAMED_ANCESTORS && !left; i++) {
        void *leader = read_pointer(parent, TASK_GROUP_LEADER);
        left = !is_inside(leader, hierarchy, cgroup);
        if (left)
            break;
        top = leader;
        parent = read_pointer(leader, TASK_REAL_PARENT);
    }
    __u32 level;
    __u64 top_start = read_u64(top, TASK_START_BOOTTIME);
    if (!cgroup->first_start)
        cgroup->first_start = top_start;
    void *reaper = read_pointer(read_pointer(pid_namespace(top, &level), PID_NAMESPACE_CHILD_REAPER), TASK_GROUP_LEADER);
    /* A container's first process is whom its orphans go to, unless it shares the namespace: then it came first. An orphan there
     * has left its lineage, and nobody outside has brought it. Nor is a tree too deep to follow a reason to say so. */
    int is_first = is_inside(reaper, hierarchy, cgroup) ? top == reaper : top_start <= cgroup->first_start;
    if (left && !is_first && read_pointer(parent, TASK_GROUP_LEADER) != reaper)
        process->flags |= FLAG_INJECTED;
}

/* Fills in all of the current process that identify() has not, and scratch->text. */
static __always_inline void describe_process(struct scratch *scratch, void *task, struct cgroup *cgroup) {
    struct process *process = &scratch->event.process;
    void *leader = read_pointer(task, TASK_GROUP_LEADER);
    void *mm = read_pointer(task, TASK_MM);
    void *folder = read_pointer(task, TASK_FS) + FS_PWD;
    process->flags |= stdio_flags(task) | file_flags_of(task);
    scratch->used = scratch->named = 0;
    scratch->stage = STAGE_EXE;
    scratch->top = leader;
    scratch->parent = read_pointer(leader, TASK_REAL_PARENT);
    find_lineage(scratch, cgroup);
    begin_file(scratch, mm);
#pragma nounroll
    for (int step = 0; step < STEPS; step++) {
        if (!walk_on(scratch))
            continue;
        __u32 length = append_path(scratch);
        __u32 stage = scratch->stage;
        if (stage == STAGE_ANCESTOR && !length) { /* no room: without its name it would shift those after it */
            scratch->used = scratch->before;
            scratch->named = ANCESTORS;
        }
        if (stage == STAGE_FOLDER) {
            process->cwd_length = length;
            break;
        }
        if (stage == STAGE_EXE) {
            process->exe_length = length;
            /* There is always room for these: they and the path take less than the half of it. */
            process->script_length = scratch->script_length;
            put(scratch, scratch->script, scratch->script_length, 511);
            append_lineage(scratch);
        }
        if (!scratch->lineage && begin_ancestor(scratch, cgroup))
            scratch->stage = STAGE_ANCESTOR;
        else {
            scratch->stage = STAGE_FOLDER;
            process->ancestors_length = scratch->used - process->exe_length - process->script_length;
            begin_path(scratch, read_pointer(folder, PATH_DENTRY), read_pointer(folder, PATH_MNT));
        }
    }
    if (scratch->stage == STAGE_ANCESTOR) /* not enough steps */
        process->ancestors_length = scratch->used - process->exe_length - process->script_length;
    if (!scratch->lineage)
        judge_lineage(scratch, cgroup);

    __u32 level;
    pid_namespace(leader, &level);
    if (!level)
        process->flags |= FLAG_HOST_NAMESPACE;

    __u32 used = scratch->used;
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
    if (read_user_memory(&scratch->text[used & (TEXT_BYTES - 1)], BOUND(length, ARGS_BYTES - 1), (void *)args)) {
        length = 0;
        count(COUNTER_READ_FAILED);
    }
    process->args_length = length;
    scratch->used = used + length;
}

#endif
