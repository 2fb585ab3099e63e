/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * What makes an event a repeat of another. A key holds all of it and no hash: counts add up exactly, and nobody can choose an
 * event that passes for another one.
 */
#ifndef PEERWATCH_KEYS_H
#define PEERWATCH_KEYS_H

/* Longer argument lists are not folded: such an exec costs ten times what its record does. */
#define KEY_ARGS 136

/* An exec: by which image, of which file, with what. Pointers name a file together with its inode's number and change time:
 * memory is used again, these are not. `names` are the hashes that the kernel keeps of the last names of the path, so that a
 * file that was moved is another one. */
struct exec_key {
    __u64 parent_start;
    __u64 cgroup;
    __u64 dentry;
    __u64 mount;
    __u64 inode;
    __u64 changed;
    __u64 names;
    __u64 folder;
    __u64 folder_mount;
    __u64 capabilities;
    __u32 parent_pid;
    __u32 parent_exec_id;
    __u32 uid;
    __u32 gid;
    __u32 effective_uid;
    __u32 effective_gid;
    __u32 flags;
    __u32 args_length;
    char args[KEY_ARGS];
    __u64 script_length; /* a script and its interpreter with the same arguments are two things */
};

/* Anything else: by which image, to where, how it ended. */
struct repeat_key {
    __u64 owner; /* start of the process; of an exit the fold of its exec */
    __u32 pid;
    __u32 exec_id;
    __u8 address[16];
    __u32 code;
    __u32 uid;
    __u16 port;
    __u8 kind;
    __u8 protocol;
    __u8 result;
    __u8 unused[3];
};

union key {
    struct exec_key exec;
    struct repeat_key repeat;
};

#endif
