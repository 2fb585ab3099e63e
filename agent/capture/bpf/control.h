/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What the agent asks the probes to do (BPF_PROG_TEST_RUN): all that it learns goes through the rings, so that how far it has read
 * them is all that must be remembered of what it has got. Operations keep their numbers: an agent that is upgraded asks the probes
 * of its forerunner.
 */
#ifndef PEERWATCH_CONTROL_H
#define PEERWATCH_CONTROL_H

#include "tcp.h"

#define OPERATION_REPORT 1 /* hand over what folds have counted: up to 11 places */
#define OPERATION_RETIRE 2 /* find these folds no more */
#define OPERATION_FREE 3   /* use their places again; a grace period after they were retired and reported */
#define OPERATION_CANARY 4 /* the caller is the agent */
#define OPERANDS 11

struct request {
    __u64 operation;
    __u64 operands[OPERANDS];
};

/* Hands over what a fold counted since it was asked last. Without room it is asked again: nothing is lost. */
static __always_inline void report_fold(struct fold *fold) {
    __u64 counted = fold->counted, lifetime = fold->lifetime;
    __u64 news = counted - fold->reported;
    if (!news)
        return;
    if (news > 0xffffffffULL)
        news = 0xffffffffULL;
    struct small_event *record = small_events.ringbuf_reserve(sizeof(*record));
    if (!record)
        return;
    record->event = fold->first.event;
    record->event.time = fold->first_time;
    record->event.last_time = fold->last_time;
    record->event.count = news;
    record->event.lifetime = (lifetime - fold->lifetime_reported) / news;
    bpf_probe_read_kernel(record->text, SMALL_TEXT, fold->first.text);
    fold->reported += news;
    fold->lifetime_reported = lifetime;
    count(COUNTER_PRODUCED);
    small_events.ringbuf_submit(record, 0);
}

int control(struct request *ctx) {
    __u64 operation = ctx->operation;
    if (operation == OPERATION_CANARY) {
        void *task = (void *)bpf_get_current_task_btf();
        int pid = STATE_CANARY, start = STATE_CANARY_START;
        __u64 own_pid = bpf_get_current_pid_tgid() >> 32;
        __u64 own_start = read_u64(read_pointer(task, TASK_GROUP_LEADER), TASK_START_BOOTTIME);
        state.update(&start, &own_start);
        state.update(&pid, &own_pid);
        return 0;
    }
    __u64 operands[OPERANDS]; /* a context is read at fixed places only */
#pragma unroll
    for (int i = 0; i < OPERANDS; i++)
        operands[i] = ctx->operands[i];
#pragma nounroll
    for (int i = 0; i < OPERANDS; i++) {
        __u32 place = operands[i];
        struct fold *fold = folds.lookup(&place);
        if (!fold) /* no more operands */
            break;
        if (operation == OPERATION_REPORT)
            report_fold(fold);
        else if (operation == OPERATION_RETIRE && fold->in_use == FOLD_IN_USE) {
            if (fold->first.event.kind == KIND_EXEC)
                exec_folds.delete(&fold->key.exec);
            else
                repeat_folds.delete(&fold->key.repeat);
            fold->in_use = FOLD_RETIRED;
        } else if (operation == OPERATION_FREE && fold->in_use == FOLD_RETIRED && fold->counted == fold->reported && !fold->living) {
            fold->in_use = FOLD_FREE;
            free_folds.push(&place, 0);
        }
    }
    return 0;
}

/* Tells the attempt at a place (operands: place, socket, time) as under way; one per call, because its event may need the tail. */
int tell(struct request *ctx) {
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    __u32 place = ctx->operands[0];
    struct attempt *attempt = attempts.lookup(&place);
    if (!scratch || !attempt || attempt->socket != ctx->operands[1] || attempt->time != ctx->operands[2])
        return 0;
    if (end_attempt(scratch, attempt, RESULT_IN_PROGRESS))
        tails.call(ctx, TAIL_FIRST);
    return 0;
}

#endif
