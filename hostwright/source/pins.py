"""Pins: the files to fetch, by path, size and sha256."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import texts
from hostwright.base.errors import UserError
from hostwright.formats.control import Stanza

# Debian Policy, sections 5.6.7 and 5.6.12, for name and version.
_PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*) (?P<version>[A-Za-z0-9.+:~-]+) (?P<path>[A-Za-z0-9][!-~]*)"
    r" (?P<size>[0-9]{1,12}) (?P<sha256>[0-9a-f]{64})"
)


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
    """The pins of a lock; raises UserError with `file` and line number for a malformed line, and for no pin at all."""
    hint = f"restore it: git checkout -- {file}"
    pins = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        match = _PIN.fullmatch(line)
        if not match or ".." in match["path"].split("/"):
            raise UserError(f"{file}:{number}: not a pin: {texts.show(line)}", hint)
        pins.append(Pin(match["name"], match["version"], match["path"], int(match["size"]), match["sha256"]))
    if not pins:
        raise UserError(f"{file}: there is no pin in it", hint)
    return pins


def read_lock(file: Path) -> list[Pin]:
    """The pins of a lock of the tree; UserError if it is missing or malformed."""
    return parse_lock(texts.read_text(file), texts.name_file(file))


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
