"""QEMU of the build root, run in the sandbox at home in a folder of its own, and what it can use to run quickly.

argv (qemu, vm) --plan_job--> sandbox.Job --running--> console, exit status
kernel --find_accelerator--> KVM or TCG, by a real boot
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hostwright.base import files, run
from hostwright.base.times import limit
from hostwright.sandbox import account, sandbox
from hostwright.vm import board
from hostwright.vm.board import Accelerator
from hostwright.vm.console import Console, ConsoleError

# Seconds.
EXIT_LIMIT_S = limit(10.0)
PROBE_LIMIT_S = limit(10.0)
KVM = Path("/dev/kvm")


@contextmanager
def folder(out: Path, name: str) -> Iterator[Path]:
    """An empty folder for one run of QEMU, also when the last run was killed in it; removed at the end."""
    place = out / f".{name}"
    files.remove(place)
    place.mkdir()
    try:
        yield place
    finally:
        files.remove(place)


def plan_job(argv: tuple[str, ...], folder: Path, tools: Path, accelerator: Accelerator) -> sandbox.Job:
    """QEMU in the sandbox, at home in `folder`."""
    return sandbox.Job(
        root=tools,
        argv=argv,
        binds=(sandbox.Bind(folder, board.FOLDER, writable=True),),
        # A temporary disk goes to /var/tmp, which is closed, unless TMPDIR names another place than /tmp.
        env=(("TMPDIR", board.FOLDER),),
        cwd=board.FOLDER,
        devices=(str(KVM),) if accelerator is Accelerator.KVM else (),
        proc=True,
        machine=True,
    )


def find_accelerator(kernel: Path, tools: Path, out: Path) -> tuple[Accelerator, str]:
    """KVM if the whole `kernel` runs under it, else TCG; and why.

    That /dev/kvm can be opened says nothing: para-virtual KVM opens, and then hangs or aborts.
    """
    if not KVM.exists():
        return Accelerator.TCG, f"this machine has no {KVM}"
    try:
        _probe(kernel, tools, out)
    except ConsoleError as error:
        return Accelerator.TCG, f"a kernel does not run under KVM here: {error.what} ({error.last_line})"
    return Accelerator.KVM, "a kernel ran under it to its end"


def _probe(kernel: Path, tools: Path, out: Path) -> None:
    with folder(out, "probe") as place:
        shutil.copyfile(kernel, place / board.KERNEL)
        job = plan_job(board.plan_probe(Accelerator.KVM), place, tools, Accelerator.KVM)
        with running(job, out / "probe.log") as (console, _):
            console.wait_for("Unable to mount root fs", PROBE_LIMIT_S)
            console.wait_for_end(PROBE_LIMIT_S)


@contextmanager
def running(job: sandbox.Job, log: Path) -> Iterator[tuple[Console, Callable[[], int | None]]]:
    """QEMU's serial line, and a function that returns its exit status. What still runs is ended by force."""
    with sandbox.entered(job, job.root) as command:
        child = run.open_pipe(command)
        assert child.stdout and child.stdin
        account.open_pipe(child.stdout.fileno())
        console = Console(child.stdout, child.stdin, log)
        try:
            yield console, partial(_status, console, child.poll)
        finally:
            run.close_pipe(child)


def _status(console: Console, poll: Callable[[], int | None]) -> int | None:
    """QEMU's exit status, None while it runs. The end of its output comes a moment before its own."""
    deadline = time.monotonic() + EXIT_LIMIT_S
    while console.has_ended and poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return poll()
