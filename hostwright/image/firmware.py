"""Firmware that host.toml names: files of pinned packages, and the early microcode image made of some.

firmware/lock --fetch, deb--> files below usr/lib/firmware, each package's copyright
                           \\-> kernel/x86/microcode/*.bin in an uncompressed cpio archive, which GRUB loads
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import cpio, deb
from hostwright.machine.firmware import FIRMWARE, Firmware
from hostwright.machine.model import Machine
from hostwright.source import fetch
from hostwright.source.pins import read_lock

FOLDER = "usr/lib/firmware"
COPYRIGHTS = "usr/share/hostwright/firmware"
TERMS = ("copyright", "license")
EARLY_IMAGE = "boot/microcode.img"
EARLY_FOLDER = "kernel/x86/microcode"


@dataclass(frozen=True)
class File:
    """A file for the host, or a link if `link` is set."""

    path: str
    content: bytes | None = None
    link: str = ""


def load_lock() -> list[Pin]:
    """The pins of firmware/lock."""
    return read_lock(paths.FIRMWARE_LOCK)


def find_pins(machine: Machine) -> list[Pin]:
    """The packages that host.toml names a part of, each once."""
    wanted = {FIRMWARE[name].package for name in machine.kernel.firmware}
    return [pin for pin in load_lock() if pin.name in wanted] if wanted else []


def find_files(machine: Machine) -> Iterator[File]:
    """The files that the host gets; UserError if a package holds none of a pattern's."""
    pins = {pin.name: pin for pin in find_pins(machine)}
    for name in machine.kernel.firmware:
        part = FIRMWARE[name]
        if not part.early:
            yield from select(part, pins[part.package])
    for pin in pins.values():
        yield from find_terms(pin)
    if early := make_early_image(machine):
        yield File(EARLY_IMAGE, early)


def find_terms(pin: Pin) -> Iterator[File]:
    """Under which terms a package may be copied; UserError if it does not say."""
    found = read(pin)
    if f"usr/share/doc/{pin.name}/copyright" not in found:
        raise UserError(
            f"firmware/lock: {pin.name} {pin.version} has no copyright file", "pin another version"
        )
    for name in TERMS:
        if file := found.get(f"usr/share/doc/{pin.name}/{name}"):
            yield File(f"{COPYRIGHTS}/{pin.name}.{name}", file.content)


def select(part: Firmware, pin: Pin) -> list[File]:
    """The files of a part, in order."""
    found = [file for path, file in read(pin).items() if _is_in(part, path)]
    if not found:
        raise UserError(
            f"firmware/lock: {pin.name} {pin.version} has nothing of {', '.join(part.files)}",
            "correct the patterns in hostwright/machine/firmware.py",
        )
    return found


def _is_in(part: Firmware, path: str) -> bool:
    return any(fnmatchcase(path, f"{FOLDER}/{pattern}") for pattern in part.files)


def read(pin: Pin) -> dict[str, File]:
    """The files and links of a package by their path, sorted."""
    found: dict[str, File] = {}
    for path, mode, content in deb.read(fetch.have(pin), "data"):
        if stat.S_ISLNK(mode):
            found[path] = File(path, link=content.decode())
        elif stat.S_ISREG(mode):
            found[path] = File(path, content)
    return dict(sorted(found.items()))


def make_early_image(machine: Machine) -> bytes | None:
    """The archive with the named microcode; None if none is named.

    The kernel takes the part for its processor out of all that is there: the makers' files stand one after another.
    """
    pins = {pin.name: pin for pin in find_pins(machine)}
    parts = [FIRMWARE[name] for name in machine.kernel.firmware if FIRMWARE[name].early]
    entries = [
        cpio.Entry(
            f"{EARLY_FOLDER}/{part.early}",
            stat.S_IFREG | 0o644,
            b"".join(file.content or b"" for file in select(part, pins[part.package])),
        )
        for part in parts
    ]
    return cpio.write(entries) if entries else None
