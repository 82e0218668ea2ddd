"""The probe: tries ways out of the sandbox and says which are open. It runs inside, on the build root's Python.

Each way is tried and undone; none changes the machine where it is open. argv: the address of the test outside
(JSON), the file for the answers.
"""

import ctypes
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
# x86-64 system calls; the C library has no function for most of them.
CLONE, PTRACE, SYSLOG, ACCT, MOUNT = 56, 101, 103, 163, 165
UNMOUNT, SETHOSTNAME, IOPERM, INIT_MODULE = 166, 170, 173, 175
ADD_KEY, UNSHARE, PERF, NAME_TO_HANDLE, OPEN_BY_HANDLE = 248, 272, 298, 303, 304
READ_MEMORY, BPF, IO_URING, FSOPEN, PIDFD_OPEN, PIDFD_GETFD = 310, 321, 425, 430, 434, 438
NEW_USER, PROCESS_KEYRING, HERE, ROOT_ONLY = 0x10000000, -2, -100, 0o600
REBOOT = 169

Outside = dict[str, Any]
WAYS: dict[str, Callable[[Outside], object]] = {}


def way(name: str) -> Callable[[Callable[[Outside], object]], Callable[[Outside], object]]:
    """Give a function that tries a way out its name; it raises OSError where the way is closed."""

    def keep(function: Callable[[Outside], object]) -> Callable[[Outside], object]:
        WAYS[name] = function
        return function

    return keep


