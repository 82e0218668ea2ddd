"""Errors of the operating system that its owner can mend, as one message with path and remedy.

OSError --explain--> UserError      a full disk, a read-only one, files of another user, a disk that fails
                 \\-> None           anything else is a defect of ours
"""

import errno
import os
import pwd
import shutil
import tempfile
from pathlib import Path

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.texts import plain

_DENIED = (errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRONG_KIND = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_HINTS = {
    errno.EROFS: "mount it writable; XDG_CACHE_HOME=FOLDER puts the cache elsewhere",
    errno.EIO: "the disk fails: look at dmesg, and copy what you need from it",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENFILE: "end other programs: the whole machine has too many open files",
    errno.ENOMEM: "end other programs, or run fewer jobs: HOSTWRIGHT_JOBS=1",
    errno.EAGAIN: "allow more processes: ulimit -u, or run fewer jobs: HOSTWRIGHT_JOBS=1",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ELOOP: "a link leads back to itself: remove it",
    errno.ESTALE: "mount the network file system again",
    errno.EBUSY: "end what uses it, or unmount it",
    errno.EFBIG: "this file system, or ulimit -f, does not allow files of this size",
}


def explain(error: OSError) -> UserError | None:
    """The message for an error that only the owner of the machine can mend; None for any other."""
    path = _path(error)
    hint = _hint(error.errno or 0, path)
    if not hint:
        return None
    where = f"{plain(str(path), 300)}: " if path else ""
    return UserError(f"{where}{error.strerror or os.strerror(error.errno or 0)}", hint)


def _path(error: OSError) -> Path | None:
    """The path of the error; that of a full disk where it has none, as a failed write() has none."""
    named = error.filename2 if error.errno in _FULL and error.filename2 else error.filename
    if isinstance(named, str | bytes | os.PathLike):
        return Path(os.fsdecode(named))
    return _fullest() if error.errno in _FULL else None


def _fullest() -> Path:
    """Of the places that a run writes to, the one with the least space."""
    places = [_existing(place) for place in (paths.DIST, paths.cache(), Path(tempfile.gettempdir()))]
    return min(places, key=lambda place: shutil.disk_usage(place).free)


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    return next((one for one in (path, *path.parents) if os.path.lexists(one)), Path("/"))


def _hint(number: int, path: Path | None) -> str:
    if number in _FULL:
        return f"free some space there{_biggest(path)}, and run it again: it goes on from here"
    if number in _DENIED:
        return _hint_access(path) if path else "check what this user may do, or run it as another one"
    if number in _WRONG_KIND:
        return f"move it away: mv {path} {path}.old" if path and _is_ours(path) else ""
    return _HINTS.get(number, "")


def _biggest(path: Path | None) -> str:
    is_cache = path is not None and path.is_relative_to(paths.cache())
    return f" (all of {paths.cache()} may be deleted)" if is_cache else ""


def _is_ours(path: Path) -> bool:
    """Whether a path is, or is above, a place that only runs of ours write to."""
    return any(
        path.is_relative_to(place) or place.is_relative_to(path) for place in (paths.DIST, paths.cache())
    )


def _hint_access(path: Path) -> str:
    """Who owns what is in the way, and how to get it back."""
    blocked = _existing(path)
    try:
        owner = blocked.lstat().st_uid
    except OSError:
        return f"check the permissions of {blocked} and of the folders above it"
    if owner == os.geteuid():
        return f"change its permissions: chmod u+rwX {blocked}"
    whole = next((one for one in (paths.DIST, paths.cache()) if blocked.is_relative_to(one)), blocked)
    taken = f"it belongs to {_user(owner)}"
    return (
        f"{taken}: take it back with sudo chown -R {_user(os.geteuid())} {whole}"
        if whole != blocked or (_is_ours(blocked))
        else f"{taken}: let this user ({_user(os.geteuid())}) read and write it"
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
