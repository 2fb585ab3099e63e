/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
 *
 * The records that probes hand to the agent. Keep in sync with agent/capture/records.py; a test compares both layouts.
 *
 * Records of one ring have one size, so that a reader takes any number of them as one array. Most events fit the small
 * size; what does not goes to a ring of long ones.
 */
#ifndef PEERWATCH_RECORDS_H
#define PEERWATCH_RECORDS_H

/* With the 8 bytes that a ring puts before each record these make 640 and 8192. */
#define SMALL_TEXT 480
#define LONG_TEXT 8032

/* Numbers as in peerwatch.v1.EventKind. */
enum kind {
    KIND_NONE = 0, /* only work out whose image it is */
    KIND_EXEC = 1,
    KIND_CONNECT = 2,
    KIND_EXIT = 4,
    KIND_LISTEN = 5,
    KIND_ACCEPT = 6,
};

/* Numbers as in peerwatch.v1.Connect.Result. */
enum result {
    RESULT_NONE = 0,
    RESULT_OK = 1,
    RESULT_IN_PROGRESS = 2,
    RESULT_REFUSED = 3,
    RESULT_TIMEOUT = 4,
    RESULT_UNREACHABLE = 5,
    RESULT_ERROR = 6,
};

/* Numbers as in peerwatch.v1.Connect.Protocol. */
#define PROTOCOL_TCP 1
#define PROTOCOL_UDP 2

/* Bit numbers as in peerwatch.v1.Process.Flag. */
#define FLAG_UPPER_LAYER (1u << 1)
#define FLAG_MEMFD (1u << 2)
#define FLAG_STDIO_SOCKET (1u << 3)
#define FLAG_TTY (1u << 4)
#define FLAG_INJECTED (1u << 5)
#define FLAG_HOST_NAMESPACE (1u << 6)
#define FLAG_CANARY (1u << 7)
/* Only between probes: this image's text was cut, so a child's lineage is not made from it. */
#define FLAG_LINEAGE_CUT (1u << 30)
#define FLAG_ARGS_TRUNCATED (1u << 31)

/* What the kernel side did and could not do, counted per CPU. */
enum counter {
    COUNTER_PRODUCED = 0,        /* records handed to a ring */
    COUNTER_RING_FULL = 1,       /* events lost because a ring was full */
    COUNTER_FOLDED = 2,          /* events counted in a fold instead of handed over one by one */
    COUNTER_FOLD_TABLE_FULL = 3, /* events handed over one by one because no fold was free: nothing lost */
    COUNTER_ATTEMPTS_FULL = 4,   /* connects told as IN_PROGRESS at once because too many are under way: nothing lost */
    COUNTER_ARGS_TRUNCATED = 5,  /* events with a cut argument list */
    COUNTER_PATH_TRUNCATED = 6,  /* paths with more components or bytes than are walked */
    COUNTER_READ_FAILED = 7,     /* memory that could not be read: of arguments, or of a cgroup, whose event is not told then */
    COUNTER_IMAGE_UNKNOWN = 8,   /* events of a process that is gone and whose image was evicted: no executable is told */
    COUNTER_SENDS_SKIPPED = 9,   /* messages of one sendmmsg() beyond those that are looked at: lost */
    COUNTER_RUNTIME = 10,        /* the container runtime's own execs while it sets a container up: not the container's */
    COUNTER_STARTED = 11,        /* TCP connects begun */
    COUNTER_ENDED = 12,          /* TCP connects whose end is known or was given up */
    COUNTER_MAX = 13,
};

/* A process image. Times are nanoseconds since boot. */
struct process {
    __u64 start;        /* task_struct.start_boottime of the thread group's leader: with the pid, the identity */
    __u64 image;        /* when this image was executed; 0: before the probes were attached */
    __u64 cgroup;       /* key into the map `cgroups` */
    __u64 parent_start;
    __u64 capabilities; /* effective */
    __u64 gained;       /* of these, the ones that the image before did not have */
    __u32 pid;
    __u32 parent_pid;
    __u32 uid;
    __u32 gid;
    __u32 effective_uid;
    __u32 effective_gid;
    __u32 flags;
    __u32 exec_id; /* task_struct.self_exec_id: with pid and start, names the image */
    __u16 exe_length;       /* the lengths of what follows in the event's text, in this order, */
    __u16 script_length;    /* each string with its NUL */
    __u16 ancestors_length; /* parent, grandparent, …, each as pid, start (12 bytes) and executable; empty if the parent is outside */
    __u16 cwd_length;
    __u16 args_length;
    __u16 unused[3];
};

struct event {
    __u64 time;
    __u64 last_time;
    __u8 address[16]; /* IPv6 or IPv4-mapped */
    __u64 lifetime;   /* exit: nanoseconds from exec to exit, mean of `count` */
    __u32 count;
    __u32 code;       /* exit: as wait(2) gives it: code << 8 | signal */
    __u16 port;
    __u8 kind;
    __u8 protocol;
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

#endif
