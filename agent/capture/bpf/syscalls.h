/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What no other tracepoint tells, at the end of the system calls: UDP connects and sends, TCP connects that failed before a packet
 * was sent, accepts. One program for all of them: `number` says which.
 *
 * Addresses are the kernel's socket's where it has them. It has none for a message that an unconnected socket sends, and for a
 * connect without a route: only there the caller's memory is read, and another thread could have changed it since.
 */
#ifndef PEERWATCH_SYSCALLS_H
#define PEERWATCH_SYSCALLS_H

#include "tcp.h"

#define EPERM 1
#define EACCES 13
#define EADDRNOTAVAIL 99
#define EINPROGRESS 115

/* Messages of one sendmmsg() that are looked at, two tail calls each, of which the kernel allows 33 (MAX_TAIL_CALL_CNT). glibc's
 * resolver sends two. */
#define MESSAGES 12

/* The stable layout of syscalls:sys_exit_*. */
struct sys_exit {
    __u64 common;
    __u32 number;
    __u32 unused;
    __s64 result;
};

/* struct mmsghdr; it and struct user_msghdr begin with the pointer to the address. */
#define MMSGHDR_SIZE 64

/* The file behind a descriptor of the current process, or 0. */
static __always_inline void *file_of(void *task, __u32 fd) {
    void *files = FIELD_POINTER(task, TASK_FILES);
    if (!files)
        return 0;
    void *table = FIELD_POINTER(files, FILES_FDT);
    if (!table || fd >= FIELD_U32(table, FDTABLE_MAX_FDS))
        return 0;
    return read_pointer(FIELD_POINTER(table, FDTABLE_FD) + 8ULL * fd, 0);
}

/* The kernel's struct sock behind a file, or 0 if it is no socket. */
static __always_inline void *sock_of(void *file) {
    return is_socket(file) ? read_pointer(read_pointer(file, FILE_PRIVATE_DATA), SOCKET_SK) : 0;
}

/* Reads a struct sockaddr of the caller; returns whether it is an IP address with a port. With `family`, one without a family is
 * taken for one of that, as udp_sendmsg() does. */
static __always_inline int read_user_address(struct repeat_key *key, void *address, __u16 family) {
    __u16 head[2] = {};
    read_user_memory(head, sizeof(head), address);
    key->port = bpf_ntohs(head[1]);
    if (!head[0])
        head[0] = family;
    if (head[0] == AF_INET) { /* struct sockaddr_in: family, port, address */
        key->address[10] = key->address[11] = 0xff;
        read_user_memory(&key->address[12], 4, address + 4);
    } else if (head[0] == AF_INET6) /* struct sockaddr_in6: family, port, flow information, address */
        read_user_memory(key->address, 16, address + 8);
    else
        return 0;
    return key->port != 0;
}

/* An error that says something of the way to the address, not of the call. */
static __always_inline int is_refusal(__s64 error) {
    return error == ENETUNREACH || error == EHOSTUNREACH || error == EACCES || error == EPERM || error == EADDRNOTAVAIL;
}

static __always_inline int is_accept(struct sys_exit *ctx) {
    return ctx->number == NR_ACCEPT || ctx->number == NR_ACCEPT4;
}

/* Sorts out most calls: what TCP's own probe tells, and what has no address because the socket is connected. */
int exit_network(struct sys_exit *ctx) {
    __s64 result = ctx->result;
    if (ctx->number == NR_LISTEN && result)
        return 0;
    if (ctx->number == NR_CONNECT ? result && !is_refusal(-result) : result < 0 && !is_refusal(-result) && result != -ECONNREFUSED)
        return 0;
    if (ctx->number == NR_SENDTO || ctx->number == NR_SENDMSG) {
        void *registers = (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
        void *address = read_pointer(registers, ctx->number == NR_SENDTO ? REGISTER_4 : REGISTER_1);
        if (ctx->number == NR_SENDMSG)
            read_user_memory(&address, sizeof(address), address);
        if (!address)
            return 0;
    }
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!scratch)
        return 0;
    scratch->message = 0;
    syscall_tails.call(ctx, TAIL_NETWORK);
    return 0;
}

