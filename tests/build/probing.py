"""Runs the probe in each kind of sandbox that this machine can have, and writes the table of docs/security.md.

.venv/bin/python -m tests.build.probing     as root, after ./doit buildroot
"""

import contextlib
import ctypes
import json
import os
import pty
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from hostwright.base import paths
from hostwright.sandbox import buildroot, sandbox, seccomp
from hostwright.sandbox.sandbox import Bind, Job
from tests.build import ways_out

PROBE = Path(ways_out.__file__)
# The plain user whom root plays: any number but root's and the machines' account.
USER = 12345
ROOT_ROW = "be user 0 of the machine's kernel"
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Column:
    """A kind of job in a kind of sandbox, started by root or by a plain user."""

    title: str
    kind: str
    machine: bool
    root: bool


COLUMNS = (
    Column("build, root", "bwrap", machine=False, root=True),
    Column("build, user", "bwrap", machine=False, root=False),
    Column("machine, root", "bwrap", machine=True, root=True),
    Column("machine, user", "bwrap", machine=True, root=False),
    Column("build, chroot", "chroot", machine=False, root=True),
    Column("machine, chroot", "chroot", machine=True, root=True),
)


def possible() -> list[Column]:
    """The columns that this user can try here: root plays the plain user too, where root may mount."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    if os.geteuid() != 0:
        return [column for column in COLUMNS if not column.root]
    seccomp.place()
    kinds = ("bwrap", "chroot") if sandbox._can_stand_apart(tools) else ("chroot",)
    return [column for column in COLUMNS if column.kind in kinds]


@dataclass
class Place:
    """A folder for one run: what the sandbox gets, what it must not reach, and where the probe reports."""

    base: Path
    tools: Path
    # Where the build root is for root, who may look into root's home.
    own_tools: Path

    @property
    def input(self) -> Path:
        """The folder of the probe."""
        return self.base / "input"

    @property
    def output(self) -> Path:
        """The probe's own folder."""
        return self.base / "output"


def probe(column: Column) -> dict[str, str]:
    """Each way out, and `open` or why it is closed."""
    with ExitStack() as stack:
        place = stack.enter_context(_placed(column))
        outside, uids = stack.enter_context(_outside(place))
        # What the probe opens must work where the whole folder has moved into a chroot.
        argv = ("python3", "/input/ways_out.py", json.dumps(outside), "/output/answers")
        binds = (Bind(place.input, "/input"), Bind(place.output, "/output", writable=True))
        job = Job(place.tools, argv, binds, cwd="/", proc=column.machine, machine=column.machine)
        plays = os.geteuid() == 0 and not column.root
        if plays:
            stack.enter_context(mock.patch.object(os, "geteuid", lambda: USER))
        command = stack.enter_context(sandbox.entered(job, place.tools))
        status, said = _on_a_terminal(_as_user(command, place) if plays else command)
        assert status == 0, said
        answers: dict[str, str] = json.loads((place.output / "answers").read_text())
        answers[ROOT_ROW] = "open" if uids == [0] else f"closed: user {uids[0]}"
        return answers


def uncontained(folder: Path) -> dict[str, str]:
    """The same on the bare machine: what the probe can find."""
    place = Place(folder, Path("/"), Path("/"))
    place.output.mkdir()
    place.input.touch()
    with _outside(place) as (outside, _):
        own = {"folder": place.output, "socket": place.output / "socket", "input": place.input}
        outside |= {name: str(path) for name, path in own.items()}
        argv = [sys.executable, str(PROBE), json.dumps(outside), str(folder / "answers")]
        status, said = _on_a_terminal(argv)
    assert status == 0, said
    answers: dict[str, str] = json.loads((folder / "answers").read_text())
    return answers


@contextmanager
def _placed(column: Column) -> Iterator[Place]:
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    plays = os.geteuid() == 0 and not column.root
    paths.cache().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # The kind is remembered: neither one from before counts here, nor this one for later tests.
        sandbox.mode.cache_clear()
        stack.callback(sandbox.mode.cache_clear)
        # Below the cache a plain user finds nothing of root's.
        at = "/var/tmp" if plays else paths.cache()
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ways-out.", dir=at)))
        base.chmod(0o755)
        names = {"HOSTWRIGHT_SANDBOX": column.kind, sandbox.MACHINES_VARIABLE: sandbox.ASKED}
        if plays:
            (base / "tools").mkdir()
            names["XDG_CACHE_HOME"] = str(base / "cache")
        stack.enter_context(mock.patch.dict(os.environ, names))
        place = Place(base, base / "tools" if plays else tools, tools)
        place.output.mkdir()
        place.input.mkdir()
        shutil.copy(PROBE, place.input)
        if plays:
            os.chown(place.output, USER, USER)
        yield place


