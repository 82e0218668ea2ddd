"""The system calls that no job in the sandbox may make, as a program for the kernel's seccomp filter.

    REFUSED, MISSING, CLONE_FLAGS, TERMINAL --program()--> BPF --place()--> a file for bwrap(1) and setpriv(1)

A list of what is refused, not of what is allowed: a build runs whatever its recipe needs. Without capabilities most
of these calls fail anyway. The filter closes the way to them that a flaw in the kernel or a user namespace would open.
seccomp(2), include/uapi/linux/{audit,filter,seccomp}.h.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from hostwright.base import canonical, files, paths

# x86-64 alone: the build root has no program of another kind.
ARCHITECTURE = 0xC000003E
FIRST_X32_CALL = 0x40000000

# They end with EPERM, as they do for a user without privileges.
REFUSED = {
    # Other processes, and their memory.
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438,
    "process_madvise": 440, "userfaultfd": 323,
    # Mounts and namespaces.
    "pivot_root": 155, "mount": 165, "umount2": 166, "unshare": 272, "setns": 308, "open_by_handle_at": 304,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442, "open_tree_attr": 467,
    # Keyrings belong to the user, not to a namespace.
    "add_key": 248, "request_key": 249, "keyctl": 250,
    # The kernel itself.
    "syslog": 103, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175, "delete_module": 176,
    "kexec_load": 246, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "perf_event_open": 298,
    "fanotify_init": 300, "lookup_dcookie": 212,
    # The machine's settings.
    "acct": 163, "settimeofday": 164, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170,
    "setdomainname": 171, "quotactl": 179, "nfsservctl": 180, "clock_settime": 227, "quotactl_fd": 443,
}  # fmt: skip
# They end with ENOSYS, so that programs take the older way: clone3() hides its flags from a filter.
MISSING = {"clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
CLONE, IOCTL = 56, 16
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
CLONE_FLAGS = 0x7E020000
# TIOCSTI and TIOCLINUX type on the terminal of the person who started the build.
TERMINAL = (0x5412, 0x541C)

EPERM, ENOSYS = 1, 38
ALLOW, ERROR, KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Classic BPF: load a word, compare (equal, not less, any bit of), return.
LOAD, EQUAL, NOT_LESS, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Of struct seccomp_data; the arguments' low halves.
NUMBER, ARCH, ARGUMENT_0, ARGUMENT_1 = 0, 4, 16, 24


def program() -> bytes:
    """The filter as the kernel takes it: an array of struct sock_filter."""
    return b"".join(struct.pack("<HBBI", *step) for step in _steps())


def _steps() -> Iterator[tuple[int, int, int, int]]:
    """Each step: operation, how many steps to skip if the comparison holds and if not, operand."""
    yield LOAD, 0, 0, ARCH
    yield EQUAL, 1, 0, ARCHITECTURE
    yield RETURN, 0, 0, KILL
    yield LOAD, 0, 0, NUMBER
    yield from _ends(NOT_LESS, FIRST_X32_CALL, ENOSYS)
    for number in REFUSED.values():
        yield from _ends(EQUAL, number, EPERM)
    for number in MISSING.values():
        yield from _ends(EQUAL, number, ENOSYS)
    yield from _argument(CLONE, ARGUMENT_0, ANY_BIT, (CLONE_FLAGS,))
    yield from _argument(IOCTL, ARGUMENT_1, EQUAL, TERMINAL)
    yield RETURN, 0, 0, ALLOW


def _ends(comparison: int, operand: int, error: int) -> Iterator[tuple[int, int, int, int]]:
    yield comparison, 0, 1, operand
    yield RETURN, 0, 0, ERROR | error


def _argument(
    call: int, argument: int, comparison: int, operands: tuple[int, ...]
) -> Iterator[tuple[int, int, int, int]]:
    """Refuse `call` if the comparison of an argument with an operand holds; otherwise allow it."""
    yield EQUAL, 0, 2 * len(operands) + 2, call
    yield LOAD, 0, 0, argument
    for operand in operands:
        yield from _ends(comparison, operand, EPERM)
    yield RETURN, 0, 0, ALLOW


def path() -> Path:
    """The place of the filter in the cache, named by its content."""
    return paths.cache() / f"seccomp-{canonical.digest(program().hex())[:16]}.bpf"


def place() -> None:
    """Write the filter to its place unless it is there as it must be."""
    files.write(path(), program())
