/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * connect. TCP: the socket's own state changes (inet_sock_set_state), in the connecting process at SYN_SENT and anywhere at
 * the end: blocking, non-blocking and through io_uring alike, addresses from the socket. UDP has no such tracepoint: there the
 * end of the system call tells, and the address is again the socket's. A TCP connect that fails before a packet is sent
 * (no route) has no address in the kernel: only then the caller's memory is read; nothing went out.
 */
#ifndef PEERWATCH_CONNECT_H
#define PEERWATCH_CONNECT_H

#include "emit.h"
#include "process.h"

#define EINPROGRESS 115
#define ECONNREFUSED 111
#define ETIMEDOUT 110
#define EHOSTUNREACH 113
#define ENETUNREACH 101
#define EADDRNOTAVAIL 99
#define EACCES 13
#define EPERM 1

/* A connect() that a thread is in. */
struct call {
    __u64 address;
    __u64 cgroup_id;
    __u64 socket;  /* the attempt failed within the call: its error is known when the call ends */
    __u64 attempt;
    __u32 fd;
    __u32 sent; /* TCP reported it already */
};

BPF_TABLE("lru_hash", __u64, struct call, calls, 4096);

/* Socket → time of the attempt that is under way. */
BPF_TABLE("lru_hash", __u64, __u64, attempts, 16384);

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

static __always_inline void emit_outcome(__u64 socket, __u64 attempt, int result) {
    struct outcome *outcome = outcomes.ringbuf_reserve(sizeof(*outcome));
    if (!outcome) {
        count(COUNTER_OUTCOME_LOST);
        return;
    }
    outcome->socket = socket;
    outcome->attempt = attempt;
    outcome->time = bpf_ktime_get_boot_ns();
    outcome->result = result;
    outcomes.ringbuf_submit(outcome, 0);
}

/* Writes destination address and port of a socket. */
static __always_inline void read_destination(struct event *event, void *sock) {
    event->port = bpf_ntohs(read_u16(sock, SOCK_DPORT));
    if (read_u16(sock, SOCK_FAMILY) == AF_INET) {
        event->address[10] = event->address[11] = 0xff;
        bpf_probe_read_kernel(&event->address[12], 4, sock + SOCK_DADDR);
    } else
        bpf_probe_read_kernel(event->address, 16, sock + SOCK_V6_DADDR); /* IPv4-mapped if it is */
}

/* Adds who it was to an event whose other fields are set, and emits it. */
static __always_inline void emit_connect(struct scratch *scratch, void *task, struct cgroup *cgroup, __u64 cgroup_id) {
    __u32 tgid = bpf_get_current_pid_tgid() >> 32;
    struct event *event = &scratch->event;
    struct image *image = images.lookup(&tgid);
    event->kind = KIND_CONNECT;
    if (image && image->process.start == read_u64(read_pointer(task, TASK_GROUP_LEADER), TASK_START_BOOTTIME)) {
        event->process = image->process;
        event->process.uid = bpf_get_current_uid_gid();
        emit_small(event, image->text);
        return;
    }
    describe_process(scratch, task, cgroup, cgroup_id);
    image = keep_image(scratch);
    if (image)
        emit_small(event, image->text);
}

RAW_TRACEPOINT_PROBE(inet_sock_set_state) {
    void *sock = (void *)ctx->args[0];
    int old_state = ctx->args[1], new_state = ctx->args[2];
    __u64 socket = (__u64)sock;
    if (old_state == TCP_CLOSE && new_state == TCP_SYN_SENT) {
        if (read_u16(sock, SOCK_PROTOCOL) != IPPROTO_TCP)
            return 0;
        void *task = (void *)bpf_get_current_task();
        __u64 cgroup_id = 0;
        struct cgroup *cgroup = task_container(task, &cgroup_id);
        int zero = 0;
        struct scratch *scratch = scratches.lookup(&zero);
        if (!cgroup || !scratch)
            return 0;
        __u64 thread = bpf_get_current_pid_tgid();
        struct call *call = calls.lookup(&thread);
        if (call)
            call->sent = 1;
        struct event *event = &scratch->event;
        __builtin_memset(event, 0, sizeof(*event));
        event->time = bpf_ktime_get_boot_ns();
        event->socket = socket;
        event->protocol = 1;
        read_destination(event, sock);
        __u64 attempt = event->time;
        attempts.update(&socket, &attempt);
        emit_connect(scratch, task, cgroup, cgroup_id);
    } else if (new_state == TCP_ESTABLISHED || new_state == TCP_CLOSE) {
        __u64 *attempt = attempts.lookup(&socket);
        if (!attempt)
            return 0;
        /* tcp_done_with_error() and its forerunners set sk_err before the state. */
        __u32 error = read_u32(sock, SOCK_ERR);
        __u64 thread = bpf_get_current_pid_tgid();
        struct call *call = calls.lookup(&thread);
        if (new_state == TCP_CLOSE && !error && call && call->sent) {
            /* tcp_v4_connect() gave up: only its caller learns why. */
            call->socket = socket;
            call->attempt = *attempt;
        } else
            emit_outcome(socket, *attempt,
                         new_state == TCP_ESTABLISHED ? RESULT_OK
                         : error                      ? result_of(error)
                                                      : RESULT_IN_PROGRESS /* closed before it ended */);
        attempts.delete(&socket);
    }
    return 0;
}

