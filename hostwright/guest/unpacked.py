"""A system with unpacked, unconfigured packages, written as one archive without dpkg and without root rights.

    .deb files --> system.tar: their files with owners and modes
                               var/lib/dpkg: every package `unpacked`, its scripts, lists of files, triggers

dpkg runs the preinst scripts while it unpacks. Here the program that configures the packages must run them.
Sources: deb(5), deb-control(5), deb-conffiles(5), deb-triggers(5). The format of the database's files is that of
dpkg's lib/dpkg/dump.c and lib/dpkg/triglib.c.
"""

import copy
import hashlib
import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.formats import deb
from hostwright.formats.control import Stanza, dependencies, parse_stanzas

ADMIN = "var/lib/dpkg"
# dpkg's multiarch layout of info/.
INFO_FORMAT = "1\n"
# The root's folders that are links into usr (file-hierarchy(7)).
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
# It comes first because it contains those links. A package that replaces others' files comes before them.
FIRST = "base-files"


@dataclass(frozen=True)
class Node:
    """A file outside any package: its text, or a link's target."""

    path: str
    text: str = ""
    mode: int = 0o644
    goal: str = ""


@dataclass
class Package:
    """dpkg's data about a package: the members of its control archive, and the files that it owns."""

    control: Mapping[str, tuple[int, bytes]]
    files: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The control file as text, without a newline at its end."""
        return self.control["control"][1].decode().strip("\n")

    @property
    def stanza(self) -> Stanza:
        """The control paragraph."""
        return next(parse_stanzas(self.text))

    @property
    def name(self) -> str:
        """The package's name."""
        return self.stanza["Package"]

    @property
    def replaces(self) -> set[str]:
        """The packages whose files it may replace (deb-control(5), Replaces)."""
        return {name for names in dependencies(self.stanza, "Replaces") for name in names}

    @property
    def id(self) -> str:
        """The name of the package's files in info/: with the architecture if several may be installed."""
        is_same = self.stanza.get("Multi-Arch") == "same"
        return f"{self.name}:{self.stanza['Architecture']}" if is_same else self.name

    def lines(self, member: str) -> list[list[str]]:
        """The words of each line of a control member, without comments."""
        _, content = self.control.get(member, (0, b""))
        words = [line.split("#")[0].split() for line in content.decode().splitlines()]
        return [each for each in words if each]

    def conffiles(self) -> list[str]:
        """Its configuration files, without those that an upgrade removes."""
        return [words[0] for words in self.lines("conffiles") if len(words) == 1]


def read_control(file: Path) -> Package:
    """A package before any of its files is unpacked; raises UserError if `file` is not one."""
    return Package({name: (mode & 0o777, content) for name, mode, content in deb.read(file, "control")})


def write_system(debs: Iterable[Path], own: Sequence[Node], sink: BinaryIO) -> list[Package]:
    """Write the archive; raises UserError if two packages contain a file and neither replaces the other."""
    packages = {file: read_control(file) for file in debs}
    order = sorted(packages, key=lambda file: _rank(packages[file]))
    # Not PAX: busybox may unpack it, and it skips PAX headers and truncates long names.
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as tar:
        writer = _Writer(tar)
        for file in order:
            writer.unpack(file, packages[file])
        for node in (*own, *database(list(packages.values()))):
            writer.add(node)
    return list(packages.values())


def _rank(package: Package) -> tuple[bool, bool, str]:
    return package.name != FIRST, not package.replaces, package.name


class _Writer:
    """The archive in progress, and the owner of each path."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self.owners: dict[str, Package] = {}
        self.folders: set[str] = set()

    def unpack(self, file: Path, package: Package) -> None:
        """Add all files of a package."""
        conffiles = set(package.conffiles())
        with deb.opened(file, "data") as data:
            for member in data:
                name = posixpath.normpath(f"/{member.name}")
                if self._is_new(member, canonical(name), package):
                    package.files.append("/." if name == "/" else name)
                    self._copy(data, member, canonical(name))
                if name in conffiles and (content := data.extractfile(member)):
                    package.digests[name] = hashlib.md5(content.read(), usedforsecurity=False).hexdigest()

    def add(self, node: Node) -> None:
        """Add a file that belongs to no package."""
        member = tarfile.TarInfo(node.path)
        member.mode, member.mtime = node.mode, EPOCH
        if node.goal:
            member.type, member.linkname = tarfile.SYMTYPE, node.goal
        content = node.text.encode(errors="surrogateescape")
        member.size = len(content)
        self.tar.addfile(member, io.BytesIO(content))

    def _is_new(self, member: tarfile.TarInfo, path: str, package: Package) -> bool:
        """Whether the package owns a path. If two packages contain it, the one that replaces the other does."""
        if member.isdir():
            return True
        owner = self.owners.setdefault(path, package)
        if owner is not package and package.name not in owner.replaces:
            raise UserError(
                f"{package.name} and {owner.name} both contain /{path}",
                "remove one of the two from guest.install.packages",
            )
        return owner is package

    def _copy(self, data: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.isdir() and (not path or path in self.folders or path in self.owners):
            return
        # TarInfo.replace() is younger than Python 3.11.0.
        new = copy.copy(member)
        new.name, new.uname, new.gname = path, "", ""
        if member.isdir():
            self.folders.add(path)
        elif member.islnk():
            new.linkname = canonical(posixpath.normpath(f"/{member.linkname}"))
        self.tar.addfile(new, data.extractfile(member) if member.isfile() else None)


def canonical(name: str) -> str:
    """A path relative to the root, below usr if /bin, /lib or the like is a link into it."""
    top, _, rest = name.lstrip("/").partition("/")
    return f"usr/{top}/{rest}" if top in MERGED and rest else name.lstrip("/")


def database(packages: Sequence[Package]) -> Iterator[Node]:
    """dpkg's database with all `packages` unpacked."""
    status = "".join(f"{paragraph(each)}\n" for each in sorted(packages, key=lambda each: each.id))
    yield Node(f"{ADMIN}/status", status)
    yield Node(f"{ADMIN}/available")
    yield Node(f"{ADMIN}/info/format", INFO_FORMAT)
    for package in packages:
        yield Node(f"{ADMIN}/info/{package.id}.list", "".join(f"{name}\n" for name in package.files))
        for name, (mode, content) in package.control.items():
            if name != "control":
                text = content.decode(errors="surrogateescape")
                yield Node(f"{ADMIN}/info/{package.id}.{name}", text, mode)
    for name, text in triggers(packages).items():
        yield Node(f"{ADMIN}/triggers/{name}", text)


def paragraph(package: Package) -> str:
    """The paragraph of the status file for an unpacked package."""
    first, _, rest = package.text.partition("\n")
    text = f"{first}\nStatus: install ok unpacked\n{rest}\n"
    if not package.digests:
        return text
    lines = [f" {name} {package.digests[name]}\n" for name in package.conffiles() if name in package.digests]
    return f"{text}Conffiles:\n{''.join(lines)}"


def triggers(packages: Iterable[Package]) -> dict[str, str]:
    """The files of triggers/: `File` lists interests in paths, each other file those in a named trigger."""
    found = {"File": ""}
    for package in packages:
        for words in package.lines("triggers"):
            if not words[0].startswith("interest"):
                continue
            who = package.id + ("/noawait" if words[0] == "interest-noawait" else "")
            if words[1].startswith("/"):
                found["File"] += f"{words[1]} {who}\n"
            else:
                found[words[1]] = found.get(words[1], "") + f"{who}\n"
    return found
