"""A machine with nothing in it: QEMU of the build root, its firmware on the screen, stopped at no disk."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostwright import buildroot, run, sandbox
from hostwright.sandbox import Bind, Job

FOLDER = "/output"


@contextmanager
def started(folder: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """QEMU with its monitor at `folder`/qmp; ended by force."""
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
