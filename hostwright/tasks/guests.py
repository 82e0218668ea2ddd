"""The steps that make guests: what each reads, what it writes, and which part of the engine acts."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hostwright.base import canonical, files, paths
from hostwright.build import store
from hostwright.machine.load import fingerprint
from hostwright.machine.model import Guest
from hostwright.tasks import inputs, reporter, variables
from hostwright.tasks.define import Task, step

if TYPE_CHECKING:
    from hostwright.guest.plan import Voice
    from hostwright.guest.workplace import Options

MEDIUM = paths.GUESTS / "installer.iso"


def medium() -> Task:
    """write Debian's installer as a bootable medium, dist/guest/installer.iso"""

    def act() -> None:
        from hostwright.guest.medium import Start, write_iso

        with files.replaced(MEDIUM) as new:
            write_iso(new, Start(), _grub(), inputs.workshop("medium"))

    return step(
        act,
        reads=[inputs.BUILDROOT_STAMP, paths.package_stamp("grub")],
        writes=[MEDIUM],
        after=["sources:installer"],
    )


def guest() -> Iterator[Task]:
    """install Debian in a virtual machine for each [[guest]], watched over VNC, and check it"""
    for one in inputs.machine().guests:
        yield _guest(one) | {"basename": "guest"}


def _guest(guest: Guest) -> Task:
    folder = paths.GUESTS / guest.name

    def act() -> None:
        from hostwright.guest import make as making
        from hostwright.guest import workplace

        task = f"guest:{guest.name}"
        given = workplace.find_inputs(_grub(), inputs.workshop(task))
        making.make(inputs.machine(), guest, given, _options(), _voice(task))

    return step(
        act,
        doc=f"install Debian as guest {guest.name}, watched over VNC, into dist/guest/{guest.name}",
        reads=[MEDIUM, paths.OVMF / "OVMF_CODE.fd", paths.OVMF / "OVMF_VARS.fd"],
        writes=[folder / "disk.qcow2", folder / "manifest.json"],
        value=_guest_text(guest),
        name=guest.name,
        counted=False,
    )


def guest_fast() -> Iterator[Task]:
    """make the same guests without the installer, for quick loops"""
    for guest in inputs.machine().guests:
        yield _fast(guest) | {"basename": "guest-fast"}


def _fast(guest: Guest) -> Task:
    folder = paths.GUESTS / f"{guest.name}-fast"

    def act() -> None:
        from hostwright.guest import workplace
        from hostwright.guest.fast import make

        task = f"guest-fast:{guest.name}"
        given = workplace.find_inputs(_grub(), inputs.workshop(task))
        make(inputs.machine(), guest, given, _options(), _voice(task))

    return step(
        act,
        doc=f"make guest {guest.name} without the installer, for quick loops, in dist/guest/{guest.name}-fast",
        reads=[
            inputs.BUILDROOT_STAMP,
            paths.package_stamp("grub"),
            paths.OVMF / "OVMF_CODE.fd",
            paths.OVMF / "OVMF_VARS.fd",
        ],
        writes=[folder / "disk.qcow2", folder / "manifest.json"],
        after=["sources:installer"],
        value=_guest_text(guest),
        name=guest.name,
        counted=False,
    )


def prove_guest() -> Task:
    """start the installed guest inside the booted host and check what is passed to it"""

    def act() -> None:
        from hostwright.proof import guest as guestproof

        note = partial(reporter.board().note, "prove-guest")
        guestproof.prove(inputs.machine(), paths.HOST_IMAGE, paths.GUEST_PROOF, note)

    disks = [paths.GUESTS / guest.name / "disk.qcow2" for guest in inputs.machine().guests]
    return step(
        act,
        reads=[paths.HOST_IMAGE, *disks],
        writes=[paths.GUEST_PROOF / "report.json", paths.GUEST_PROOF / "report.html"],
        value=fingerprint(inputs.machine()),
        counted=False,
    )


def _voice(task: str) -> "Voice":
    from hostwright.guest.plan import Voice

    return Voice(reporter.board().say, partial(reporter.board().note, task))


def _options() -> "Options":
    """`offline=yes` and `vnc=tcp` of the command line."""
    from hostwright.guest.workplace import Options
    from hostwright.vm import guest_argv

    vnc = guest_argv.Vnc(unix=variables.text("vnc") == "unix")
    return Options(offline=variables.flag("offline"), vnc=vnc)


def _grub() -> Path:
    return store.read_whole("grub").tree


def _guest_text(guest: Guest) -> str:
    """What host.toml says of a guest, its late commands by what is in them."""
    scripts = [files.digest(script) for script in guest.install.late_commands]
    here = replace(guest, install=replace(guest.install, late_commands=()))
    return canonical.text([here, inputs.machine().timezone, scripts])
