/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What a process has io_uring do and no other tracepoint tells: UDP, accepts, listens, TCP connects that failed before a packet was
 * sent. Two raw tracepoints: a request is seen when it is submitted, where the kernel has its own copy of the address (io_*_prep(),
 * io_uring/net.c), and when it is complete.
 *
 * UDP is told when it is submitted, as IN_PROGRESS: whoever does not want an end to be seen may ask for none
 * (IOSQE_CQE_SKIP_SUCCESS), or let the queue of them run over.
 */
#ifndef PEERWATCH_URING_H
#define PEERWATCH_URING_H

#include "syscalls.h"

#ifdef REQUEST_OPCODE

/* include/uapi/linux/io_uring.h */
#define IORING_OP_SENDMSG 9
#define IORING_OP_ACCEPT 13
#define IORING_OP_CONNECT 16
#define IORING_OP_SEND 26
#define IORING_OP_SEND_ZC 47
#define IORING_OP_SENDMSG_ZC 48
#define IORING_OP_LISTEN 57
#define IOSQE_FIXED_FILE 1
#define IORING_ACCEPT_MULTISHOT 1
#define IORING_FILE_INDEX_ALLOC 0xffffffffU

/* In place of a result, which is 32 bits wide. */
#define IS_SUBMITTED (1LL << 32)

#define OPERATION(n) (1ULL << IORING_OP_##n)
#define SUBMITTED \
    (OPERATION(SENDMSG) | OPERATION(SEND) | OPERATION(SEND_ZC) | OPERATION(SENDMSG_ZC) | OPERATION(CONNECT) | OPERATION(ACCEPT))
#define COMPLETED (OPERATION(CONNECT) | OPERATION(ACCEPT) | OPERATION(LISTEN))

static __always_inline int is_one_of(__u64 operations, __u8 operation) {
    return operation < 64 && operations >> operation & 1;
}

/* Where TCP connects under way go to, by request: at its end the kernel's copy of the address is gone. */
struct destination {
    __u8 address[16];
    __u64 port;
};
BPF_TABLE("lru_hash", __u64, struct destination, destinations, 512);

/* An accept that goes on gives each connection without saying which request it was. By ring and the caller's own number; the value
 * is the place among the ring's files that it asked for, 0: an ordinary descriptor. */
struct accept_key {
    __u64 ring;
    __u64 user_data;
};
BPF_TABLE("lru_hash", struct accept_key, __u32, accepts, 256);

/* A file that a ring has, which no table of descriptors does. */
static __always_inline void *fixed_file(void *ring, __u32 place) {
    if (place >= read_u32(ring, RING_FILE_COUNT))
        return 0;
    void *node = read_pointer(read_pointer(ring, RING_FILES) + 8ULL * place, 0);
    if (!node)
        return 0;
    return (void *)(read_u64(node, NODE_FILE) & ~7ULL); /* the low bits are flags */
}

/* Reads the kernel's own copy of an address; returns whether it is an IP address with a port. */
static __always_inline int read_kernel_address(struct repeat_key *key, void *name) {
    struct {
        __u16 family, port;
        __u32 v4;
        __u8 v6[16];
    } address = {};
    bpf_probe_read_kernel(&address, sizeof(address), name);
    key->port = bpf_ntohs(address.port);
    if (address.family == AF_INET6)
        __builtin_memcpy(key->address, address.v6, 16);
    else if (address.family == AF_INET || !address.family) /* udp_sendmsg() takes none for AF_INET */
        write_v4(key->address, address.v4);
    else
        return 0;
    return key->port != 0;
}

/* A connect keeps either the address alone or, in kernels before, what messages do: that begins with a pointer to more, whose lowest
 * bits are 0 and no family of addresses. */
static __always_inline void *connect_name(void *data) {
    __u16 family = read_u16(data, 0);
    return family == AF_INET || family == AF_INET6 ? data : data + MESSAGE_ADDRESS;
}

static __always_inline void look_at(struct raw_arguments *ctx, void *ring, void *request, __u32 operation, __s64 result) {
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!scratch)
        return;
    scratch->ring = ring;
    scratch->request = request;
    scratch->operation = operation;
    scratch->result = result;
    tails.call(ctx, TAIL_URING);
}

int uring_submit(struct raw_arguments *ctx) {
    void *request = (void *)ctx->args[0];
    __u8 operation = 0;
    bpf_probe_read_kernel(&operation, 1, request + REQUEST_OPCODE);
    if (!is_one_of(SUBMITTED, operation))
        return 0;
    void *ring = read_pointer(request, REQUEST_RING);
    if (operation == IORING_OP_ACCEPT) {
        if (read_u32(request, ACCEPT_FLAGS) & IORING_ACCEPT_MULTISHOT) {
            struct accept_key key = {.ring = (__u64)ring, .user_data = read_u64(request, REQUEST_USER_DATA)};
            __u32 slot = read_u32(request, ACCEPT_SLOT);
            accepts.update(&key, &slot);
        }
        return 0;
    }
    void *data = read_pointer(request, REQUEST_DATA);
    if (!data || (operation != IORING_OP_CONNECT && !read_pointer(data, MESSAGE_NAME)))
        return 0; /* to where the socket is connected */
    look_at(ctx, ring, request, operation, IS_SUBMITTED);
    return 0;
}