int network(struct sys_exit *ctx) {
    __s64 result = ctx->result;
    __u32 number = ctx->number;
    void *task = (void *)bpf_get_current_task_btf();
    struct scratch *scratch = scratch_of(OWN_SCRATCH);
    if (!scratch)
        return 0;
    __u64 cgroup_id = 0;
    struct cgroup *cgroup = 0;
    int again = was_begun_again(scratch);
    enum membership membership = task_container(task, 0, &cgroup, &cgroup_id);
    if (membership == UNDESCRIBED && !again) {
        begin_again_at(scratch, TAIL_NETWORK);
        syscall_tails.call(ctx, TAIL_CGROUPS);
    }
    if (membership == UNDESCRIBED)
        count(COUNTER_READ_FAILED);
    if (membership != INSIDE)
        return 0;
    void *registers = (void *)bpf_task_pt_regs(task);
    void *sock = sock_of(file_of(task, is_accept(ctx) ? result : read_u64(registers, REGISTER_0)));
    if (!sock)
        return 0;
    __u16 protocol = read_u16(sock, SOCK_PROTOCOL);
    struct socket_head head = {};
    read_head(&head, sock);
    if (head.family != AF_INET && head.family != AF_INET6)
        return 0;

    struct repeat_key key = {};
    key.kind = KIND_CONNECT;
    key.result = result >= 0 ? RESULT_OK : result_of(-result);
    identify_briefly(&key, task);
    __u32 resume = 0;
    void *address = read_pointer(registers, number == NR_SENDTO ? REGISTER_4 : REGISTER_1);
    if (number == NR_SENDMSG || number == NR_SENDMMSG) {
        __u32 message = scratch->message & 15;
        void *name = 0;
        read_user_memory(&name, sizeof(name), address + message * MMSGHDR_SIZE); /* sendmsg has only the first */
        address = name;
        if (number == NR_SENDMMSG && message + 1 < result) {
            scratch->message = message + 1;
            if (message + 1 < MESSAGES)
                resume = TAIL_NETWORK;
            else if (address) /* else the socket is connected, and the others have none either */
                count_more(COUNTER_SENDS_SKIPPED, result - MESSAGES);
        }
    }
    if (protocol == IPPROTO_UDP && !is_accept(ctx)) {
        key.protocol = PROTOCOL_UDP;
        if (number == NR_CONNECT && !result) {
            /* connect() to AF_UNSPEC dissolves an association, to port 0 only asks for a source address */
            key.port = bpf_ntohs(head.destination_port);
            read_destination(key.address, &head, sock);
        } else if (!address || !read_user_address(&key, address, number == NR_CONNECT || head.family != AF_INET ? 0 : AF_INET))
            key.port = 0;
    } else if (protocol == IPPROTO_TCP) {
        key.protocol = PROTOCOL_TCP;
        if (number == NR_LISTEN) {
            key.kind = KIND_LISTEN;
            key.result = RESULT_NONE;
            key.port = head.port;
            read_source(key.address, &head, sock);
        } else if (is_accept(ctx)) {
            key.kind = KIND_ACCEPT;
            key.result = RESULT_NONE;
            key.port = head.port;
            read_destination(key.address, &head, sock);
        } else if (number != NR_CONNECT || !result)
            return 0; /* the end of a connect that began in an earlier call, or one by sendto() */
        else {
            __u64 socket = (__u64)sock;
            int has_address = read_user_address(&key, address, 0);
            if (was_told(&key, socket))
                return 0;
            struct attempt *attempt = find_attempt(socket);
            if (attempt) { /* it began, and gave up within the call */
                if (end_attempt(scratch, attempt, result_of(-result)))
                    syscall_tails.call(ctx, TAIL_FIRST);
                return 0;
            }
            if (!has_address)
                return 0;
        }
    }
    if (key.protocol && key.port) {
        write_event(scratch, &key, cgroup_id, bpf_ktime_get_boot_ns(), 0);
        if (!count_repeat(scratch)) {
            scratch->resume = resume;
            syscall_tails.call(ctx, TAIL_FIRST);
        }
    }
    if (resume)
        syscall_tails.call(ctx, resume);
    return 0;
}

#endif
