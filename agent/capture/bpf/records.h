/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * The records that probes hand to the agent. Keep in sync with agent/capture/records.py; a test compares both layouts.
 *
 * Records of one ring have one size, so that a reader takes any number of them as one array. Most events fit the small
 * size; what does not goes to a ring of long ones.
 */
#ifndef PEERWATCH_RECORDS_H
#define PEERWATCH_RECORDS_H

/* With the 8 bytes that a ring puts before each record these make 512 and 8192, so rings hold a whole number of them. */
#define SMALL_TEXT 408
#define LONG_TEXT 8088

enum kind {
    KIND_EXEC = 1,
    KIND_CONNECT = 2,
};

/* Numbers as in peerwatch.v1.Connect.Result. */
enum result {
    RESULT_UNKNOWN = 0,  /* its outcome follows in a record of its own */
    RESULT_OK = 1,
    RESULT_IN_PROGRESS = 2,
    RESULT_REFUSED = 3,
    RESULT_TIMEOUT = 4,
    RESULT_UNREACHABLE = 5,
    RESULT_ERROR = 6,
};

/* Bit numbers as in peerwatch.v1.Process.Flag. */
#define FLAG_UPPER_LAYER (1u << 1)
#define FLAG_MEMFD (1u << 2)
#define FLAG_STDIO_SOCKET (1u << 3)
#define FLAG_TTY (1u << 4)
#define FLAG_INJECTED (1u << 5)
#define FLAG_HOST_NAMESPACE (1u << 6)
#define FLAG_ARGS_TRUNCATED (1u << 31)

/* What the kernel side could not do, counted per CPU. */
enum counter {
    COUNTER_PRODUCED = 0,        /* events handed to a ring; outcomes are none */
    COUNTER_RING_FULL = 1,       /* events lost because a ring was full */
    COUNTER_OUTCOME_LOST = 2,    /* outcomes lost: their connects stay IN_PROGRESS */
    COUNTER_ARGS_TRUNCATED = 3,  /* events with a cut argument list */
    COUNTER_PATH_TRUNCATED = 4,  /* paths with more components or bytes than are walked */
    COUNTER_READ_FAILED = 5,     /* kernel or user memory that could not be read */
    COUNTER_RUNTIME = 6,         /* the container runtime's own execs while it sets a container up: not the container's */
    COUNTER_MAX = 7,
};

/* A process image. Times are nanoseconds since boot. */
struct process {
    __u64 start;        /* task_struct.start_boottime of the thread group's leader: with the pid, the identity */
    __u64 image;        /* when this image was executed; 0: before the probes were attached */
    __u64 cgroup;       /* key into the map `cgroups` */
    __u64 parent_start;
    __u32 pid;
    __u32 parent_pid;
    __u32 uid;
    __u32 flags;
    __u16 exe_length;       /* the lengths of what follows in the event's text, in this order, */
    __u16 cwd_length;       /* each string with its NUL */
    __u16 ancestors_length; /* executables of parent, grandparent, …; empty if the parent is not in the container */
    __u16 args_length;
};

struct event {
    __u64 time;
    __u64 socket;      /* with `time`, names the attempt that an outcome belongs to */
    __u8 address[16];  /* IPv6 or IPv4-mapped */
    __u16 port;
    __u8 kind;
    __u8 protocol;     /* as in peerwatch.v1.Connect.Protocol */
    __u8 result;
    __u8 unused[3];
    struct process process;
};

struct small_event {
    struct event event;
    char text[SMALL_TEXT];
};

struct long_event {
    struct event event;
    char text[LONG_TEXT];
};

/* How a connect that was reported with RESULT_UNKNOWN ended. */
struct outcome {
    __u64 socket;
    __u64 attempt;  /* `time` of its event */
    __u64 time;
    __u64 result;
};

#endif
