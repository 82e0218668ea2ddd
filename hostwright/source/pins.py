"""Locks: the files that list pins."""

import re
from collections.abc import Iterable
from pathlib import Path

from hostwright.base import texts
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats.control import Stanza

_DATED = "# from the index of "
# Debian Policy, sections 5.6.7 and 5.6.12, for name and version.
_PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*) (?P<version>[A-Za-z0-9.+:~-]+) (?P<path>[A-Za-z0-9][!-~]*)"
    r" (?P<size>[0-9]{1,12}) (?P<sha256>[0-9a-f]{64})"
)


def pin_of(stanza: Stanza) -> Pin:
    """The pin of a paragraph of Packages."""
    return Pin(
        stanza["Filename"],
        stanza["SHA256"],
        size=int(stanza["Size"]),
        name=stanza["Package"],
        version=stanza["Version"],
    )


def render_lock(pins: Iterable[Pin], date: str = "") -> str:
    """The text of a lock: one pin per line, fields separated by blanks; `date` is that of the archive's index."""
    head = "# name version pool-path size sha256; written by ./doit lock, not by hand\n"
    dated = f"{_DATED}{date}\n" if date else ""
    return head + dated + "".join(f"{p.name} {p.version} {p.path} {p.size} {p.sha256}\n" for p in pins)


def lock_date(text: str) -> str:
    """The date of the index that a lock was made from, as the archive writes it; '' if the lock does not say."""
    return next((line.removeprefix(_DATED) for line in text.splitlines() if line.startswith(_DATED)), "")


def parse_lock(text: str, file: str = "buildroot/lock") -> list[Pin]:
    """The pins of a lock; raises UserError with `file` and line number for a malformed line, and for no pin at all."""
    hint = f"restore it: git checkout -- {file}"
    pins = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        match = _PIN.fullmatch(line)
        if not match or ".." in match["path"].split("/"):
            raise UserError(f"{file}:{number}: not a pin: {texts.show(line)}", hint)
        name, version, path, size, sha256 = match.groups()
        pins.append(Pin(path, sha256, size=int(size), name=name, version=version))
    if not pins:
        raise UserError(f"{file}: there is no pin in it", hint)
    return pins


def read_lock(file: Path) -> list[Pin]:
    """The pins of a lock of the tree; UserError if it is missing or malformed."""
    return parse_lock(texts.read_text(file), texts.name_file(file))
