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

/* Keeps the image of the process in `scratch`, cut to the small size. */
static __always_inline void keep_image(struct scratch *scratch) {
    fit_small(&scratch->event.process);
    int zero = 0;
    struct image *image = image_scratch.lookup(&zero);
    if (!image)
        return;
    image->process = scratch->event.process;
    bpf_probe_read_kernel(image->text, SMALL_TEXT, scratch->text);
    images.update(&image->process.pid, image);
}

#endif
