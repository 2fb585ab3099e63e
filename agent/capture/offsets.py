"""Which kernel members the probes read, and under which macro name (`bpf/kernel.h`)."""

import contextlib

from agent.capture.btf import Btf, BtfError

__all__ = ["offset_macros"]

# Macro → member, the newest kernel's name first. A kernel without any of them cannot be captured.
MEMBERS: dict[str, tuple[str, ...]] = {
    "TASK_CGROUPS": ("task_struct.cgroups",),
    "TASK_EXIT_CODE": ("task_struct.exit_code",),
    "TASK_FLAGS": ("task_struct.flags",),
    "TASK_SELF_EXEC_ID": ("task_struct.self_exec_id",),
    "TASK_CRED": ("task_struct.cred",),
    "TASK_FILES": ("task_struct.files",),
    "TASK_FS": ("task_struct.fs",),
    "TASK_GROUP_LEADER": ("task_struct.group_leader",),
    "TASK_MM": ("task_struct.mm",),
    "TASK_NSPROXY": ("task_struct.nsproxy",),
    "TASK_REAL_PARENT": ("task_struct.real_parent",),
    "TASK_SIGNAL": ("task_struct.signal",),
    # real_start_time until "y2038: core, driver and file system changes" renamed it in 5.5 (cf25e24db61c)
    "TASK_START_BOOTTIME": ("task_struct.start_boottime", "task_struct.real_start_time"),
    "TASK_TGID": ("task_struct.tgid",),
    "TASK_THREAD_PID": ("task_struct.thread_pid",),
    "BINPRM_FILENAME": ("linux_binprm.filename",),
    "BINPRM_INTERP": ("linux_binprm.interp",),
    "CRED_CAP_EFFECTIVE": ("cred.cap_effective",),
    "CRED_UID": ("cred.uid",),
    "SIGNAL_LIVE": ("signal_struct.live",),
    "SIGNAL_TTY": ("signal_struct.tty",),
    "NSPROXY_MNT_NS": ("nsproxy.mnt_ns",),
    "PID_LEVEL": ("pid.level",),
    "PID_NUMBERS": ("pid.numbers",),
    "UPID_NS": ("upid.ns",),
    "PID_NAMESPACE_CHILD_REAPER": ("pid_namespace.child_reaper",),
    "MM_ARG_END": ("mm_struct.arg_end",),
    "MM_ARG_START": ("mm_struct.arg_start",),
    "MM_EXE_FILE": ("mm_struct.exe_file",),
    "FS_PWD": ("fs_struct.pwd",),
    "FILES_FDT": ("files_struct.fdt",),
    "FDTABLE_FD": ("fdtable.fd",),
    "FDTABLE_MAX_FDS": ("fdtable.max_fds",),
    "FILE_F_INODE": ("file.f_inode",),
    "FILE_F_PATH": ("file.f_path",),
    "FILE_PRIVATE_DATA": ("file.private_data",),
    "PATH_DENTRY": ("path.dentry",),
    "PATH_MNT": ("path.mnt",),
    "DENTRY_D_NAME_HASH": ("dentry.d_name.hash",),
    "DENTRY_D_NAME_LEN": ("dentry.d_name.len",),
    "DENTRY_D_NAME_NAME": ("dentry.d_name.name",),
    "DENTRY_D_PARENT": ("dentry.d_parent",),
    "VFSMOUNT_MNT_ROOT": ("vfsmount.mnt_root",),
    "MOUNT_MNT": ("mount.mnt",),
    "MOUNT_MNT_MOUNTPOINT": ("mount.mnt_mountpoint",),
    "MOUNT_MNT_PARENT": ("mount.mnt_parent",),
    # i_ctime became __i_ctime in 6.6 (13bc24457850) and two members in 6.11 (3aa63a569c64)
    "INODE_I_CTIME_NSEC": ("inode.i_ctime_nsec", "inode.__i_ctime.tv_nsec", "inode.i_ctime.tv_nsec"),
    "INODE_I_CTIME_SEC": ("inode.i_ctime_sec", "inode.__i_ctime.tv_sec", "inode.i_ctime.tv_sec"),
    "INODE_I_INO": ("inode.i_ino",),
    "INODE_I_MODE": ("inode.i_mode",),
    "INODE_I_NLINK": ("inode.i_nlink",),
    "INODE_I_SB": ("inode.i_sb",),
    "SUPER_BLOCK_S_MAGIC": ("super_block.s_magic",),
    "CSS_SET_DFL_CGRP": ("css_set.dfl_cgrp",),
    "CSS_SET_SUBSYS": ("css_set.subsys",),
    "CSS_CGROUP": ("cgroup_subsys_state.cgroup",),
    "CGROUP_KN": ("cgroup.kn",),
    "KERNFS_NODE_ID": ("kernfs_node.id",),
    "KERNFS_NODE_NAME": ("kernfs_node.name",),
    # __parent since "kernfs: Use RCU to access kernfs_node::parent" (633488947ef6, 6.15)
    "KERNFS_NODE_PARENT": ("kernfs_node.__parent", "kernfs_node.parent"),
    "SOCKET_SK": ("socket.sk",),
    "SOCK_DADDR": ("sock.__sk_common.skc_daddr",),
    "SOCK_DPORT": ("sock.__sk_common.skc_dport",),
    "SOCK_ERR": ("sock.sk_err",),
    "SOCK_FAMILY": ("sock.__sk_common.skc_family",),
    "SOCK_NUM": ("sock.__sk_common.skc_num",),
    "SOCK_PROTOCOL": ("sock.sk_protocol",),
    "SOCK_RCV_SADDR": ("sock.__sk_common.skc_rcv_saddr",),
    "SOCK_V6_DADDR": ("sock.__sk_common.skc_v6_daddr",),
    "SOCK_V6_RCV_SADDR": ("sock.__sk_common.skc_v6_rcv_saddr",),
}

