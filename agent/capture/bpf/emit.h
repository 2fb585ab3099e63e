/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * The rings, and the one way into them: every record is either in a ring or counted as lost.
 */
#ifndef PEERWATCH_EMIT_H
#define PEERWATCH_EMIT_H

#include "process.h"

BPF_RINGBUF_OUTPUT(small_events, SMALL_RING_PAGES);
BPF_RINGBUF_OUTPUT(long_events, LONG_RING_PAGES);
BPF_RINGBUF_OUTPUT(outcomes, OUTCOME_RING_PAGES);

static __always_inline void emit_long(struct scratch *scratch) {
    struct long_event *record = long_events.ringbuf_reserve(sizeof(*record));
    if (!record) {
        count(COUNTER_RING_FULL);
        return;
    }
    record->event = scratch->event;
    bpf_probe_read_kernel(record->text, LONG_TEXT, scratch->text);
    count(COUNTER_PRODUCED);
    long_events.ringbuf_submit(record, 0);
}

/* `text` has at least SMALL_TEXT bytes. */
static __always_inline void emit_small(struct event *event, const char *text) {
    struct small_event *record = small_events.ringbuf_reserve(sizeof(*record));
    if (!record) {
        count(COUNTER_RING_FULL);
        return;
    }
    record->event = *event;
    bpf_probe_read_kernel(record->text, SMALL_TEXT, text);
    count(COUNTER_PRODUCED);
    small_events.ringbuf_submit(record, 0);
}

/* Keeps the image of the process in `scratch`, cut to the small size, and returns it. A folder that leaves no room for the
 * ancestors is left out: a process chooses its folder, not where it comes from. */
static __always_inline struct image *keep_image(struct scratch *scratch) {
    struct process *process = &scratch->event.process;
    int zero = 0;
    struct image_scratch *work = image_scratches.lookup(&zero);
    if (!work)
        return 0;
    struct image *image = &work->image;
    __u32 head = process->exe_length;
    bpf_probe_read_kernel(image->text, SMALL_TEXT, scratch->text);
    if (head < SMALL_TEXT && head + process->cwd_length + process->ancestors_length > SMALL_TEXT) {
        __u32 rest = head + process->cwd_length;
        process->cwd_length = 0;
        bpf_probe_read_kernel(&image->text[BOUND(head, 511)], SMALL_TEXT, &scratch->text[BOUND(rest, TEXT_BYTES - 1)]);
    }
    fit_small(process);
    image->process = *process;
    images.update(&process->pid, image);
    return image;
}

#endif
