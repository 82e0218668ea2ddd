"""The steps that make guests: what each reads, what it writes, and which part of the engine acts."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from doit import get_var

from hostwright.base import canonical, files, paths
from hostwright.base.errors import UserError
from hostwright.build import store
from hostwright.machine.model import Guest
from hostwright.source import pins
from hostwright.tasks import host, inputs, reporter
from hostwright.tasks.define import Task, step
from hostwright.tasks.sources import fetching

if TYPE_CHECKING:
    from hostwright.guest.plan import Voice
    from hostwright.guest.workplace import Options

LOCK = paths.GUEST / "installer.lock"
MEDIUM = paths.GUESTS / "installer.iso"


def sources() -> Task:
    """What the medium is made of."""
    return fetching("installer", "the parts of Debian's installer", _pinned)


def _pinned() -> list[pins.Pinned]:
    from hostwright.guest import initrd

    return [pins.Pinned(pin.name, pin.path, pin.sha256, pin.size) for pin in initrd.load_lock()]


def medium() -> Task:
    def act() -> None:
        from hostwright.guest.medium import write_iso

        with files.replaced(MEDIUM) as new:
            write_iso(new, _grub(), None, (), paths.log_file("medium"))

    return step(
        "write the installer medium dist/guest/installer.iso",
        act,
        reads=[inputs.BUILDROOT_STAMP, paths.package_stamp("grub"), LOCK, *_medium_files(), *host.ENGINE],
        writes=[MEDIUM],
        after=["sources:installer"],
    )


def guests() -> Iterator[Task]:
    for guest in inputs.machine().guests:
        yield _guest(guest)


def _guest(guest: Guest) -> Task:
    folder = paths.GUESTS / guest.name

    def act() -> None:
        from hostwright.guest import make as making
        from hostwright.guest import workplace

        voice = _voice(f"guest:{guest.name}")
        making.make(inputs.machine(), guest, workplace.find_inputs(_grub()), _options(), voice)

    return step(
        f"install Debian as guest {guest.name}, watched over VNC, into dist/guest/{guest.name}",
        act,
        reads=[MEDIUM, paths.OVMF / "OVMF_CODE.fd", paths.OVMF / "OVMF_VARS.fd", *_guest_files()],
        writes=[folder / "disk.qcow2", folder / "manifest.json"],
        value=_guest_text(guest),
        name=guest.name,
        counted=False,
    )


def fast() -> Iterator[Task]:
    for guest in inputs.machine().guests:
        yield _fast(guest) | {"basename": "guest-fast"}


def _fast(guest: Guest) -> Task:
    folder = paths.GUESTS / f"{guest.name}-fast"

    def act() -> None:
        from hostwright.guest import workplace
        from hostwright.guest.fast import make

        voice = _voice(f"guest-fast:{guest.name}")
        make(inputs.machine(), guest, workplace.find_inputs(_grub()), _options(), voice)

    return step(
        f"make guest {guest.name} without the installer, for quick loops, in dist/guest/{guest.name}-fast",
        act,
        reads=[
            inputs.BUILDROOT_STAMP,
            paths.package_stamp("grub"),
            paths.OVMF / "OVMF_CODE.fd",
            paths.OVMF / "OVMF_VARS.fd",
            LOCK,
            *_fast_files(),
        ],
        writes=[folder / "disk.qcow2", folder / "manifest.json"],
        after=["sources:installer"],
        value=_guest_text(guest),
        name=guest.name,
        counted=False,
    )


def prove() -> Task:
    def act() -> None:
        from hostwright.proof import guest as guestproof

        note = partial(reporter.board().note, "prove-guest")
        guestproof.prove(inputs.machine(), paths.HOST_IMAGE, paths.GUEST_PROOF, note)

    disks = [paths.GUESTS / guest.name / "disk.qcow2" for guest in inputs.machine().guests]
    task = step(
        "start the installed guest inside the booted host and check what is passed to it",
        act,
        reads=[paths.HOST_IMAGE, *disks, *host.ENGINE],
        writes=[paths.GUEST_PROOF / "report.json", paths.GUEST_PROOF / "report.html"],
        counted=False,
    )
    return task | {"basename": "prove-guest"}


def _voice(task: str) -> "Voice":
    from hostwright.guest.plan import Voice

    return Voice(reporter.board().say, partial(reporter.board().note, task))


def _options() -> "Options":
    """`offline=yes`, `vnc=unix`, `password=yes` of the command line."""
    from hostwright.guest.workplace import Options
    from hostwright.vm import guest_argv

    shown = _choice("vnc", ("tcp", "unix"))
    vnc = guest_argv.Vnc(unix=shown == "unix", password=_choice("password", ("no", "yes")) == "yes")
    return Options(offline=_choice("offline", ("no", "yes")) == "yes", vnc=vnc)


def _choice(name: str, known: tuple[str, ...]) -> str:
    value = str(get_var(name, known[0]))
    if value not in known:
        raise UserError(f"{name}={value}: no such choice", f"write {name}={' or '.join(known)}")
    return value


def _grub() -> Path:
    return store.read_stamp("grub").tree


def _medium_files() -> list[Path]:
    return [paths.GUEST / "grub.cfg.j2"]


def _guest_files() -> list[Path]:
    return [paths.GUEST / name for name in ("preseed.cfg.j2", "late.sh", "watch.sh")]


def _fast_files() -> list[Path]:
    return [*host.ENGINE, *(paths.GUEST / name for name in ("second-stage.sh", "late.sh", "watch.sh"))]


def _guest_text(guest: Guest) -> str:
    """What host.toml says of a guest, its late commands by what is in them."""
    scripts = [files.digest(script) for script in guest.install.late_commands]
    here = replace(guest, install=replace(guest.install, late_commands=()))
    return canonical.text([here, inputs.machine().timezone, scripts])