# Only with overlayfs in the kernel itself or loaded; without, UPPER_LAYER is not told for it.
OVERLAY = {"OVL_INODE_UPPERDENTRY": "ovl_inode.__upperdentry", "OVL_INODE_VFS_INODE": "ovl_inode.vfs_inode"}

# Only where io_uring is as it is since 6.16 or so: what goes through it and no other tracepoint tells.
URING = {
    "ACCEPT_FLAGS": "io_accept.iou_flags",
    "ACCEPT_SLOT": "io_accept.file_slot",
    "CQE_RESULT": "io_uring_cqe.res",
    "CQE_USER_DATA": "io_uring_cqe.user_data",
    "MESSAGE_ADDRESS": "io_async_msghdr.addr",
    "MESSAGE_NAME": "io_async_msghdr.msg.msg_name",
    "NODE_FILE": "io_rsrc_node.file_ptr",
    "REQUEST_DATA": "io_kiocb.async_data",
    "REQUEST_FD": "io_kiocb.cqe.fd",
    "REQUEST_FILE": "io_kiocb.file",
    "REQUEST_FLAGS": "io_kiocb.flags",
    "REQUEST_OPCODE": "io_kiocb.opcode",
    "REQUEST_RING": "io_kiocb.ctx",
    "REQUEST_USER_DATA": "io_kiocb.cqe.user_data",
    "RING_FILES": "io_ring_ctx.file_table.data.nodes",
    "RING_FILE_COUNT": "io_ring_ctx.file_table.data.nr",
}

# How many arguments the tracepoints have in that form, the program's own first.
URING_TRACEPOINTS = {"io_uring_submit_req": 2, "io_uring_complete": 4}

# Where a stopped system call's arguments are, in order: members of pt_regs, or one array of them from its second on (arm64
# returns in the first one's register and keeps that apart).
_X86_REGISTERS = ("di", "si", "dx", "r10", "r8", "r9")

# Numbers of the system calls that one probe tells apart (asm/unistd_64.h; asm-generic/unistd.h).
SYSCALLS = {
    "x86_64": {"connect": 42, "accept": 43, "sendto": 44, "sendmsg": 46, "listen": 50, "accept4": 288, "sendmmsg": 307},
    "aarch64": {"connect": 203, "listen": 201, "accept": 202, "sendto": 206, "sendmsg": 211, "accept4": 242, "sendmmsg": 269},
}

# v1 controllers in which runtimes put containers, by the kernel's subsystem ids; one that is built in is enough.
V1_SUBSYSTEMS = ("memory_cgrp_id", "pids_cgrp_id", "cpu_cgrp_id")


def offset_macros(btf: Btf, machine: str) -> dict[str, int]:
    """Return macro → value for the probes; `machine` as `platform.machine()` says it.

    Raises:
        BtfError: the kernel lacks a member that the probes cannot do without.
    """
    macros = {}
    for macro, members in MEMBERS.items():
        for member in members:
            try:
                macros[macro] = btf.offset(member)
                break
            except BtfError:
                if member == members[-1]:
                    raise
    macros["UPID_SIZE"] = btf.size("upid")
    macros |= _system_calls(btf, machine)
    with contextlib.suppress(BtfError):  # overlayfs is not loaded, or missing
        macros.update({macro: btf.offset(member) for macro, member in OVERLAY.items()})
    with contextlib.suppress(BtfError):
        if all(btf.arguments(f"btf_trace_{name}") == number for name, number in URING_TRACEPOINTS.items()):
            macros |= {macro: btf.offset(member) for macro, member in URING.items()}
    for subsystem in V1_SUBSYSTEMS:
        try:
            macros["CGROUP_V1_SUBSYSTEM"] = btf.enumerator("cgroup_subsys_id", subsystem)
            break
        except BtfError:
            continue
    return macros


def _system_calls(btf: Btf, machine: str) -> dict[str, int]:
    numbers = SYSCALLS.get(machine)
    if numbers is None:
        raise BtfError(f"{machine} is not supported: {' and '.join(SYSCALLS)} are")
    macros = {f"NR_{name.upper()}": number for name, number in numbers.items()}
    if machine == "x86_64":
        places = [btf.offset(f"pt_regs.{name}") for name in _X86_REGISTERS]
    else:
        first = btf.offset("pt_regs.regs")
        places = [btf.offset("pt_regs.orig_x0"), *(first + 8 * number for number in range(1, len(_X86_REGISTERS)))]
    return macros | {f"REGISTER_{number}": place for number, place in enumerate(places)}
