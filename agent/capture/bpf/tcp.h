/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * TCP: the socket's own state changes (inet_sock_set_state), in the connecting process at SYN_SENT and anywhere at the end:
 * blocking, non-blocking and through io_uring alike, addresses from the socket. A connect is told when it has ended; one that takes
 * longer than the agent wants to wait is told by control.h.
 */
#ifndef PEERWATCH_TCP_H
#define PEERWATCH_TCP_H

#include "first.h"

#define ECONNREFUSED 111
#define ETIMEDOUT 110
#define EHOSTUNREACH 113
#define ENETUNREACH 101

/* A TCP connect under way. Keep in sync with ATTEMPT in agent/capture/records.py: the agent maps the table. */
struct attempt {
    __u64 users;  /* whoever makes it one has the place */
    __u64 ending; /* whoever finds it 0 and makes it 1 tells the end */
    __u64 socket;
    __u64 time;
    __u64 cgroup;
    struct repeat_key key; /* without a result yet */
    __u8 is_closed;        /* without an error that the socket knows: perhaps connect() returns one */
    __u8 is_canary;
    __u8 unused[6];
};

/* A hash table with room for four of a kind: half the price of the kernel's own per connect, and there for the agent to look at. */
BPF_F_TABLE("array", __u32, struct attempt, attempts, ATTEMPTS, BPF_F_MMAPABLE);
#define WAYS 4

/* struct sock lies at multiples of 64; the multiplier spreads them (2^64 divided by the golden ratio). */
static __always_inline __u32 attempt_place(__u64 socket, int way) {
    return (__u32)(((socket >> 6) * 0x9e3779b97f4a7c15ULL) >> 40 & (ATTEMPTS / WAYS - 1)) * WAYS + way;
}

static __always_inline struct attempt *find_attempt(__u64 socket) {
#pragma unroll
    for (int way = 0; way < WAYS; way++) {
        __u32 place = attempt_place(socket, way);
        struct attempt *attempt = attempts.lookup(&place);
        if (attempt && attempt->socket == socket)
            return attempt;
    }
    return 0;
}

/* Returns a place that nobody else has, or 0. */
static __always_inline struct attempt *take_place(__u64 socket) {
#pragma unroll
    for (int way = 0; way < WAYS; way++) {
        __u32 place = attempt_place(socket, way);
        struct attempt *attempt = attempts.lookup(&place);
        if (!attempt || attempt->users)
            continue;
        if (fetch_add(&attempt->users, 1) == 0)
            return attempt;
        fetch_add(&attempt->users, -1ULL);
    }
    return 0;
}

static __always_inline void give_place_back(struct attempt *attempt) {
    attempt->socket = 0;
    attempt->ending = 0;
    fetch_add(&attempt->users, -1ULL);
}

/* Sockets whose attempt ended with an error that connect() may return, too. */
BPF_TABLE("lru_hash", __u64, struct repeat_key, told, 256);

/* Whether a connect that failed was told by inet_sock_set_state; asked once. */
static __always_inline int was_told(struct repeat_key *key, __u64 socket) {
    struct repeat_key *before = told.lookup(&socket);
    if (!before)
        return 0;
    /* The same connect, or an error that nobody asked for, of a socket in the same memory. */
    int is_same = before->owner == key->owner && before->pid == key->pid && before->port == key->port &&
                  *(__u64 *)before->address == *(__u64 *)key->address &&
                  *(__u64 *)&before->address[8] == *(__u64 *)&key->address[8];
    told.delete(&socket);
    return is_same;
}

static __always_inline int result_of(__s64 error) {
    switch (error) {
    case ECONNREFUSED:
        return RESULT_REFUSED;
    case ETIMEDOUT:
        return RESULT_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
        return RESULT_UNREACHABLE;
    default:
        return RESULT_ERROR;
    }
}

struct socket_head {
    __u32 destination, source;
    __u32 hash;
    __u16 destination_port, port, family;
    __u8 state, reuse;
};

