"""The slot that a host runs, put together here: what the new build has too, and what was pulled from the host.

    list of the host, new root archive, pulled files --> root archive of the old slot, data archive

Folders are those of the new build: the list of a slot has none.
"""

import copy
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.image import rootfs, update
from hostwright.updates.host import Running


@dataclass(frozen=True)
class _Entry:
    """A path of an archive, and the archive with its content."""

    info: tarfile.TarInfo
    source: tarfile.TarFile | None = None


def write_root(running: Running, pulled: Path, new_root: Path, target: Path) -> None:
    """Write the root archive of the slot that runs, with the owner's edits.

    Raises UserError for a file that the host did not send.
    """
    with tarfile.open(new_root) as new, tarfile.open(pulled) as own:
        known = update.read_listing(new_root)
        paths = {digest: path for path, (_, digest) in known.files.items()}
        entries = {one.name: _Entry(one) for one in new if one.isdir()}
        entries |= {path: _Entry(_link(path, goal)) for path, goal in running.listed.links.items()}
        sent = {one.name: _Entry(one, own) for one in own if not one.name.startswith(rootfs.VAR)}
        for path, (mode, digest) in running.listed.files.items():
            if digest in paths and path not in sent:
                entries[path] = _Entry(_renamed(new.getmember(paths[digest]), path, mode), new)
        missing = [path for path in running.find_missing(known) if path not in sent]
        if missing:
            raise UserError(f"the host did not send {missing[0]}", "look at the host: is the file readable?")
        entries |= sent
        _write(target, {path: one for path, one in entries.items() if running.edits.get(path) != "removed"})


def write_data(pulled: Path, data: Path, target: Path) -> None:
    """Write the data archive of a new image, with the owner's settings of the host."""
    with tarfile.open(data) as new, tarfile.open(pulled) as own:
        entries = {one.name: _Entry(one, new) for one in new}
        for one in own:
            if one.name.startswith(rootfs.VAR):
                path = one.name.removeprefix(rootfs.VAR)
                entries[path] = _Entry(_renamed(one, path, one.mode), own)
        _write(target, entries)


def _link(path: str, goal: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode, info.mtime = tarfile.SYMTYPE, goal, 0o777, EPOCH
    return info


def _renamed(info: tarfile.TarInfo, path: str, mode: int) -> tarfile.TarInfo:
    named = copy.copy(info)
    # A long name has a pax header of its own, which would count more.
    named.name, named.mode, named.pax_headers = path, mode, {}
    return named


def _write(target: Path, entries: dict[str, _Entry]) -> None:
    whole = {**{one.name: _Entry(one) for one in _parents(entries)}, **entries}
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as sink:
        for path in sorted(whole):
            one = whole[path]
            is_file = one.source is not None and one.info.isreg()
            sink.addfile(one.info, one.source.extractfile(one.info) if one.source and is_file else None)


def _parents(entries: dict[str, _Entry]) -> Iterator[tarfile.TarInfo]:
    names = {str(parent) for path in entries for parent in PurePosixPath(path).parents} - {"."}
    for name in sorted(names):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, EPOCH
        yield info