def call(number: int, *arguments: object) -> int:
    """A system call, with OSError for its errors."""
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(LIBC.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def in_child(act: Callable[[], object]) -> None:
    """Try it in a child, which ends with the error's number."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(abs(status), os.strerror(abs(status)))


def open_only(path: str, flags: int = os.O_RDONLY) -> None:
    """Open without reading or writing."""
    os.close(os.open(path, flags | os.O_NOFOLLOW))


# Files.


@way("read a file of the machine")
def _(outside: Outside) -> None:
    open_only(outside["secret"])


@way("read a file of the machine after a second chroot")
def _(outside: Outside) -> None:
    def escape() -> None:
        Path(outside["folder"], "deep").mkdir(exist_ok=True)
        os.chroot(f"{outside['folder']}/deep")
        for _step in range(64):
            os.chdir("..")
        open_only(outside["secret"].lstrip("/"))

    in_child(escape)


@way("read a file of the machine through its handle")
def _(outside: Outside) -> None:
    handle = ctypes.create_string_buffer(struct.pack("II", 128, 0), 136)
    mount = ctypes.c_int()
    call(NAME_TO_HANDLE, HERE, b"/", handle, ctypes.byref(mount), 0)
    root = os.open("/", os.O_RDONLY)
    os.close(call(OPEN_BY_HANDLE, root, handle, os.O_RDONLY))


@way("write into the build root")
def _(_: Outside) -> None:
    place = Path("/usr/bin/way-out")
    place.touch()
    place.unlink()


@way("write to a read-only input")
def _(outside: Outside) -> None:
    open_only(outside["input"], os.O_WRONLY)


@way("write outside its own folders")
def _(outside: Outside) -> None:
    place = Path(outside["outside"], "way-out")
    place.touch()
    place.unlink()


# Devices.


@way("make a device node of a disk")
def _(outside: Outside) -> None:
    place = Path(outside["folder"], "disk")
    os.mknod(place, stat.S_IFBLK | ROOT_ONLY, os.makedev(8, 0))
    place.unlink()


@way("open a disk of the machine")
def _(outside: Outside) -> None:
    open_first(outside["disks"])


@way("open the machine's memory")
def _(_: Outside) -> None:
    open_first(["/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"])


@way("open devices of the machine: KVM, VFIO, FUSE, loop")
def _(_: Outside) -> None:
    open_first(["/dev/kvm", "/dev/vfio/vfio", "/dev/fuse", "/dev/loop-control", "/dev/net/tun"])


def open_first(paths: list[str]) -> None:
    """Open the first of the files that opens."""
    errors = []
    for path in paths:
        try:
            return open_only(path)
        except OSError as error:
            errors.append(error)
    raise errors[-1] if errors else FileNotFoundError()


@way("use I/O ports")
def _(_: Outside) -> None:
    call(IOPERM, 0x80, 1, 1)
    call(IOPERM, 0x80, 1, 0)


# Network.


@way("reach the machine's loopback")
def _(outside: Outside) -> None:
    socket.create_connection(("127.0.0.1", outside["port"]), timeout=5).close()


@way("reach an abstract socket of the machine")
def _(outside: Outside) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(f"\0{outside['abstract']}")


@way("see all packets: a raw socket")
def _(_: Outside) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@way("set a network device")
def _(_: Outside) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = fcntl.ioctl(one, 0x8913, struct.pack("16sH22x", b"lo", 0))
        fcntl.ioctl(one, 0x8914, request)


# Processes.


@way("see a process of the machine")
def _(outside: Outside) -> None:
    if Path(f"/proc/{outside['pid']}/comm").read_text() != outside["comm"]:
        raise ProcessLookupError


@way("signal a process of the same user")
def _(outside: Outside) -> None:
    os.kill(outside["pid"], signal.SIGCONT)


@way("trace a process")
def _(_: Outside) -> None:
    in_child(lambda: call(PTRACE, 0, 0, 0, 0))


@way("read the memory of a process")
def _(outside: Outside) -> None:
    buffer = mmap.mmap(-1, 8)
    here = struct.pack("PN", ctypes.addressof(ctypes.c_char.from_buffer(buffer)), 8)
    call(READ_MEMORY, os.getpid(), here, 1, here, 1, 0)


@way("take an open file from a process")
def _(_: Outside) -> None:
    process = call(PIDFD_OPEN, os.getpid(), 0)
    os.close(call(PIDFD_GETFD, process, 2, 0))


@way("run before other processes: a lower nice value")
def _(_: Outside) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, before - 1)
    os.setpriority(os.PRIO_PROCESS, 0, before)


@way("raise a hard limit")
def _(_: Outside) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@way("reach shared memory of the machine")
def _(outside: Outside) -> None:
    if LIBC.shmget(outside["shm"], 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")


# Accounts.


@way("become another user")
def _(_: Outside) -> None:
    other = 0 if os.getuid() else 1
    in_child(lambda: os.setresuid(other, other, other))


@way("give a file to another user")
def _(outside: Outside) -> None:
    place = Path(outside["folder"], "given")
    place.touch()
    try:
        os.chown(place, 0 if os.getuid() else 1, -1)
    finally:
        place.unlink()


@way("gain capabilities from a program")
def _(_: Outside) -> None:
    # PR_GET_NO_NEW_PRIVS, PR_CAPBSET_READ of CAP_SYS_ADMIN.
    if LIBC.prctl(39, 0, 0, 0, 0) == 1 and LIBC.prctl(23, 21, 0, 0, 0) == 0:
        raise PermissionError


# Mounts and namespaces.


@way("mount a file system")
def _(outside: Outside) -> None:
    place = f"{outside['folder']}".encode()
    call(MOUNT, b"tmpfs", place, b"tmpfs", 0, None)
    call(UNMOUNT, place, 2)


@way("mount through the newer calls")
def _(_: Outside) -> None:
    os.close(call(FSOPEN, b"tmpfs", 0))


@way("make a user namespace")
def _(_: Outside) -> None:
    in_child(lambda: call(UNSHARE, NEW_USER))


@way("make a user namespace with clone()")
def _(_: Outside) -> None:
    child = call(CLONE, NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@way("set the host name")
def _(_: Outside) -> None:
    name = os.uname().nodename.encode()
    call(SETHOSTNAME, name, len(name))


# The kernel.


@way("add a key to a keyring")
def _(_: Outside) -> None:
    call(ADD_KEY, b"user", b"way-out", b"x", 1, PROCESS_KEYRING)


@way("load a program into the kernel: bpf()")
def _(_: Outside) -> None:
    attributes = struct.pack("IIIII52x", 2, 4, 4, 1, 0)
    os.close(call(BPF, 0, attributes, len(attributes)))


@way("watch the kernel: perf_event_open()")
def _(_: Outside) -> None:
    # The processor's time in user mode, of this process alone.
    attributes = struct.pack("IIQQQQQ", 1, 64, 0, 0, 0, 0, 1 << 5 | 1 << 6) + bytes(16)
    os.close(call(PERF, attributes, 0, -1, -1, 0))


@way("use io_uring")
def _(_: Outside) -> None:
    os.close(call(IO_URING, 1, bytes(120)))


@way("load a kernel module")
def _(_: Outside) -> None:
    # Where this is allowed, the kernel finds that an empty module is none.
    try:
        call(INIT_MODULE, b"", 0, b"")
    except OSError as error:
        if error.errno in (1, 38):
            raise


@way("restart the machine")
def _(_: Outside) -> None:
    # Where this is allowed, the kernel finds that the magic numbers are wrong.
    try:
        call(REBOOT, 0, 0, 0, 0)
    except OSError as error:
        if error.errno == 1:
            raise


@way("read the kernel's log")
def _(_: Outside) -> None:
    call(SYSLOG, 3, ctypes.create_string_buffer(64), 64)


# /proc and /sys.


@way("set the kernel's core_pattern")
def _(_: Outside) -> None:
    open_only("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@way("press SysRq")
def _(_: Outside) -> None:
    open_only("/proc/sysrq-trigger", os.O_WRONLY)


@way("change anything below /proc/sys")
def _(_: Outside) -> None:
    open_any(Path("/proc/sys"))


@way("change anything below /sys")
def _(_: Outside) -> None:
    open_any(Path("/sys"))


def open_any(folder: Path) -> None:
    """Open for writing, without writing, any file below `folder`."""
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                return open_only(f"{parent}/{name}", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                continue
    raise PermissionError


@way("leave its cgroup")
def _(_: Outside) -> None:
    place = Path("/sys/fs/cgroup/way-out")
    place.mkdir()
    place.rmdir()


# The terminal.


@way("type on the terminal of the user (TIOCSTI)")
def _(_: Outside) -> None:
    fcntl.ioctl(0, termios.TIOCSTI, b"\0")


def run(outside: Outside) -> dict[str, str]:
    """Each way, and `open` or why it is closed."""
    answers = {}
    for name, attempt in WAYS.items():
        try:
            attempt(outside)
        # Python's own word for a limit that may not be raised is ValueError.
        except (OSError, ValueError) as error:
            answers[name] = f"closed: {getattr(error, 'strerror', None) or type(error).__name__}"
        else:
            answers[name] = "open"
    with socket.socket(socket.AF_UNIX) as one:
        # The test outside asks the kernel who this is.
        one.connect(outside["socket"])
    return answers


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(sys.argv[1]))))
