/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * The first of a kind: says whose it is and hands it over. Probes come here by tail call with the event in their scratch, so that
 * this, nine tenths of all code, is compiled and verified once, and what repeats never runs it.
 */
#ifndef PEERWATCH_FIRST_H
#define PEERWATCH_FIRST_H

#include "emit.h"
#include "lineage.h"
#include "process.h"

/* Places in the table of tail calls. Programs of two types come here, and a table holds one: the loader gives the one after system
 * calls its own table, `syscall_tails`, in place of `tails`. */
#define TAIL_FIRST 1
#define TAIL_FINISH 2
#define TAIL_CGROUPS 3
#define TAIL_EXEC 4
#define TAIL_STATE 5
#define TAIL_NETWORK 6
#define TAIL_URING 7
BPF_PROG_ARRAY(tails, 8);
BPF_PROG_ARRAY(syscall_tails, 8);

/* Before a probe knows in which container it is, it has the cgroups described, by tail call, and is begun again at `place`. */
static __always_inline void begin_again_at(struct scratch *scratch, int place) {
    scratch->resume = place;
}

/* Read anew each time: held in a register it would double the ways that the verifier follows. */
static __always_inline int kind_of(struct scratch *scratch) {
    return *(volatile __u8 *)&scratch->event.kind;
}

/* Returns whether this is begun again: then what is still unknown stays so. */
static __always_inline int was_begun_again(struct scratch *scratch) {
    int again = scratch->is_described;
    scratch->is_described = 0;
    return again;
}

/* What an exec added to what its process, or its parent, could do before. */
static __always_inline __u64 gained_capabilities(struct process *process, void *task, struct cgroup *cgroup) {
    struct image *before = image_of(process->start, process->pid, process->exec_id - 1);
    if (before)
        return process->capabilities & ~before->process.capabilities;
    void *parent = read_pointer(task, TASK_REAL_PARENT);
    if (!is_inside(parent, process->cgroup >> 56, cgroup))
        return 0;
    return process->capabilities & ~read_u64(read_pointer(parent, TASK_CRED), CRED_CAP_EFFECTIVE);
}

/* Describes the current process, whose identity is in `scratch`, and keeps its image; returns it, or 0. */
static __always_inline struct image *describe_current(struct scratch *scratch) {
    struct process *process = &scratch->event.process;
    void *task = (void *)bpf_get_current_task_btf();
    struct cgroup *cgroup = cgroups.lookup(&process->cgroup);
    if (!cgroup || process->pid != (__u32)(bpf_get_current_pid_tgid() >> 32))
        return 0;
    scratch->own_flags = process->flags;
    if (kind_of(scratch) == KIND_EXEC)
        process->gained = gained_capabilities(process, task, cgroup);
    else { /* the image is described, which is more than this event */
        scratch->script_length = 0;
        process->flags = 0;
        identify(process, task, process->cgroup);
    }
    describe_process(scratch, task, cgroup);
    struct image *image = keep_image(scratch);
    if (kind_of(scratch) != KIND_EXEC)
        process->flags = scratch->own_flags;
    return image;
}

/* Puts what is known of a process into the event; what makes it itself, and the event's own, stays. */
static __always_inline void fill_in(struct event *event, struct process *known) {
    struct process *process = &event->process;
    __u64 start = process->start;
    __u32 uid = process->uid, flags = process->flags, pid = process->pid, exec_id = process->exec_id;
    *process = *known;
    process->start = start;
    process->pid = pid;
    process->exec_id = exec_id;
    process->flags |= flags;
    if (event->kind != KIND_EXIT)
        process->uid = uid;
}

/* The event is in scratch `which`, with the identity of its process; only the current process can be described. */
static __always_inline void handle_first(int which, int can_describe) {
    struct scratch *scratch = scratch_of(which);
    if (!scratch)
        return;
    struct event *event = &scratch->event;
    struct process *process = &event->process;
    struct process *known = 0;
    char *text = 0;
    event->count = 1;
    event->last_time = event->time;
    if (kind_of(scratch) == KIND_EXIT) { /* by then a process has no files and no memory */
        struct fold *fold = scratch->fold ? fold_of(scratch->fold, scratch->place) : 0;
        if (fold) {
            known = &fold->first.event.process;
            text = fold->first.text;
        }
    }
    if (kind_of(scratch) == KIND_NONE) { /* only an image of its own will do: what a fold has is gone with the process */
        if (image_of(process->start, process->pid, process->exec_id))
            return;
    } else if (kind_of(scratch) != KIND_EXEC && !known)
        known = known_process(process->start, process->pid, process->exec_id, &text);
    if (!known && kind_of(scratch) != KIND_EXIT && can_describe) {
        struct image *image = describe_current(scratch);
        if (kind_of(scratch) == KIND_EXEC) {
            if (scratch->used > SMALL_TEXT) {
                emit_long(scratch);
                return;
            }
            text = scratch->text;
        } else if (image) {
            known = &image->process;
            text = image->text;
        }
    }
    if (kind_of(scratch) == KIND_NONE)
        return;
    if (known)
        fill_in(event, known);
    else if (!text) {
        count(COUNTER_IMAGE_UNKNOWN);
        text = scratch->text;
    }
    struct fold *fold = emit_first(scratch, text);
    if (fold && kind_of(scratch) == KIND_EXEC) {
        struct image *image = image_of(process->start, process->pid, process->exec_id);
        if (image) {
            image->fold = fold->id;
            image->place = fold->place;
        }
    }
}

/* Each may be followed by another tail call, scratch->resume. */
int cgroups_of_current(void *ctx) {
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    describe_cgroups((void *)bpf_get_current_task_btf());
    if (scratch) {
        scratch->is_described = 1;
        tails.call(ctx, scratch->resume);
    }
    return 0;
}

int first(void *ctx) {
    handle_first(OWN_SCRATCH, 1);
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (scratch && scratch->resume)
        tails.call(ctx, scratch->resume);
    return 0;
}

int finish(void *ctx) {
    handle_first(PACKET_SCRATCH, 0);
    return 0;
}

#endif
