"""Locks: the files that list pins."""

import re
from collections.abc import Iterable

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats.control import Stanza

_DATED = "# from the index of "


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
    """The pins of a lock; raises UserError with `file` and line number for a malformed line."""
    pins = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        words = line.split()
        if len(words) != 5 or not words[3].isdigit() or not re.fullmatch(r"[0-9a-f]{64}", words[4]):
            raise UserError(f"{file}:{number}: not a pin: {line[:60]!r}", "write it again with ./doit lock")
        pins.append(Pin(words[2], words[4], size=int(words[3]), name=words[0], version=words[1]))
    return pins
