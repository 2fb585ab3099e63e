/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What is attached to the tracepoints, and stays: each calls the program that stands in a table. Other probes take over by being
 * put there, one store for each, so that every event meets either the old ones or the new ones, and never both.
 */
#ifndef PEERWATCH_ANCHORS_H
#define PEERWATCH_ANCHORS_H

#define ANCHOR_EXEC 0
#define ANCHOR_EXIT 1
#define ANCHOR_STATE 2
#define ANCHOR_SYSCALL 0
#define ANCHOR_SUBMIT 0
#define ANCHOR_COMPLETE 1
BPF_PROG_ARRAY(raw_programs, 8);
BPF_PROG_ARRAY(syscall_programs, 8);
BPF_PROG_ARRAY(uring_programs, 8);

int anchor_exec(void *ctx) {
    raw_programs.call(ctx, ANCHOR_EXEC);
    return 0;
}

int anchor_exit(void *ctx) {
    raw_programs.call(ctx, ANCHOR_EXIT);
    return 0;
}

int anchor_state(void *ctx) {
    raw_programs.call(ctx, ANCHOR_STATE);
    return 0;
}

int anchor_syscall(void *ctx) {
    syscall_programs.call(ctx, ANCHOR_SYSCALL);
    return 0;
}

int anchor_submit(void *ctx) {
    uring_programs.call(ctx, ANCHOR_SUBMIT);
    return 0;
}

int anchor_complete(void *ctx) {
    uring_programs.call(ctx, ANCHOR_COMPLETE);
    return 0;
}

#endif
