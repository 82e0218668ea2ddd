"""The filter for system calls, run by the rules of classic BPF as the kernel runs it."""

import os
import struct
from pathlib import Path

import pytest

from hostwright.sandbox import seccomp

X86_64, I386, ARM_64 = 0xC000003E, 0x40000003, 0xC00000B7
READ, EXECVE, CLONE, IOCTL, OPENAT = 0, 59, 56, 16, 257
ALLOWED, KILLED, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026
# As pthread_create() and posix_spawn() set them, and fork().
THREAD, SPAWN, FORK = 0x3D0F00, 0x4111, 0x1200011


def verdict(call: int, *arguments: int, arch: int = X86_64) -> int:
    """What the filter returns for a system call."""
    data = struct.pack("<IIQ6Q", call, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("<HBBI", seccomp.program()))
    at = word = 0
    while True:
        operation, if_true, if_false, operand = steps[at]
        at += 1
        if operation == 0x06:
            return int(operand)
        if operation == 0x20:
            word = struct.unpack_from("<I", data, operand)[0]
            continue
        holds = {0x15: word == operand, 0x35: word >= operand, 0x45: bool(word & operand)}[operation]
        at += if_true if holds else if_false


@pytest.mark.parametrize("name", seccomp.REFUSED)
def test_a_refused_call_is_not_permitted(name: str) -> None:
    assert verdict(seccomp.REFUSED[name]) == EPERM


@pytest.mark.parametrize("name", seccomp.MISSING)
def test_a_missing_call_does_not_exist(name: str) -> None:
    assert verdict(seccomp.MISSING[name]) == ENOSYS


def test_what_a_build_does_is_allowed() -> None:
    known = {*seccomp.REFUSED.values(), *seccomp.MISSING.values()}
    assert {verdict(call) for call in range(470) if call not in known} == {ALLOWED}


@pytest.mark.parametrize("flags", [THREAD, SPAWN, FORK])
def test_threads_and_processes_may_be_made(flags: int) -> None:
    assert verdict(CLONE, flags) == ALLOWED


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_a_namespace_may_not(bit: int) -> None:
    assert verdict(CLONE, FORK | 1 << bit) == EPERM


def test_nothing_types_on_a_terminal() -> None:
    assert [verdict(IOCTL, 0, request) for request in (0x5412, 0x541C)] == [EPERM, EPERM]
    # The kernel reads 32 bits of a request.
    assert verdict(IOCTL, 0, 0x1_0000_5412) == EPERM
    # TCGETS, TIOCGWINSZ, KVM_RUN.
    assert [verdict(IOCTL, 0, request) for request in (0x5401, 0x5413, 0xAE80)] == [ALLOWED] * 3


@pytest.mark.parametrize("arch", [I386, ARM_64])
def test_a_call_with_other_numbers_ends_the_job(arch: int) -> None:
    assert verdict(READ, arch=arch) == KILLED


def test_the_x32_numbers_do_not_exist() -> None:
    assert verdict(0x40000000 + OPENAT) == ENOSYS


def test_the_file_is_the_program_and_is_named_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seccomp.place()
    seccomp.path().write_bytes(b"spoilt")
    seccomp.place()
    assert seccomp.path().read_bytes() == seccomp.program()
    before = seccomp.path()
    monkeypatch.setitem(seccomp.REFUSED, "read", READ)
    assert seccomp.path() != before


def test_the_kernel_takes_it() -> None:
    """In a child: a filter stays until its process ends."""
    child = os.fork()
    if child == 0:
        os._exit(load_and_try())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def load_and_try() -> int:
    """Load the filter as bubblewrap does; the error's number of a call that is refused."""
    import ctypes

    class Program(ctypes.Structure):
        """struct sock_fprog."""

        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    data = seccomp.program()
    program = Program(len(data) // 8, data)
    # PR_SET_NO_NEW_PRIVS; PR_SET_SECCOMP, SECCOMP_MODE_FILTER.
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        return 100
    libc.syscall(seccomp.REFUSED["keyctl"], 0, 0, 0, 0, 0)
    return ctypes.get_errno()
