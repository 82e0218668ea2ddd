"""A guest's QEMU while it runs: its monitor, its screen, its logs as they grow, and its end.

argv (vm) + folder --started--> Session    monitor and screen: qmp, logs: files in the folder
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hostwright.base import files, run
from hostwright.base.errors import UserError
from hostwright.sandbox import sandbox
from hostwright.vm import guest_argv, process
from hostwright.vm.board import Accelerator
from hostwright.vm.monitor import Monitor, MonitorError
from hostwright.vm.screen import Screen


@dataclass
class Log:
    """A log file that grows, read line by line."""

    path: Path
    _at: int = 0
    _held: str = ""

    def lines(self) -> list[str]:
        """The whole lines that came since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as source:
            source.seek(self._at)
            data = source.read()
        self._at += len(data)
        *whole, self._held = (self._held + data.decode("utf-8", errors="replace")).split("\n")
        return [line.rstrip("\r") for line in whole]


@dataclass
class Session:
    """One running QEMU; a VNC client sees it at `address`."""

    child: run.Child
    monitor: Monitor
    screen: Screen
    folder: Path
    address: str
    password: str | None
    console: Log = field(init=False)
    installer: Log = field(init=False)

    def __post_init__(self) -> None:
        self.console = Log(self.folder / guest_argv.CONSOLE_LOG)
        self.installer = Log(self.folder / guest_argv.INSTALLER_LOG)

    @property
    def status(self) -> int | None:
        """The exit status of QEMU; None while it runs."""
        return self.child.poll()

    def wait_for_end(self, limit_s: float) -> bool:
        """Whether QEMU ended within the time."""
        deadline = time.monotonic() + limit_s
        while self.status is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.status is not None


@contextmanager
def started(
    argv: tuple[str, ...], folder: Path, tools: Path, accelerator: Accelerator, vnc: guest_argv.Vnc
) -> Iterator[Session]:
    """QEMU at home in `folder`; what still runs at the end of the block is ended by force."""
    sockets = folder / guest_argv.SOCKETS_FOLDER
    files.remove(sockets)
    sockets.mkdir(mode=0o700)
    password = secrets.token_urlsafe(6)[:8] if vnc.password else None
    if password:
        (sockets / guest_argv.VNC_PASSWORD).write_text(password)
    job = process.plan_job(argv, folder, tools, accelerator)
    job = replace(
        job, network=True, binds=(*job.binds, sandbox.Bind(sockets, guest_argv.SOCKETS, writable=True))
    )
    with sandbox.entered(job, job.root) as command:
        child = run.start(command, folder / guest_argv.QEMU_LOG)
        try:
            with _monitor(sockets / guest_argv.QMP_SOCKET, folder / guest_argv.QEMU_LOG) as monitor:
                screen = Screen(monitor, sockets, guest_argv.SOCKETS)
                address = _find_address(monitor, sockets, vnc)
                yield Session(child, monitor, screen, folder, address, password)
        finally:
            run.close_pipe(child)
    files.remove(sockets)


def _monitor(socket: Path, log: Path) -> Monitor:
    try:
        return Monitor(socket)
    except MonitorError:
        raise UserError(f"QEMU did not start:\n{run.tail(log)}", f"the whole log is {log}") from None


def _find_address(monitor: Monitor, sockets: Path, vnc: guest_argv.Vnc) -> str:
    """Where a person's VNC client finds the screen."""
    if vnc.unix:
        return str(sockets / guest_argv.VNC_SOCKET)
    found = monitor.execute("query-vnc")
    assert isinstance(found, dict)
    return f"127.0.0.1:{found['service']}"