/* The stable layouts of syscalls:sys_enter_connect and syscalls:sys_exit_connect. */
struct sys_enter {
    __u64 common;
    __u64 number;
    __u64 args[6];
};
struct sys_exit {
    __u64 common;
    __u64 number;
    __s64 result;
};

int enter_connect(struct sys_enter *ctx) {
    void *task = (void *)bpf_get_current_task();
    struct call call = {.address = ctx->args[1], .fd = ctx->args[0]};
    if (!task_container(task, &call.cgroup_id))
        return 0;
    __u64 thread = bpf_get_current_pid_tgid();
    calls.update(&thread, &call);
    return 0;
}

/* The kernel's struct sock behind a file descriptor of the current process, or 0 if it is no socket. */
static __always_inline void *socket_of(void *task, __u32 fd) {
    void *table = read_pointer(read_pointer(task, TASK_FILES), FILES_FDT);
    if (fd >= read_u32(table, FDTABLE_MAX_FDS))
        return 0;
    void *file = read_pointer(read_pointer(table, FDTABLE_FD) + 8ULL * fd, 0);
    return is_socket(file) ? read_pointer(read_pointer(file, FILE_PRIVATE_DATA), SOCKET_SK) : 0;
}

int exit_connect(struct sys_exit *ctx) {
    __u64 thread = bpf_get_current_pid_tgid();
    struct call *known = calls.lookup(&thread);
    if (!known)
        return 0;
    struct call call = *known;
    calls.delete(&thread);
    __s64 error = -ctx->result;
    if (call.socket)
        emit_outcome(call.socket, call.attempt, result_of(error));
    int unreachable = error == ENETUNREACH || error == EHOSTUNREACH;
    int refused_locally = error == EACCES || error == EPERM || error == EADDRNOTAVAIL;
    if (call.sent || (error && !unreachable && !refused_locally))
        return 0; /* TCP told it, or it was no attempt to reach anyone */
    void *task = (void *)bpf_get_current_task();
    void *sock = socket_of(task, call.fd);
    __u16 protocol = read_u16(sock, SOCK_PROTOCOL);
    __u16 family = read_u16(sock, SOCK_FAMILY);
    if (!sock || (family != AF_INET && family != AF_INET6) || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP))
        return 0;
    if (!error && protocol == IPPROTO_TCP)
        return 0; /* the end of a connect that began in an earlier call */
    struct cgroup *cgroup = cgroups.lookup(&call.cgroup_id);
    int zero = 0;
    struct scratch *scratch = scratches.lookup(&zero);
    if (!cgroup || !scratch)
        return 0;
    struct event *event = &scratch->event;
    __builtin_memset(event, 0, sizeof(*event));
    event->time = bpf_ktime_get_boot_ns();
    event->protocol = protocol == IPPROTO_TCP ? 1 : 2;
    event->result = error ? result_of(error) : RESULT_OK;
    if (!error)
        read_destination(event, sock);
    else {
        __u16 head[2] = {};
        bpf_probe_read_user(head, sizeof(head), (void *)call.address);
        event->port = bpf_ntohs(head[1]);
        if (head[0] == AF_INET) { /* struct sockaddr_in: family, port, address */
            event->address[10] = event->address[11] = 0xff;
            bpf_probe_read_user(&event->address[12], 4, (void *)call.address + 4);
        } else if (head[0] == AF_INET6) /* struct sockaddr_in6: family, port, flow information, address */
            bpf_probe_read_user(event->address, 16, (void *)call.address + 8);
        else
            return 0;
    }
    if (!event->port)
        return 0; /* connect() to AF_UNSPEC dissolves an association, to port 0 only asks for a source address */
    emit_connect(scratch, task, cgroup, call.cgroup_id);
    return 0;
}

#endif
