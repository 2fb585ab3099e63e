/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * Reading the kernel's structs without its headers: offsets come as -D macros that the loader takes from the running
 * kernel's own BTF (agent/capture/offsets.py lists them).
 */
#ifndef PEERWATCH_KERNEL_H
#define PEERWATCH_KERNEL_H

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Bounds a size for the verifier: the compiler may not conclude that the mask is not needed. */
#define BOUND(value, mask)                   \
    ({                                       \
        __u64 bounded = (value);             \
        asm volatile("" : "+r"(bounded));    \
        bounded & (mask);                    \
    })

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define TCP_LISTEN 10

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define S_IFMT 00170000
#define S_IFSOCK 0140000

/* include/linux/sched.h: forked and not executed anything since; begin_new_exec() clears it. */
#define PF_FORKNOEXEC 0x00000040

/* include/uapi/linux/magic.h */
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994

/* Any address: a wrong one gives zeros and never a fault. */
static __always_inline void *read_pointer(const void *base, int offset) {
    void *value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), base + offset);
    return value;
}

static __always_inline __u64 read_u64(const void *base, int offset) {
    __u64 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), base + offset);
    return value;
}

static __always_inline __u32 read_u32(const void *base, int offset) {
    __u32 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), base + offset);
    return value;
}

static __always_inline __u16 read_u16(const void *base, int offset) {
    __u16 value = 0;
    bpf_probe_read_kernel(&value, sizeof(value), base + offset);
    return value;
}

/* What begins at bpf_get_current_task_btf() and follows typed members is known to the verifier and read in place, with one
 * instruction instead of a call (12 ns each, 60 of them per exec); the kernel handles a fault there as it does in the calls.
 * Assembly, because bcc would turn a dereference in C into a call again. Pointers must be checked for 0 before they are
 * followed: kernels differ in which of them the verifier wants checked. */
#define FIELD_POINTER(base, offset)                                                                  \
    ({                                                                                               \
        void *value_;                                                                                \
        asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value_) : "r"(base), "i"(offset));              \
        value_;                                                                                      \
    })
#define FIELD_U64(base, offset) ((__u64)FIELD_POINTER(base, offset))
#define FIELD_U32(base, offset)                                                                      \
    ({                                                                                               \
        __u64 value_;                                                                                \
        asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value_) : "r"(base), "i"(offset));              \
        (__u32)value_;                                                                               \
    })

/* Atomic operations that return what was there before. bcc's compiler knows the plain ones only, so these are written as plain
 * ones that nothing else here uses, and the loader puts the right ones in their place (agent/capture/loader.py). */
static __always_inline __u64 fetch_add(__u64 *place, __u64 value) {
    asm volatile("lock *(u64 *)(%1 + 0) &= %0" : "+r"(value) : "r"(place) : "memory");
    return value;
}

static __always_inline __u64 exchange(__u64 *place, __u64 value) {
    asm volatile("lock *(u64 *)(%1 + 0) |= %0" : "+r"(value) : "r"(place) : "memory");
    return value;
}

/* A raw tracepoint's arguments. */
struct raw_arguments {
    __u64 args[3];
};

/* bpf_probe_read_user() by another name: at that one, bcc reads all of /proc/kallsyms to see whether the kernel has it, 0.5 s. */
static long (*read_user_memory)(void *destination, __u32 size, const void *source) = (void *)BPF_FUNC_probe_read_user;

#endif