/* struct sock_common begins with what tells a connection. */
static __always_inline void read_head(struct socket_head *head, void *sock) {
#if SOCK_DADDR == 0 && SOCK_RCV_SADDR == 4 && SOCK_DPORT == 12 && SOCK_NUM == 14 && SOCK_FAMILY == 16
    bpf_probe_read_kernel(head, sizeof(*head), sock);
#else
    head->destination = read_u32(sock, SOCK_DADDR);
    head->source = read_u32(sock, SOCK_RCV_SADDR);
    head->destination_port = read_u16(sock, SOCK_DPORT);
    head->port = read_u16(sock, SOCK_NUM);
    head->family = read_u16(sock, SOCK_FAMILY);
#endif
}

static __always_inline void write_v4(__u8 *address, __u32 v4) {
    address[10] = address[11] = 0xff;
    *(__u32 *)&address[12] = v4;
}

/* `address` is zero before. */
static __always_inline void read_destination(__u8 *address, struct socket_head *head, void *sock) {
    if (head->family == AF_INET)
        write_v4(address, head->destination);
    else
        bpf_probe_read_kernel(address, 16, sock + SOCK_V6_DADDR); /* IPv4-mapped if it is */
}

static __always_inline void read_source(__u8 *address, struct socket_head *head, void *sock) {
    if (head->family == AF_INET)
        write_v4(address, head->source);
    else
        bpf_probe_read_kernel(address, 16, sock + SOCK_V6_RCV_SADDR);
}

/* Writes the event that a key says. */
static __always_inline void write_event(struct scratch *scratch, struct repeat_key *key, __u64 cgroup, __u64 time, int is_canary) {
    struct event *event = &scratch->event;
    __builtin_memset(event, 0, sizeof(*event));
    event->time = time;
    event->kind = key->kind;
    event->protocol = key->protocol;
    event->result = key->result;
    event->port = key->port;
    __builtin_memcpy(event->address, key->address, 16);
    event->process.start = key->owner;
    event->process.pid = key->pid;
    event->process.exec_id = key->exec_id;
    event->process.cgroup = cgroup;
    event->process.uid = key->uid;
    event->process.flags = is_canary ? FLAG_CANARY : 0;
    scratch->key.repeat = *key;
#ifdef FOLDING
    scratch->is_foldable = !is_canary;
#else
    scratch->is_foldable = 0;
#endif
    scratch->resume = 0;
}

/* Counts the event in `scratch` if it is a repeat; returns whether it was. */
static __always_inline int count_repeat(struct scratch *scratch) {
#ifdef FOLDING
    struct fold *fold = scratch->is_foldable ? repeat_fold(&scratch->key.repeat) : 0;
    if (fold) {
        count_in(fold, scratch->event.time, 0);
        return 1;
    }
#endif
    return 0;
}

/* Ends an attempt, once; returns whether its event is in `scratch` now and is to be told, because it is no repeat. */
static __always_inline int end_attempt(struct scratch *scratch, struct attempt *attempt, int result) {
    if (exchange(&attempt->ending, 1))
        return 0;
    count(COUNTER_ENDED);
    attempt->key.result = result;
#ifdef FOLDING
    if (!attempt->is_canary) {
        struct fold *fold = repeat_fold(&attempt->key);
        if (fold) {
            count_in(fold, attempt->time, 0);
            give_place_back(attempt);
            return 0;
        }
    }
#endif
    write_event(scratch, &attempt->key, attempt->cgroup, attempt->time, attempt->is_canary);
    give_place_back(attempt);
    return 1;
}

/* Writes who the current process is. */
static __always_inline void identify_briefly(struct repeat_key *key, void *task) {
    key->pid = FIELD_U32(task, TASK_TGID);
    void *cred = FIELD_POINTER(task, TASK_CRED);
    if (cred)
        key->uid = FIELD_U32(cred, CRED_UID);
    key->exec_id = FIELD_U32(task, TASK_SELF_EXEC_ID);
    void *leader = FIELD_POINTER(task, TASK_GROUP_LEADER);
    if (leader)
        key->owner = FIELD_U64(leader, TASK_START_BOOTTIME);
}

static __always_inline int is_loopback(__u8 *address) {
    return address[10] == 0xff && address[12] == 127;
}

