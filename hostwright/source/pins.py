"""Pins: the files to fetch, by path, size and sha256."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostwright.base.errors import UserError
from hostwright.formats.control import Stanza

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, order=True)
class Pin:
    """One locked `.deb` or `.udeb`: pool path, size in bytes and sha256."""

    name: str
    version: str
    path: str
    size: int
    sha256: str


def pin_of(stanza: Stanza) -> Pin:
    """The pin of a paragraph of Packages."""
    return Pin(
        stanza["Package"], stanza["Version"], stanza["Filename"], int(stanza["Size"]), stanza["SHA256"]
    )


def render_lock(pins: Iterable[Pin]) -> str:
    """The text of a lock: one pin per line, fields separated by blanks."""
    head = "# name version pool-path size sha256; written by ./doit lock, not by hand\n"
    return head + "".join(f"{p.name} {p.version} {p.path} {p.size} {p.sha256}\n" for p in pins)


def parse_lock(text: str, file: str = "buildroot/lock") -> list[Pin]:
    """The pins of a lock; raises UserError with `file` and line number for a malformed line."""
    pins = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        words = line.split()
        if len(words) != 5 or not words[3].isdigit() or not re.fullmatch(r"[0-9a-f]{64}", words[4]):
            raise UserError(f"{file}:{number}: not a pin: {line[:60]!r}", "write it again with ./doit lock")
        pins.append(Pin(words[0], words[1], words[2], int(words[3]), words[4]))
    return pins


@dataclass(frozen=True)
class Pinned:
    """A file of the archive: pool path, sha256, size in bytes (0 if unknown) and further addresses."""

    name: str
    path: str
    sha256: str
    size: int = 0
    upstream: tuple[str, ...] = ()

    def at(self, mirrors: Sequence[str]) -> "Wanted":
        """The file with the addresses where it may be found."""
        return Wanted(self.name, self.sha256, places(self.path, mirrors, self.upstream))


@dataclass(frozen=True)
class Wanted:
    """A file by its sha256, and the addresses where it may be found."""

    name: str
    sha256: str
    places: tuple[str, ...]


def places(path: str, mirrors: Sequence[str], upstream: Iterable[str] = ()) -> tuple[str, ...]:
    """The addresses of a pool path: every mirror, then upstream."""
    return (*(f"{mirror}/{path}" for mirror in mirrors), *upstream)
