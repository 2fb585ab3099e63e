/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * Reading the kernel's structs without its headers: offsets come as -D macros that the loader takes from the running
 * kernel's own BTF (agent/capture/btf.py lists them). Everything is read with bpf_probe_read_kernel, so a wrong pointer gives
 * zeros and never a fault.
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

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define S_IFMT 00170000
#define S_IFSOCK 0140000

/* include/uapi/linux/magic.h */
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define TMPFS_MAGIC 0x01021994

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

#endif
