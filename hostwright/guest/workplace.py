"""The place where a guest is made: its inputs, its folder, and the files published in dist/guest."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hostwright.base import files, page, paths
from hostwright.base.address import Address
from hostwright.base.errors import UserError
from hostwright.base.times import clock
from hostwright.formats import cpio
from hostwright.guest import initrd, medium, preseed
from hostwright.guest.plan import Outcome
from hostwright.image.templates import render_text
from hostwright.machine.model import Guest, Machine
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop
from hostwright.source import mirrors
from hostwright.source.index import SUITE
from hostwright.vm import guest_argv, pictures, process
from hostwright.vm.board import Accelerator
from hostwright.vm.login import Key

FRAME_MS = 400
# A second console= would move the installer away from the screen: rootskel's reopen-console does not know that tty0
# is tty1. The kernel's messages come over the first serial line anyway.
INSTALL_WORDS = (
    "auto=true",
    "priority=critical",
    "DEBCONF_DEBUG=developer",
    "earlyprintk=ttyS0,115200,keep",
    # Mitigations of processor faults only cost time in a machine that runs nothing but the installer.
    "mitigations=off",
)
KEY_FILE = "id_ed25519"


@dataclass(frozen=True)
class Options:
    """Options of the command line: the archive from the cache alone, and how to show the screen."""

    offline: bool = False
    vnc: guest_argv.Vnc = field(default_factory=guest_argv.Vnc)


@dataclass(frozen=True)
class Inputs:
    """The artifacts that an install needs."""

    code: Path
    vars: Path
    grub: Path
    shop: Workshop

    @property
    def tools(self) -> Path:
        """The build root, with QEMU in it."""
        return self.shop.tools


def find_inputs(grub: Path, shop: Workshop) -> Inputs:
    """OVMF of dist/, and `grub` as staged."""
    return Inputs(paths.OVMF / guest_argv.CODE, paths.OVMF / guest_argv.VARS, grub, shop)


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """Create the empty folder dist/guest/.NAME.

    After a failure it keeps logs and pictures; the disk is removed, so that nobody mistakes it for a guest.
    """
    work = paths.GUESTS / f".{name}"
    files.remove(work)
    work.mkdir(parents=True)
    try:
        yield work
    except UserError:
        for left in (
            guest_argv.DISK,
            guest_argv.MEDIUM,
            guest_argv.SYSTEM,
            guest_argv.KERNEL,
            guest_argv.INITRD,
            guest_argv.CODE,
            guest_argv.VARS,
            guest_argv.RELAY,
            KEY_FILE,
        ):
            files.remove(work / left)
        raise


def find_accelerator(inputs: Inputs, work: Path) -> tuple[Accelerator, str]:
    """KVM or TCG, tested by a boot of the installer's own kernel."""
    return process.find_accelerator(
        initrd.build_initrd(initrd.load_lock(), inputs.shop).kernel, inputs.tools, work
    )


def prepare(machine: Machine, guest: Guest, inputs: Inputs, mirror: str, key: Key | None, work: Path) -> None:
    """Place disk, firmware and medium where QEMU will open them; the guest keeps `mirror` as its archive."""
    keys = place(guest, inputs, key, work)
    text = preseed.render(machine, guest, guest_argv.ARCHIVE)
    sources = preseed.sources_list(mirror, mirrors.find_security(), guest.install)
    answers = cpio.write(preseed.entries(guest, text, keys, sources))
    (work / "preseed.cfg").write_text(text)
    start, shop = medium.Start(answers, INSTALL_WORDS), inputs.shop.logging_to(work / "medium.log")
    medium.write_iso(work / guest_argv.MEDIUM, start, inputs.grub, shop)


def place(guest: Guest, inputs: Inputs, key: Key | None, work: Path) -> tuple[str, ...]:
    """Place the firmware, an empty disk, the relay to the archive, and a new key if one is needed.

    Returns the keys that may log in, as lines of authorized_keys.
    """
    shutil.copyfile(inputs.code, work / guest_argv.CODE)
    shutil.copyfile(inputs.vars, work / guest_argv.VARS)
    shutil.copyfile(paths.GUEST / guest_argv.RELAY, work / guest_argv.RELAY)
    _make_disk(guest, inputs.shop.logging_to(work / "medium.log"), work)
    if not key:
        return guest.install.ssh_keys
    _write_key(work / KEY_FILE, key)
    return (key.public,)


def _write_key(path: Path, key: Key) -> None:
    path.touch(mode=0o600)
    path.write_text(key.private)
    path.with_suffix(".pub").write_text(f"{key.public}\n")


def _make_disk(guest: Guest, shop: Workshop, work: Path) -> None:
    argv = (
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        f"{guest_argv.FOLDER}/{guest_argv.DISK}",
        f"{guest.disk_gib}G",
    )
    job = sandbox.Job(shop.tools, argv, (sandbox.Bind(work, guest_argv.FOLDER, writable=True),))
    shop.run("making the disk", job)


def record(
    guest: Guest, outcome: Outcome, checked: Mapping[str, object], accelerator: str, work: Path
) -> None:
    """Write manifest.json, the pictures, and the instructions to start the guest."""
    manifest = {
        "guest": guest.name,
        "suite": SUITE,
        "packages": [list(each) for each in sorted(outcome.packages)],
        "network": dict(outcome.network),
        "accelerator": accelerator,
        "install_seconds": outcome.seconds,
        "check": dict(checked),
    }
    files.write(work / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    pictures.contact_sheet(outcome.shots, work / "install.png")
    pictures.animate(outcome.frames, work / "install.webp", FRAME_MS)
    folder = str(_target(work))
    passed = [Address.parse(each) for each in guest.devices]
    _render("guest.xml.j2", work, {"guest": guest, "vm": guest_argv, "folder": folder, "passed": passed})
    took = clock(outcome.seconds)
    _render("report.html.j2", work, {"guest": guest, "manifest": manifest, "took": took, "style": page.STYLE})
    (work / guest_argv.SOCKETS_FOLDER).mkdir(mode=0o700, exist_ok=True)
    files.write(work / "launch.args", "\n".join(guest_argv.plan_launch(guest, folder)) + "\n")


def _render(name: str, work: Path, values: Mapping[str, object]) -> None:
    template = paths.GUEST / name
    files.write(work / name.removesuffix(".j2"), render_text(template.read_text(), template.name, values))


def _target(work: Path) -> Path:
    """dist/guest/NAME, for the folder dist/guest/.NAME."""
    return work.with_name(work.name[1:])


def publish(work: Path) -> None:
    """Replace the guest's folder by the finished one in a single step."""
    for name in (
        guest_argv.MEDIUM,
        guest_argv.SYSTEM,
        guest_argv.KERNEL,
        guest_argv.INITRD,
        guest_argv.CODE,
        guest_argv.RELAY,
        "medium.log",
        guest_argv.QEMU_LOG,
    ):
        files.remove(work / name)
    shutil.copyfile(paths.OVMF / guest_argv.CODE, work / guest_argv.CODE)
    target = _target(work)
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=paths.GUESTS))
    if target.exists():
        target.rename(old / target.name)
    work.rename(target)
    files.remove(old)
