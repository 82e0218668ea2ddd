"""The sandbox for machines where root may not create namespaces: a chroot without mounts.

A slot is a private copy of a view of the build root. A job's binds are copied into the slot. A bind that the job
writes to is moved there and back.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hostwright.base import files, paths

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


@contextmanager
def placed(view: Path, binds: Sequence[tuple[Path, str, bool]]) -> Iterator[Path]:
    """A slot of `view` with each (source, target, writable) in place; the slot is cleared at the end."""
    with ExitStack() as stack:
        slot = stack.enter_context(_slot(view))
        for source, target, writable in binds:
            stack.enter_context(_bound(source, slot / target.lstrip("/"), writable))
        yield slot


@contextmanager
def _slot(view: Path) -> Iterator[Path]:
    base = paths.cache() / "chroot" / hashlib.sha256(str(view).encode()).hexdigest()[:16]
    for number in range(1000):
        slot = base / str(number)
        with files.try_locked(slot.with_suffix(".lock")) as free:
            if free:
                _prepare(slot, view)
                yield slot
                return
    raise RuntimeError(f"no free slot below {base}")


def _prepare(slot: Path, view: Path) -> None:
    """Copy the view if the slot is new; remove what an earlier job left in its folders."""
    if not slot.exists():
        with files.folder_replaced(slot) as new:
            shutil.copytree(view, new, symlinks=True, dirs_exist_ok=True)
            _make_devices(new / "dev")
    for name in ("build", "out", "sysroot", "sources", "patches", "jobs", "input", "output", "tmp", "run"):
        files.remove(slot / name)
        (slot / name).mkdir(mode=0o755)


def _make_devices(folder: Path) -> None:
    for name, numbers in DEVICES.items():
        os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(*numbers))
        (folder / name).chmod(0o666)
    for name, goal in LINKS.items():
        (folder / name).symlink_to(goal)


@contextmanager
def _bound(source: Path, target: Path, writable: bool) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    if writable and source.is_dir() and not _is_pool(source):
        files.remove(target)
        shutil.move(source, target)
        # Files that the job makes there, above all sockets, have both names while it runs.
        source.symlink_to(target)
        try:
            yield
        finally:
            source.unlink()
            _remove_sockets(target)
            shutil.move(target, source)
        return
    if _is_pool(source):
        # A FIFO must remain the same object.
        os.link(source / "pool", target / "pool")
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
    yield


def _remove_sockets(folder: Path) -> None:
    """Remove sockets of a killed job: they cannot be moved to another file system."""
    for place in folder.iterdir():
        if place.is_socket():
            place.unlink()


def _is_pool(source: Path) -> bool:
    return (source / "pool").is_fifo()
