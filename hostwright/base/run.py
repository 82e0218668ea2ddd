"""The only module that starts other programs.

    stream()  --> a child in its own process group, its output in a log file
    capture() --> a short child, its output as text
    open_pipe() --> a child to exchange data with

Every child is registered until it ends. `end_for_good()` ends the remaining ones, so neither Ctrl-C nor an error leaves
a compiler or a virtual machine running.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hostwright.base.errors import UserError
from hostwright.base.times import limit

TAIL_LINES = 30

Child = subprocess.Popen[bytes]

_live: set[int] = set()
_lock = threading.Lock()


class ProgramError(UserError):
    """A program ended with a status other than 0; `log` contains its whole output."""

    def __init__(self, what: str, status: int, log: Path, tail: str) -> None:
        super().__init__(
            f"{what} ended with status {status}; its last lines:\n{tail}", f"the whole log is {log}"
        )


def stream(
    argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> int:
    """Run `argv`, append its standard output and error to `log`, and return its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        child = _start(argv, env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    try:
        return child.wait()
    finally:
        _forget(child)


def check(
    what: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """As `stream`, but raises `ProgramError` for a status other than 0."""
    status = stream(argv, log, env, cwd)
    if status != 0:
        raise ProgramError(what, status, log, tail(log))


def capture(
    argv: Sequence[str], env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> tuple[int, bytes, str]:
    """Run a short program; returns its status, standard output and standard error."""
    child = _start(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = child.communicate(stdin)
        return child.returncode, out, err.decode(errors="replace")
    finally:
        _forget(child)


def attached(argv: Sequence[str], folder: Path) -> int:
    """Run a program that uses the terminal directly; returns its exit status."""
    child = _start(argv, None, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        return child.wait()
    finally:
        _forget(child)


def interactive(argv: Sequence[str]) -> int:
    """Run a program that a person talks to, in the foreground of the terminal; its exit status."""
    child = _start(argv, None)
    try:
        if not os.isatty(0):
            return child.wait()
        with _in_foreground(child.pid):
            return child.wait()
    finally:
        _forget(child)


@contextmanager
def _in_foreground(group: int) -> Iterator[None]:
    """Lend the terminal to a process group; setting it back from the background would stop this program."""
    before = os.tcgetpgrp(0)
    os.tcsetpgrp(0, group)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        os.tcsetpgrp(0, before)


def open_pipe(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
    """Start a program with pipes to its standard input and output; end it with `close_pipe`."""
    return _start(argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def close_pipe(child: Child) -> int:
    """End a child of `open_pipe` or `start`, by force if it still runs; returns its exit status."""
    if child.poll() is None:
        _kill(child.pid)
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()
    status = child.wait()
    _forget(child)
    return status


def start(argv: Sequence[str], log: Path) -> Child:
    """Start a program in the background, its output appended to `log`; end it with `close_pipe`."""
    with log.open("ab") as sink:
        return _start(argv, None, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)


def ends_within(child: Child, seconds: float) -> bool:
    """Wait for a child of `start`; whether it ended in that time."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, indented for display."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in text)


def end_for_good() -> None:
    """End every child that still runs, with its process group; no thread starts another until the program leaves."""
    _lock.acquire()
    _kill_live()


def kill_now() -> None:
    """As `end_for_good`, within a second: for a program that leaves whatever its threads hold."""
    _lock.acquire(timeout=limit(1.0))
    _kill_live()


def _kill_live() -> None:
    for pid in tuple(_live):
        _kill(pid)


def _start(
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    *,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | None = None,
    cwd: Path | None = None,
) -> Child:
    # Starting and registering are one step: end_for_good() never misses a child that already runs.
    with _lock:
        try:
            child = subprocess.Popen(
                list(argv), stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, process_group=0
            )
        except FileNotFoundError as error:
            raise UserError(f"cannot start {argv[0]}: no such program") from error
        _live.add(child.pid)
    return child


def _forget(child: Child) -> None:
    if child.poll() is None:
        _kill(child.pid)
        child.wait()
    with _lock:
        _live.discard(child.pid)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
