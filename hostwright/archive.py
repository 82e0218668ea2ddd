"""A Debian archive's signed indexes, and the locks made from them.

    InRelease --gpgv--> index digests --> Packages, Sources --> closure of the seeds --> buildroot/lock
                                      --> the installer's Packages -----------------> guest/installer.lock

Formats: deb-control(5), and the archive's repository format (InRelease, Packages, Sources).
"""

import hashlib
import lzma
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hostwright.base.errors import UserError
from hostwright.formats.control import Stanza, dependencies, parse_stanzas

SUITE = "trixie"
PACKAGES = "main/binary-amd64/Packages.xz"
UDEBS = "main/debian-installer/binary-amd64/Packages.xz"
SOURCES = "main/source/Sources.xz"


@dataclass(frozen=True, order=True)
class Pin:
    """One locked `.deb` or `.udeb`: pool path, size in bytes and sha256."""

    name: str
    version: str
    path: str
    size: int
    sha256: str


def index_digest(release: str, path: str) -> str:
    """The sha256 that a verified Release text gives for an index file."""
    for line in next(parse_stanzas(release)).get("SHA256", "").split("\n"):
        digest, _, rest = line.partition(" ")
        if rest.split()[1:] == [path]:
            return digest
    raise UserError(f"the archive's Release file does not list {path}")


def read_index(data: bytes, release: str, path: str) -> list[Stanza]:
    """The paragraphs of a compressed index, its digest checked against the Release text before it is opened."""
    if hashlib.sha256(data).hexdigest() != index_digest(release, path):
        raise UserError(
            f"{path}: its sha256 is not the one in the signed Release file",
            "try again: the mirror may be mid-update",
        )
    return list(parse_stanzas(lzma.decompress(data).decode()))


def parse_seeds(text: str) -> tuple[list[str], frozenset[str]]:
    """Wanted and excluded package names of a seeds file."""
    words = [line.split("#")[0].strip() for line in text.splitlines()]
    wanted = [word for word in words if word and not word.startswith("-")]
    return wanted, frozenset(word[1:] for word in words if word.startswith("-"))


def lock(
    stanzas: Iterable[Stanza], seeds: Sequence[str], excluded: frozenset[str], file: str = "buildroot/seeds"
) -> list[Pin]:
    """The closure of `seeds` under Depends and Pre-Depends, sorted by name; a seed may be what a package provides.

    Of several packages that would do for a dependency a seed is taken, else the first. A missing package is a
    UserError that names the `file` of the seeds.
    """
    index = _Index(stanzas)
    chosen: dict[str, Stanza] = {}
    queue = list(seeds)
    while queue:
        name = queue.pop(0)
        if name in excluded:
            continue
        stanza = index.find(name, file)
        if stanza["Package"] not in chosen:
            chosen[stanza["Package"]] = stanza
            queue += list(_needs(stanza, index, {*seeds, *chosen, *excluded}))
    return sorted(pin_of(stanza) for stanza in chosen.values())


class _Index:
    """Packages by name and by what they provide."""

    def __init__(self, stanzas: Iterable[Stanza]) -> None:
        self.real: dict[str, Stanza] = {}
        self.virtual: dict[str, list[str]] = {}
        for stanza in stanzas:
            self.real[stanza["Package"]] = stanza
            for name in dependencies(stanza, "Provides"):
                self.virtual.setdefault(name[0], []).append(stanza["Package"])

    def find(self, name: str, file: str) -> Stanza:
        real = name if name in self.real else min(self.virtual.get(name, [name]))
        try:
            return self.real[real]
        except KeyError:
            raise UserError(f"{file}: the archive has no package {name}") from None

    def resolve(self, alternatives: list[str], settled: set[str]) -> str:
        """The package that satisfies one dependency; '' if one that is settled already does."""
        offers = [
            o
            for name in alternatives
            for o in ([name] if name in self.real else sorted(self.virtual.get(name, [])))
        ]
        # A package may also be what another one provides: lsb-base is sysvinit-utils.
        providers = [one for name in alternatives for one in self.virtual.get(name, [])]
        if any(name in settled for name in [*alternatives, *providers]) or not offers:
            return ""
        return offers[0]


def _needs(stanza: Stanza, index: _Index, settled: set[str]) -> Iterator[str]:
    for field in ("Pre-Depends", "Depends"):
        for alternatives in dependencies(stanza, field):
            if name := index.resolve(alternatives, settled):
                yield name


def pin_of(stanza: Stanza) -> Pin:
    """The pin of a paragraph of Packages."""
    return Pin(
        stanza["Package"], stanza["Version"], stanza["Filename"], int(stanza["Size"]), stanza["SHA256"]
    )


def render_lock(pins: Iterable[Pin]) -> str:
    """The text of a lock: one pin a line, fields separated by blanks."""
    head = "# name version pool-path size sha256; written by ./doit lock, not by hand\n"
    return head + "".join(f"{p.name} {p.version} {p.path} {p.size} {p.sha256}\n" for p in pins)


def parse_lock(text: str, file: str = "buildroot/lock") -> list[Pin]:
    """The pins of a lock; a line of another form is a UserError with the name of the `file` and its number."""
    pins = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        words = line.split()
        if len(words) != 5 or not words[3].isdigit() or not re.fullmatch(r"[0-9a-f]{64}", words[4]):
            raise UserError(f"{file}:{number}: not a pin: {line[:60]!r}", "write it anew with ./doit lock")
        pins.append(Pin(words[0], words[1], words[2], int(words[3]), words[4]))
    return pins


def source_files(stanzas: Iterable[Stanza]) -> dict[str, str]:
    """Pool path to sha256 of every source file that the archive has."""
    found = {}
    for stanza in stanzas:
        for line in stanza.get("Checksums-Sha256", "").split("\n"):
            if len(words := line.split()) == 3:
                found[f"{stanza['Directory']}/{words[2]}"] = words[0]
    return found