def _as_user(command: list[str], place: Place) -> list[str]:
    """The command as a plain user, who sees the build root although it is below root's home."""
    tools = place.own_tools
    start = [str(tools / sandbox.LOADER), "--library-path", str(tools / sandbox.LIBRARIES)]
    user = ["--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
    return [
        *start, str(tools / "usr/bin/bwrap"), "--dev-bind", "/", "/",
        "--ro-bind", str(tools), str(place.tools), "--",
        *start, str(tools / "usr/bin/setpriv"), *user, "--inh-caps=-all", "--bounding-set=-all", "--",
        *command,
    ]  # fmt: skip


@contextmanager
def _outside(place: Place) -> Iterator[tuple[dict[str, object], list[int]]]:
    """What the probe tries to reach, as its argument; and the users that the machine's kernel saw it as."""
    uids: list[int] = []
    with ExitStack() as stack:
        far = place.base / "far"
        far.mkdir()
        far.chmod(0o777)
        (far / "secret").write_text("secret")
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0hostwright-{os.getpid()}")
        abstract.listen()
        report = stack.enter_context(socket.socket(socket.AF_UNIX))
        report.bind(str(place.output / "socket"))
        (place.output / "socket").chmod(0o777)
        report.listen()
        threading.Thread(target=_note_user, args=(report, uids), daemon=True).start()
        pid = stack.enter_context(_process(place.output.stat().st_uid))
        yield (
            {
                "secret": str(far / "secret"),
                "outside": str(far),
                "folder": "/output",
                "input": "/input/ways_out.py",
                "disks": [f"/dev/{disk.name}" for disk in Path("/sys/class/block").glob("*")],
                "port": listener.getsockname()[1],
                "abstract": f"hostwright-{os.getpid()}",
                "socket": "/output/socket",
                "pid": pid,
                "comm": Path(f"/proc/{pid}/comm").read_text(),
                "shm": stack.enter_context(_shared_memory()),
            },
            uids,
        )


def _note_user(listener: socket.socket, uids: list[int]) -> None:
    with contextlib.suppress(OSError):
        peer, _ = listener.accept()
        uids.append(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


@contextmanager
def _process(user: int) -> Iterator[int]:
    """A process of the user who starts the sandbox."""
    child = os.fork()
    if child == 0:
        if user != os.geteuid():
            os.setresuid(user, user, user)
        signal.pause()
        os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextmanager
def _shared_memory() -> Iterator[int]:
    key = 0x48570000 | os.getpid() & 0xFFFF
    segment = LIBC.shmget(key, 4096, 0o1666)
    assert segment >= 0
    try:
        yield key
    finally:
        LIBC.shmctl(segment, 0, None)


def _on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Run it with a terminal of its own; its status and what it said."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.execv(command[0], command)
        finally:
            os._exit(127)
    said = b""
    # The end of a terminal is an error.
    with contextlib.suppress(OSError):
        while more := os.read(terminal, 4096):
            said += more
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode(errors="replace")


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The table in Markdown; `found` has the answers by the columns' titles."""
    rows = [ROOT_ROW, *ways_out.WAYS]
    lines = [["way out", *found], ["---"] * (len(found) + 1)]
    lines += [[row, *(cell(answers[row]) for answers in found.values())] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(answer: str) -> str:
    """An answer in the table: the reason is not the same on every kernel."""
    return "**open**" if answer == "open" else "closed"


def main() -> None:
    """Print the table; a column that this user cannot try is left out."""
    found = {column.title: probe(column) for column in possible()}
    print(table(found), end="")
    for title, answers in found.items():
        for way, answer in answers.items():
            if os.environ.get("DETAILS"):
                print(title, "|", way, "|", answer)


if __name__ == "__main__":
    main()
