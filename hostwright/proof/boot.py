"""One boot of an image in the emulated machine, over its serial line: GRUB's menu, an entry, the self-check, power-off.

Inputs + Boot --> QEMU --> console --> Outcome
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hostwright.base import paths, run
from hostwright.base.errors import UserError
from hostwright.base.times import limit
from hostwright.formats import bzimage, gpt
from hostwright.machine.model import Machine
from hostwright.proof import lab
from hostwright.proof.lab import IMAGE, NVME_MIB, plan_boot
from hostwright.proof.verdict import Boot, Outcome
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.sandbox import Bind, Job
from hostwright.vm import board, login, process
from hostwright.vm.board import Accelerator
from hostwright.vm.console import Console, ConsoleError, StoppedError

# Seconds: ten times the length of a boot on two free cores of 2020, since a compiler may share them.
MENU_LIMIT_S = limit(120.0)
PROMPT_LIMIT_S = limit(30.0)
KERNEL_LIMIT_S = limit(90.0)
SELF_CHECK_LIMIT_S = limit(240.0)
POWER_OFF_LIMIT_S = limit(60.0)

# The order of GRUB's menu; the first entry is highlighted.
ENTRIES = ("normal", "fallback", "selfcheck")
NEXT_ENTRY = "\x0e"
ESCAPE = "\x1b"
BEGIN, END = "HOSTWRIGHT-SELFCHECK-BEGIN", "HOSTWRIGHT-SELFCHECK-END"
PANIC = "Kernel panic - not syncing.*"
KEY, COMMANDS = "authorized_keys", "debugfs.cmds"
MENU = "/boot/grub/grub.cfg"
# What the lines of the menu's password begin with.
PASSWORD = ("set superusers=", "password_")
# The disk of a boot with a login is larger than the image, as a real one is.
GROWTH_MIB = 256
# OVMF's last resort, and SeaBIOS's last message.
NO_BOOT = "UEFI Interactive Shell|No bootable device"


@dataclass(frozen=True)
class Inputs:
    """The image to prove, its kernel and firmware, and the `tools` view of the build root, which contains QEMU."""

    machine: Machine
    image: Path
    kernel: Path
    code: Path
    vars: Path
    tools: Path


@dataclass
class _Record:
    """An Outcome in progress: completed steps are kept when the next step fails."""

    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    platform: str = ""
    document: Mapping[str, Any] | None = None

    def reach(self, step: str) -> None:
        """Record that a step was reached now."""
        self.seconds[step] = round(time.monotonic() - self.started, 1)


def find_inputs(machine: Machine, image: Path) -> Inputs:
    """`image` with the kernel and the firmware of dist/, and QEMU of the build root."""
    return Inputs(
        machine=machine,
        image=image,
        kernel=paths.KERNEL / "bzImage",
        code=paths.OVMF / board.CODE,
        vars=paths.OVMF / board.VARS,
        tools=buildroot.root(buildroot.load_lock()) / "tools",
    )


def kernel_release(kernel: Path) -> str:
    """The release that `uname -r` will show; raises UserError if the file is not a kernel."""
    with kernel.open("rb") as source:
        release = bzimage.find_release(source.read(bzimage.HEAD))
    if release is None:
        raise UserError(f"{kernel}: not a Linux kernel image", "build it again: ./doit kernel")
    return release


# One boot.


def start(
    inputs: Inputs, accelerator: Accelerator, out: Path, boot: Boot, progress: Callable[[str], None]
) -> Outcome:
    """Boot the image once, through the self-check to the power-off."""
    record, error = _Record(), ""
    with process.folder(out, boot.name) as folder:
        fill(folder, inputs)
        argv = plan_boot(inputs.machine, boot.firmware, accelerator)
        job = process.plan_job(argv, folder, inputs.tools, accelerator)
        # The image is in sight, and out of reach.
        image = sandbox.Bind(inputs.image, f"{board.FOLDER}/{IMAGE}")
        job = replace(job, binds=(*job.binds, image))
        with process.running(job, out / f"{boot.name}.log") as (console, status_of):
            try:
                _follow(console, boot, record, progress)
            except ConsoleError as what:
                error = what.message
            status, text = status_of(), console.text
    return Outcome(boot, record.document, text, record.platform, status, error, record.seconds)


def _follow(console: Console, boot: Boot, record: _Record, progress: Callable[[str], None]) -> None:
    """Drive the boot from the menu to the power-off."""

    def reach(step: str) -> None:
        record.reach(step)
        progress(f"{boot.name}: {step}")

    console.wait_for("executed automatically in", MENU_LIMIT_S, stop=NO_BOOT)
    reach("menu")
    record.platform = choose(console, boot)
    console.wait_for(r"Linux version \d", KERNEL_LIMIT_S, stop=rf"error: .*|{PANIC}")
    reach("kernel")
    console.wait_for(BEGIN, SELF_CHECK_LIMIT_S, stop=PANIC)
    found = console.wait_for(rf"(?s)(.*?){END}", SELF_CHECK_LIMIT_S, stop=PANIC)
    reach("self-check")
    record.document = _parse(found[1], console)
    console.wait_for_end(POWER_OFF_LIMIT_S)
    reach("power-off")


def choose(console: Console, boot: Boot) -> str:
    """Set the extra words at GRUB's prompt and choose an entry; returns GRUB's name of the platform."""
    console.settle()
    console.press("c", "grub>")
    console.type_echoed("echo platform=$grub_platform")
    console.send("\r")
    platform = console.wait_for(r"platform=(\w+)\s", PROMPT_LIMIT_S)[1]
    console.settle()
    if boot.extra:
        words = " ".join(boot.extra)
        console.type_echoed(f'set extra="{words}"')
        console.press("\r", "grub>")
    console.press(ESCAPE, "entry is highlighted")
    for _ in range(ENTRIES.index(boot.entry)):
        console.press(NEXT_ENTRY, r"\*\S")
    console.send("\r")
    return platform


def _parse(text: str, console: Console) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise StoppedError(f"the self-check's JSON is damaged: {error}", text) from None
    if not isinstance(document, dict):
        raise StoppedError("the self-check's JSON is not an object", text)
    return document


def fill(folder: Path, inputs: Inputs) -> None:
    """Place the files that QEMU opens: the image, the firmware with its own variable store, and empty drives."""
    (folder / IMAGE).touch()
    shutil.copyfile(inputs.code, folder / board.CODE)
    shutil.copyfile(inputs.vars, folder / board.VARS)
    for drive in lab.DRIVES:
        with (folder / f"{drive}.img").open("wb") as disk:
            disk.truncate(NVME_MIB << 20)


def copy_image(folder: Path, inputs: Inputs, key: login.Key) -> None:
    """A copy of the image in `folder`, on a larger disk, with `key` as the only key that is accepted."""
    copy_sparse(inputs.image, folder / IMAGE)
    with (folder / IMAGE).open("r+b") as disk:
        disk.truncate(disk.seek(0, os.SEEK_END) + (GROWTH_MIB << 20))
    (folder / KEY).write_text(f"{key.public}\n")
    alter(folder, inputs, (
        "rm /root/.ssh/authorized_keys",
        f"write {KEY} /root/.ssh/authorized_keys",
        "set_inode_field /root/.ssh/authorized_keys mode 0100600",
    ))  # fmt: skip
    (folder / KEY).unlink()


def drop_password(menu: str) -> str:
    """grub.cfg without the boot menu's password."""
    kept = [line for line in menu.splitlines(True) if not line.lstrip().startswith(PASSWORD)]
    return "".join(kept)


