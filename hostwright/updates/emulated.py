"""A host in the emulated machine that keeps what is written to its disk, and restarts when it wants to.

image, unsigned update on a second disk --running()--> console and port of ssh --Visited--> logins, boot after boot
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hostwright.base import files
from hostwright.base.times import limit
from hostwright.machine.model import Machine
from hostwright.proof import boot as boots
from hostwright.proof import lab, report
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.proof.login_rows import HOST
from hostwright.proof.prove import qemu_version
from hostwright.proof.verdict import Outcome, Proof, Row
from hostwright.vm import board, login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console

WRITE_LIMIT_S = limit(600.0)
VERDICT_LIMIT_S = limit(300.0)
MENU = "executed automatically in"
DRIVE = "update.drive"
# What a machine writes to the image in lab.plan_boot() is gone with it.
LOST = ",snapshot=on"
# The files of a slot by which a lab lets its own key in and takes what it signs itself.
KEPT = ("/etc/hostwright/update_signers", "/root/.ssh/authorized_keys")
KEEP = " ".join(f"--keep {path}" for path in KEPT)


def plan_machine(machine: Machine, firmware: Firmware, port: int) -> tuple[str, ...]:
    """The lab with the unsigned update on a second disk; a restart is one, and does not end QEMU."""
    drive = f"if=none,id=update,file={board.FOLDER}/{DRIVE},format=raw{LOST}"
    planned = lab.plan_boot(machine, firmware, Accelerator.TCG, port)
    return (
        *(word for word in planned if word != "-no-reboot"),
        *("-drive", drive, "-device", "ide-hd,bus=ide.1,drive=update"),
    )


@contextmanager
def running(
    inputs: boots.Inputs, work: Path, image: Path, firmware: Firmware, name: str
) -> Iterator[tuple[Console, int]]:
    """The lab from `image`, which keeps what is written to it; its console, and the port of its ssh.

    The update is in the folder `work`, and so is the log afterwards.
    """
    port = login.free_port()
    with process.folder(work, name) as folder:
        boots.fill(folder, inputs)
        # Moved, not linked: a machine may write to a file that has one name only.
        image.rename(folder / lab.IMAGE)
        (folder / DRIVE).hardlink_to(work / DRIVE)
        planned = plan_machine(inputs.machine, firmware, port)
        argv = tuple(word.replace(LOST, "") if lab.IMAGE in word else word for word in planned)
        job = replace(process.plan_job(argv, folder, inputs.tools, Accelerator.TCG), network=True)
        try:
            with process.running(job, work / f"{name}.log") as (console, _):
                yield console, port
        finally:
            (folder / lab.IMAGE).rename(image)


def pass_menu(console: Console, limit_s: float = boots.MENU_LIMIT_S) -> None:
    """Past GRUB's menu, whose first entry is the slot that GRUB chose."""
    console.wait_for(MENU, limit_s, stop=boots.NO_BOOT)
    boots.choose(console, HOST)


@dataclass(frozen=True)
class Visited:
    """A machine that is started anew by its own means; shell() logs in to the boot that runs."""

    console: Console
    port: int
    key: login.Key

    @contextmanager
    def shell(self) -> Iterator[login.Session]:
        """A login as root, once sshd answers."""
        with login.connect("127.0.0.1", self.port, "root", self.key.private, LOGIN_LIMIT_S) as shell:
            yield shell

    def next_boot(self, limit_s: float = boots.MENU_LIMIT_S) -> None:
        """Past GRUB's menu, whose first entry is the slot that GRUB chose."""
        pass_menu(self.console, limit_s)


def conclude(
    inputs: boots.Inputs,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    proved: Path,
    out: Path,
    seconds: float,
) -> Proof:
    """Write the report on what was `proved` to `out`. Raises UserError afterwards if a row is not green."""
    verdict = Proof(
        machine=inputs.machine.name,
        rows=tuple(rows),
        outcomes=tuple(outcomes),
        qemu=qemu_version(inputs.tools),
        accelerator=Accelerator.TCG.value,
        artifacts={file.name: files.digest(file) for file in (proved, inputs.kernel)},
        seconds=round(seconds, 1),
    )
    report.write_reports(verdict, out)
    if not verdict.ok:
        raise report.failure(verdict, out)
    return verdict