/* The end of a connect, or of any connection; with a packet, or in a process. */
static __always_inline int end_connect(struct raw_arguments *ctx, void *sock, int new_state) {
    struct attempt *attempt = find_attempt((__u64)sock);
    struct scratch *scratch = scratch_of(PACKET_SCRATCH);
    if (!attempt || !scratch)
        return 0;
    int result = RESULT_OK;
    if (attempt->is_closed) /* by now another socket's memory, or nobody asked for its end */
        result = RESULT_IN_PROGRESS;
    else if (new_state == TCP_CLOSE) {
        /* tcp_done_with_error() and its forerunners set sk_err before the state. */
        __u32 error = read_u32(sock, SOCK_ERR);
        if (!error) {
            attempt->is_closed = 1; /* by its process, or tcp_v4_connect() gave up: then only its caller learns why */
            return 0;
        }
        result = result_of(error);
        if (result >= RESULT_UNREACHABLE) {
            __u64 socket = (__u64)sock;
            told.update(&socket, &attempt->key);
        }
    }
    if (end_attempt(scratch, attempt, result))
        tails.call(ctx, TAIL_FINISH);
    return 0;
}

int state_change(struct raw_arguments *ctx) {
    void *sock = (void *)ctx->args[0];
    int old_state = ctx->args[1], new_state = ctx->args[2];
    __u64 socket = (__u64)sock;
    if (new_state == TCP_ESTABLISHED || new_state == TCP_CLOSE)
        return end_connect(ctx, sock, new_state);
    if (old_state != TCP_CLOSE || new_state != TCP_SYN_SENT)
        return 0;
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!scratch)
        return 0;
    struct socket_head head = {};
    struct repeat_key key = {};
    key.kind = KIND_CONNECT;
    key.protocol = PROTOCOL_TCP;
    read_head(&head, sock);
    key.port = bpf_ntohs(head.destination_port);
    read_destination(key.address, &head, sock);
    void *task = (void *)bpf_get_current_task_btf();
    int is_canary = is_loopback(key.address) && is_agent(task);
    identify_briefly(&key, task);
    int again = was_begun_again(scratch);
    /* A process stays in its container: whoever was met before need not be asked again. */
    struct image *image = image_of(key.owner, key.pid, key.exec_id);
    __u64 cgroup_id = image ? image->process.cgroup : 0;
    if (!image) {
        struct cgroup *cgroup = 0;
        enum membership membership = task_container(task, is_canary, &cgroup, &cgroup_id);
        if (membership == UNDESCRIBED && !again) {
            begin_again_at(scratch, TAIL_STATE);
            tails.call(ctx, TAIL_CGROUPS);
        }
        if (membership == UNDESCRIBED)
            count(COUNTER_READ_FAILED);
        if (membership != INSIDE)
            return 0;
    }
    if (read_u16(sock, SOCK_PROTOCOL) != IPPROTO_TCP)
        return 0;
    __u64 now = bpf_ktime_get_boot_ns();
    struct attempt *before = find_attempt(socket);
    if (before && end_attempt(scratch, before, RESULT_IN_PROGRESS)) {
        /* It was closed and nobody asked for its end. After that, this is begun again. */
        scratch->resume = TAIL_STATE;
        tails.call(ctx, TAIL_FIRST);
        return 0;
    }
    struct attempt *attempt = take_place(socket);
    if (attempt) {
        attempt->time = now;
        attempt->cgroup = cgroup_id;
        attempt->key = key;
        attempt->is_closed = 0;
        attempt->is_canary = is_canary;
        attempt->socket = socket;
        count(COUNTER_STARTED);
        if (image)
            return 0;
        /* What ends elsewhere needs an image: only here is its process the current one. */
        write_event(scratch, &key, cgroup_id, now, is_canary);
        scratch->event.kind = KIND_NONE;
        tails.call(ctx, TAIL_FIRST);
        return 0;
    }
    count(COUNTER_ATTEMPTS_FULL);
    key.result = RESULT_IN_PROGRESS;
    write_event(scratch, &key, cgroup_id, now, is_canary);
    if (!count_repeat(scratch))
        tails.call(ctx, TAIL_FIRST);
    return 0;
}

#endif