int uring_complete(struct raw_arguments *ctx) {
    void *ring = (void *)ctx->args[0], *request = (void *)ctx->args[1];
    __u8 operation = IORING_OP_ACCEPT;
    __u32 slot = 0;
    if (request) {
        bpf_probe_read_kernel(&operation, 1, request + REQUEST_OPCODE);
        if (!is_one_of(COMPLETED, operation))
            return 0;
    }
    struct accept_key key = {.ring = (__u64)ring, .user_data = read_u64((void *)ctx->args[2], CQE_USER_DATA)};
    __s64 result = (__s32)read_u32((void *)ctx->args[2], CQE_RESULT);
    if (operation == IORING_OP_CONNECT ? !is_refusal(-result) : result < 0) {
        __u64 of = (__u64)request;
        if (operation == IORING_OP_CONNECT)
            destinations.delete(&of);
        return 0;
    }
    if (operation == IORING_OP_ACCEPT) {
        __u32 *known = accepts.lookup(&key);
        if (!request && !known)
            return 0;
        slot = request ? read_u32(request, ACCEPT_SLOT) : *known;
        if (request && known) /* it goes on no more */
            accepts.delete(&key);
        if (slot) { /* among the ring's own files */
            void *file = fixed_file(ring, slot == IORING_FILE_INDEX_ALLOC ? result : slot - 1);
            request = file;
            if (!file)
                return 0;
        } else
            request = 0;
    }
    look_at(ctx, ring, request, operation, result);
    return 0;
}

/* An accept's `request` is the file, or 0: then its result is a descriptor. */
static __always_inline void *socket_of_request(struct scratch *scratch, void *task) {
    void *request = scratch->request;
    if (scratch->operation == IORING_OP_ACCEPT)
        return sock_of(request ? request : file_of(task, scratch->result));
    if (scratch->result != IS_SUBMITTED)
        return sock_of(read_pointer(request, REQUEST_FILE));
    __u32 fd = read_u32(request, REQUEST_FD);
    return sock_of(read_u32(request, REQUEST_FLAGS) & IOSQE_FIXED_FILE ? fixed_file(scratch->ring, fd) : file_of(task, fd));
}

int uring(struct raw_arguments *ctx) {
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!scratch)
        return 0;
    __u32 operation = scratch->operation;
    __s64 result = scratch->result;
    void *request = scratch->request;
    __u64 cgroup_id = 0;
    struct cgroup *cgroup = 0;
    int again = was_begun_again(scratch);
    enum membership membership = task_container(task, 0, &cgroup, &cgroup_id);
    if (membership == UNDESCRIBED && !again) {
        begin_again_at(scratch, TAIL_URING);
        tails.call(ctx, TAIL_CGROUPS);
    }
    if (membership == UNDESCRIBED)
        count(COUNTER_READ_FAILED);
    if (membership != INSIDE)
        return 0;
    void *sock = socket_of_request(scratch, task);
    if (!sock)
        return 0;
    __u16 protocol = read_u16(sock, SOCK_PROTOCOL);
    struct socket_head head = {};
    read_head(&head, sock);
    if (head.family != AF_INET && head.family != AF_INET6)
        return 0;
    struct repeat_key key = {};
    identify_briefly(&key, task);
    key.kind = KIND_CONNECT;
    key.protocol = protocol == IPPROTO_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;
    __u64 of = (__u64)request;
    if (operation == IORING_OP_ACCEPT || operation == IORING_OP_LISTEN) {
        if (protocol != IPPROTO_TCP)
            return 0;
        key.kind = operation == IORING_OP_ACCEPT ? KIND_ACCEPT : KIND_LISTEN;
        key.port = head.port;
        if (operation == IORING_OP_ACCEPT)
            read_destination(key.address, &head, sock);
        else
            read_source(key.address, &head, sock);
    } else if (result == IS_SUBMITTED) {
        void *data = read_pointer(request, REQUEST_DATA);
        void *name = operation == IORING_OP_CONNECT ? connect_name(data) : read_pointer(data, MESSAGE_NAME);
        if (!read_kernel_address(&key, name))
            return 0;
        key.result = RESULT_IN_PROGRESS;
        if (protocol == IPPROTO_TCP && operation == IORING_OP_CONNECT) { /* inet_sock_set_state tells it if it gets that far */
            struct destination destination = {.port = key.port};
            __builtin_memcpy(destination.address, key.address, 16);
            destinations.update(&of, &destination);
        }
        if (protocol != IPPROTO_UDP)
            return 0;
    } else {
        struct destination *destination = destinations.lookup(&of);
        if (!destination)
            return 0; /* UDP, or an address that is none */
        key.result = result_of(-result);
        key.port = destination->port;
        __builtin_memcpy(key.address, destination->address, 16);
        destinations.delete(&of);
        __u64 socket = (__u64)sock;
        if (was_told(&key, socket))
            return 0;
        struct attempt *attempt = find_attempt(socket);
        if (attempt) { /* it began, and gave up within the call */
            if (end_attempt(scratch, attempt, key.result))
                tails.call(ctx, TAIL_FIRST);
            return 0;
        }
    }
    if (!key.port)
        return 0;
    write_event(scratch, &key, cgroup_id, bpf_ktime_get_boot_ns(), 0);
    if (!count_repeat(scratch))
        tails.call(ctx, TAIL_FIRST);
    return 0;
}

#else /* a kernel without io_uring, or of another form: nothing is attached */
int uring_submit(struct raw_arguments *ctx) {
    return 0;
}

int uring_complete(struct raw_arguments *ctx) {
    return 0;
}

int uring(struct raw_arguments *ctx) {
    return 0;
}
#endif

#endif
