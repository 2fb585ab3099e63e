/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * The rings, the folds, and the one way into them: every event is in a ring, counted in a fold, or counted as lost.
 *
 * The first of a kind goes into a ring at once, and a fold is kept of it; repeats are counted there. The agent asks for what was
 * counted (control.h), so that a fold says more only when there is more. Without FOLDING (`--full`) only execs have folds, for what
 * they know of the process: repeats go into the ring one by one, and are counted only when it is full.
 */
#ifndef PEERWATCH_EMIT_H
#define PEERWATCH_EMIT_H

#include "process.h"

BPF_RINGBUF_OUTPUT(small_events, SMALL_RING_PAGES);
BPF_RINGBUF_OUTPUT(long_events, LONG_RING_PAGES);

/* Keep in sync with FOLD in agent/capture/records.py: the agent maps the table. */
struct fold {
    __u64 counted;  /* repeats since the first */
    __u64 reported; /* of these, how many were handed over */
    __u64 first_time; /* of the repeats that were not */
    __u64 last_time;
    __u64 lifetime; /* sums of exits */
    __u64 lifetime_reported;
    __u64 id; /* of this use of the place: time of its first event */
    __u64 living; /* processes that are described here */
    __u32 in_use;
    __u32 place; /* its own index */
    struct small_event first;
    union key key;
};

#define FOLD_FREE 0
#define FOLD_IN_USE 1
#define FOLD_RETIRED 2 /* no longer found, but a probe that found it before may still count */
#define FOLD_NEW 3     /* not found yet */

BPF_F_TABLE("array", __u32, struct fold, folds, FOLDS, BPF_F_MMAPABLE);
BPF_QUEUE(free_folds, __u32, FOLDS);
BPF_TABLE("hash", struct exec_key, __u32, exec_folds, FOLDS);
BPF_TABLE("hash", struct repeat_key, __u32, repeat_folds, FOLDS);

/* Where the fold of a key was found last, by a few of the key's words. Whether it still is that fold, the fold itself says: to hash
 * a whole key and to look for it in a table is half of what it costs to count a repeat. */
BPF_ARRAY(hints, __u32, FOLDS);

/* 2^64 divided by the golden ratio, as in tcp.h. */
static __always_inline __u64 mix(__u64 mixed, __u64 word) {
    return (mixed ^ word) * 0x9e3779b97f4a7c15ULL;
}

static __always_inline __u32 *hint_at(__u64 mixed) {
    __u32 place = mixed >> 40 & (FOLDS - 1);
    return hints.lookup(&place);
}

static __always_inline struct fold *fold_at(__u32 *place) {
    return place ? folds.lookup(place) : 0;
}

/* Returns the fold at a place if it is of this kind and key. One whose key is not in the table yet, or no more, is not it. */
static __always_inline struct fold *hinted_fold(__u32 *hint, int kind, const void *key, int words) {
    struct fold *fold = fold_at(hint);
    if (!fold || fold->in_use != FOLD_IN_USE || fold->first.event.kind != kind)
        return 0;
    const __u64 *known = (const __u64 *)&fold->key, *wanted = key;
    __u64 differs = 0;
    asm volatile("" ::: "memory"); /* what was written as fields is read as words */
#pragma unroll
    for (int i = 0; i < words; i++)
        differs |= known[i] ^ wanted[i];
    return differs ? 0 : fold;
}

static __always_inline struct fold *exec_fold(struct exec_key *key) {
    const __u64 *args = (const __u64 *)key->args;
    __u64 mixed = mix(mix(key->parent_start, key->dentry), key->folder);
    __u32 *hint = hint_at(mix(mix(mixed, args[0] + 3 * args[1]), args[2] + 3 * args[3]));
    struct fold *fold = hinted_fold(hint, KIND_EXEC, key, sizeof(*key) / 8);
    if (fold)
        return fold;
    fold = fold_at(exec_folds.lookup(key));
    if (fold && hint)
        *hint = fold->place;
    return fold;
}

static __always_inline struct fold *repeat_fold(struct repeat_key *key) {
    const __u64 *words = (const __u64 *)key;
    __u64 mixed = mix(key->owner, words[1]);
    __u32 *hint = hint_at(mix(mix(mixed, words[3]), words[2] + 3 * words[4] + 5 * words[5]));
    struct fold *fold = hinted_fold(hint, key->kind, key, sizeof(*key) / 8);
    if (fold)
        return fold;
    fold = fold_at(repeat_folds.lookup(key));
    if (fold && hint)
        *hint = fold->place;
    return fold;
}

static __always_inline void count_in(struct fold *fold, __u64 now, __u64 lifetime) {
    if (fold->counted == fold->reported)
        fold->first_time = now;
    fold->last_time = now;
    if (lifetime)
        __sync_fetch_and_add(&fold->lifetime, lifetime);
    __sync_fetch_and_add(&fold->counted, 1);
    count(COUNTER_FOLDED);
}

/* Returns whether there was room. */
static __always_inline int emit_long(struct scratch *scratch) {
    struct long_event *record = long_events.ringbuf_reserve(sizeof(*record));
    if (!record) {
        count(COUNTER_RING_FULL);
        return 0;
    }
    record->event = scratch->event;
    bpf_probe_read_kernel(record->text, LONG_TEXT, scratch->text);
    count(COUNTER_PRODUCED);
    long_events.ringbuf_submit(record, 0);
    return 1;
}

/* `text` has at least SMALL_TEXT bytes. */
static __always_inline int emit_small(struct event *event, const char *text) {
    struct small_event *record = small_events.ringbuf_reserve(sizeof(*record));
    if (!record)
        return 0;
    record->event = *event;
    bpf_probe_read_kernel(record->text, SMALL_TEXT, text);
    count(COUNTER_PRODUCED);
    small_events.ringbuf_submit(record, 0);
    return 1;
}

/* Hands over the event in `scratch`, whose text is `text` and fits the small size, and keeps a fold of it. Returns the fold, or 0. */
static __always_inline struct fold *emit_first(struct scratch *scratch, const char *text) {
    struct event *event = &scratch->event;
    struct fold *fold = 0;
    __u32 place = 0;
    if (scratch->is_foldable) {
        if (free_folds.pop(&place) == 0)
            fold = folds.lookup(&place);
        else
            count(COUNTER_FOLD_TABLE_FULL);
    }
    if (fold) {
        fold->counted = fold->reported = 0;
        fold->lifetime = fold->lifetime_reported = fold->living = 0;
        fold->first_time = fold->last_time = fold->id = event->time;
        fold->first.event = *event;
        bpf_probe_read_kernel(fold->first.text, SMALL_TEXT, text);
        fold->key = scratch->key;
        fold->place = place;
        fold->in_use = FOLD_NEW;
        int taken = event->kind == KIND_EXEC ? exec_folds.insert(&scratch->key.exec, &place)
                                             : repeat_folds.insert(&scratch->key.repeat, &place);
        if (taken) { /* another CPU was first with the same, or the table is full */
            fold->in_use = FOLD_FREE;
            free_folds.push(&place, 0);
            fold = event->kind == KIND_EXEC ? exec_fold(&scratch->key.exec) : repeat_fold(&scratch->key.repeat);
#ifdef FOLDING
            if (fold) {
                count_in(fold, event->time, event->lifetime);
                return fold;
            }
#endif
        } else
            fold->in_use = FOLD_IN_USE;
    }
    if (emit_small(event, text))
        return fold;
    if (fold) /* no room: it goes out with the fold's next report */
        count_in(fold, event->time, event->lifetime);
    else
        count(COUNTER_RING_FULL);
    return fold;
}

#endif
