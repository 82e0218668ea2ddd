"""Files that appear complete or not at all, and locks between runs."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock during the `with` block; it also ends with the process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def try_locked(file: Path) -> Iterator[bool]:
    """Hold an exclusive lock if it is free; yields whether it was free."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that replaces it when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.unlink(missing_ok=True)
    yield temporary
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(target)


def write(target: Path, content: str | bytes) -> None:
    """Write a whole file atomically; a file with equal content keeps its time stamp."""
    data = content.encode() if isinstance(content, str) else content
    if target.is_file() and target.read_bytes() == data:
        return
    with replaced(target) as new:
        new.write_bytes(data)


def temporary_folder(parent: Path, name: str) -> Path:
    """A new folder whose name begins with `name` and the process; those of killed processes are removed."""
    for left in parent.glob(f"{glob.escape(name)}.*.*"):
        process = left.name.removeprefix(f"{name}.").partition(".")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            remove(left)
    return Path(tempfile.mkdtemp(prefix=f"{name}.{os.getpid()}.", dir=parent))


@contextmanager
def folder_replaced(target: Path) -> Iterator[Path]:
    """A temporary folder that replaces `target` when the block ends without an error; otherwise it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = temporary_folder(target.parent, f".{target.name}")
    new.chmod(0o755)
    try:
        yield new
        remove(target)
        new.rename(target)
    finally:
        remove(new)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, including folders that are closed to their owner; a missing path is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path, onerror=_open_and_retry)


def _open_and_retry(function: object, path: str, _info: object) -> None:
    parent = Path(path).parent
    parent.chmod(0o755)
    if Path(path).is_dir() and not Path(path).is_symlink():
        Path(path).chmod(0o755)
        shutil.rmtree(path)
    else:
        Path(path).unlink()


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of `path` that fits a unix socket's address (unix(7): 108 bytes), as long as the block runs."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def digest(file: Path) -> str:
    """The sha256 of a file, as hex digits."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def marks(file: Path) -> list[int]:
    """What changes whenever a file does: size, times of content and of inode in nanoseconds, inode."""
    return marks_of(file.stat())


def marks_of(status: os.stat_result) -> list[int]:
    """The same of a status that was read before."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def make_private(folder: Path) -> None:
    """Make a folder that only its owner enters; one that is there and ours is closed to others."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        folder.chmod(0o700)


def read_list(file: Path) -> list[Any]:
    """The list in a file that only saves time: empty where the file is missing or cannot be read."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def read_json(file: Path) -> dict[str, Any]:
    """The object in a file that only saves time: empty where the file is missing or cannot be read."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
