"""Machines to look at: one with nothing in it, stopped at no disk, and hosts whose image was spoilt."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from hostwright.base import run
from hostwright.build import kernel, recipes, store
from hostwright.image import rootfs
from hostwright.image.disk import Archives, write_image
from hostwright.machine.model import Machine
from hostwright.proof import boot
from hostwright.proof.lab import IMAGE, plan_boot
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.sandbox import Bind, Job
from hostwright.sandbox.workshop import open_at
from hostwright.vm import board, login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console

FOLDER = "/output"
ANSWER_LIMIT_S = 120.0


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


def write_archives(host: Machine, folder: Path) -> Archives:
    """What ./doit host puts onto the disk, for another machine file; its place is in `folder`."""
    special = ("linux", "edk2")
    names = recipes.closure([name for name in recipes.recipe_names() if name not in special])
    built = [store.read_stamp(name) for name in [*names, *special] if name not in rootfs.NOT_ON_HOST]
    archives = Archives(folder / "rootfs.tar", folder / "data.tar")
    rootfs.assemble(host, built, kernel.release(store.read_stamp("linux")), archives.root, archives.data)
    return archives


def write_disk(host: Machine, folder: Path) -> Path:
    """The image as ./doit host makes it, for another machine file; its place is in `folder`."""
    image = folder / "host.img"
    shop = open_at(folder / "image.log")
    write_image(host, write_archives(host, folder), store.read_stamp("grub").tree, image, shop)
    return image


def write_machine(host: Machine, folder: Path, key: login.Key) -> tuple[boot.Inputs, Path]:
    """A machine with that disk, which lets `key` in, in a folder of its own below `folder`."""
    inputs = boot.find_inputs(host, write_disk(host, folder))
    place = folder / "machine"
    place.mkdir()
    boot.fill(place, inputs)
    boot.copy_image(place, inputs, key)
    return inputs, place


@contextmanager
def at_menu(host: Machine, disk: Path, firmware: Firmware, name: str) -> Iterator[Console]:
    """The serial line of a booted image, at GRUB's menu."""
    inputs = boot.find_inputs(host, disk)
    with ExitStack() as stack:
        folder = stack.enter_context(process.folder(disk.parent, name))
        boot.fill(folder, inputs)
        argv = plan_boot(host, firmware, Accelerator.TCG)
        job = process.plan_job(argv, folder, inputs.tools, Accelerator.TCG)
        job = replace(job, binds=(*job.binds, Bind(disk, f"{board.FOLDER}/{IMAGE}")))
        line, _ = stack.enter_context(process.running(job, disk.parent / f"{name}.log"))
        line.wait_for("executed automatically in", boot.MENU_LIMIT_S, stop=boot.NO_BOOT)
        yield line


def write_over(place: str, mode: str = "0100644") -> list[str]:
    """Commands of debugfs(8) that put a file of the working folder in the place of another."""
    return [f"rm {place}", f"write {Path(place).name} {place}", f"set_inode_field {place} mode {mode}"]


def said(shell: login.Session, command: str) -> str:
    """The output of a command that must succeed."""
    status, text = shell.run(command, ANSWER_LIMIT_S)
    assert status == 0, f"{command}: {text}"
    return text


def wait_for(shell: login.Session, command: str) -> None:
    """Until the command succeeds on the host."""
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while shell.run(command, ANSWER_LIMIT_S)[0] != 0:
        assert time.monotonic() < deadline, command
        time.sleep(1.0)
