"""Machines to look at: one with nothing in it, stopped at no disk, and hosts whose image was spoilt."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostwright.base import run
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.sandbox import Bind, Job

FOLDER = "/output"


@contextmanager
def started(folder: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """QEMU of the build root, its firmware on the screen, with its monitor at `folder`/qmp; ended by force."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    argv = (
        "qemu-system-x86_64",
        "-name", "watched",
        "-nodefaults", "-no-user-config",
        "-M", "q35", "-accel", "tcg", "-m", "64M",
        "-display", "none",
        "-qmp", f"unix:{FOLDER}/qmp,server=on,wait=off",
        *options,
    )  # fmt: skip
    binds = (Bind(folder, FOLDER, writable=True),)
    job = Job(tools, argv, binds, env=(("TMPDIR", FOLDER),), cwd=FOLDER, network=True)
    with sandbox.entered(job, tools) as command:
        child = run.open_pipe(command)
        try:
            yield child
        finally:
            run.close_pipe(child)


def write_over(place: str, mode: str = "0100644") -> list[str]:
    """Commands of debugfs(8) that put a file of the working folder in the place of another."""
    return [f"rm {place}", f"write {Path(place).name} {place}", f"set_inode_field {place} mode {mode}"]
