"""Staged trees and their manifests.

A manifest lists every path below a tree with mode, size, sha256 and link target. Its digest names the content:
equal digests mean equal trees, whatever user, clock or folder made them. All owners are root, and no time is kept.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.base.files import digest
from hostwright.base.times import EPOCH


@dataclass(frozen=True, order=True)
class Entry:
    """One path of a tree: permission bits as octal digits, size in bytes; `link` for symbolic links only."""

    path: str
    kind: str
    mode: str
    size: int = 0
    sha256: str = ""
    link: str = ""


def scan(tree: Path, setuid: tuple[str, ...] = ()) -> list[Entry]:
    """Every path below `tree`, sorted; the paths in `setuid` get their set-user-id bit, others lose theirs."""
    return sorted(_entry(tree, Path(path), setuid) for path in _walk(tree))


def _walk(tree: Path) -> Iterator[str]:
    for folder, subfolders, names in os.walk(tree):
        for name in subfolders + names:
            yield os.path.join(folder, name)  # noqa: PTH118


def _entry(tree: Path, path: Path, setuid: tuple[str, ...]) -> Entry:
    name = path.relative_to(tree).as_posix()
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "link", "777", link=os.readlink(path))  # noqa: PTH115
    mode = stat.S_IMODE(status.st_mode) & 0o755 | (0o4000 if name in setuid else 0)
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, "folder", f"{mode | 0o755:o}")
    if stat.S_ISREG(status.st_mode):
        return Entry(name, "file", f"{mode:o}", status.st_size, digest(path))
    raise UserError(f"{name}: a staged tree holds files, folders and links only")


def tree_digest(entries: list[Entry]) -> str:
    """The sha256 of a tree's listing."""
    return hashlib.sha256(
        json.dumps([list(asdict(e).values()) for e in sorted(entries)]).encode()
    ).hexdigest()


def dump(entries: list[Entry]) -> str:
    """A manifest as JSON, one entry a line."""
    return "[\n" + ",\n".join(json.dumps(asdict(entry), separators=(",", ":")) for entry in entries) + "\n]\n"


def load(text: str) -> list[Entry]:
    """The entries of a manifest."""
    return [Entry(**fields) for fields in json.loads(text)]


def differences(expected: list[Entry], found: list[Entry]) -> list[str]:
    """Paths whose entries differ, with what is wrong; empty when two trees are equal."""
    before = {entry.path: entry for entry in expected}
    after = {entry.path: entry for entry in found}
    gone = [f"{path}: missing" for path in before.keys() - after.keys()]
    new = [f"{path}: not in the manifest" for path in after.keys() - before.keys()]
    changed = [f"{path}: changed" for path in before.keys() & after.keys() if before[path] != after[path]]
    return sorted(gone + new + changed)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree into an existing folder, links as links, every time stamp at the epoch."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    for path in target.rglob("*"):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