@contextmanager
def opened(inputs: Inputs, out: Path) -> Iterator[Inputs]:
    """The inputs with an image whose menu can be typed at: a copy without the menu's password, if it has one."""
    if not inputs.machine.access.grub_password:
        yield inputs
        return
    with process.folder(out, "opened") as folder:
        copy_sparse(inputs.image, folder / IMAGE)
        drive = f"{IMAGE}?offset={gpt.find(inputs.image).offset}"
        bind = Bind(folder, "/build", writable=True)
        menu = sandbox.output(
            Job(inputs.tools, ("debugfs", "-R", f"cat {MENU}", drive), (bind,)), inputs.tools
        )
        (folder / "menu").write_text(drop_password(menu.decode()))
        alter(folder, inputs, (f"rm {MENU}", f"write menu {MENU}"))
        yield replace(inputs, image=folder / IMAGE)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy an image and keep its holes: most of it is empty."""
    status, _, said = run.capture(["cp", "--sparse=always", str(source), str(target)])
    if status != 0:
        raise UserError(f"{source}: cannot be copied: {said.strip()}", "free disk space below dist/")


def alter(folder: Path, inputs: Inputs, commands: Sequence[str], partition: str = gpt.ROOTS[0]) -> None:
    """Run commands of debugfs(8) on a file system of the copy: its root, or another partition."""
    (folder / COMMANDS).write_text("\n".join(commands) + "\n")
    offset = gpt.find(inputs.image, partition).offset
    argv = ("debugfs", "-w", "-f", COMMANDS, f"{IMAGE}?offset={offset}")
    sandbox.output(Job(inputs.tools, argv, (Bind(folder, "/build", writable=True),)), inputs.tools)
    (folder / COMMANDS).unlink()
