"""The account of an emulated machine that root starts: what its QEMU writes and opens is lent to it.

    folders --lent()--> owned by ACCOUNT while the machine runs, then root's again
    devices --nodes()--> nodes of its own, where the machine's are closed to it

QEMU runs what the guest says. Taken over, it must not be root of the build machine.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hostwright.base import paths

# User and group. No system gives it to anyone: above the dynamic users of systemd, below `nobody`, and inside the
# 65536 ids of a container.
ACCOUNT = 65530
# Whoever may read and write: such a device needs no owner.
FOR_ALL = 0o006


@contextmanager
def lent(folders: Sequence[Path]) -> Iterator[None]:
    """The folders and the files in them belong to the account during the block.

    A file with a second name elsewhere, or one that only root may read, stays root's.
    """
    for folder in folders:
        _give(folder)
    try:
        yield
    finally:
        for folder in folders:
            _take_back(folder)


def _below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    yield folder, folder.lstat()
    for parent, names, more in os.walk(folder):
        for path in (Path(parent, name) for name in (*names, *more)):
            yield path, path.lstat()


def _give(folder: Path) -> None:
    for path, status in _below(folder):
        if path == folder or _may_be_lent(status):
            os.chown(path, ACCOUNT, ACCOUNT, follow_symlinks=False)


def _may_be_lent(status: os.stat_result) -> bool:
    is_own = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
    return is_own and bool(status.st_mode & stat.S_IROTH)


def _take_back(folder: Path) -> None:
    """Own all again. A link that the account made would lead root's later steps to a file of its choice."""
    for path, status in list(_below(folder)):
        if status.st_uid != ACCOUNT:
            continue
        if stat.S_ISLNK(status.st_mode):
            path.unlink()
        else:
            os.chown(path, 0, 0, follow_symlinks=False)


def open_pipe(end: int) -> None:
    """Let the account open a pipe by its name in /proc, as QEMU does for /dev/stdout."""
    if os.geteuid() == 0:
        os.fchown(end, ACCOUNT, ACCOUNT)


def nodes(devices: Sequence[str]) -> dict[str, Path]:
    """For each device a node that the account may open: the machine's own, or one that belongs to the account."""
    return {name: _node(Path(name)) for name in devices}


def _node(device: Path) -> Path:
    status = device.stat()
    if status.st_mode & FOR_ALL == FOR_ALL:
        return device
    # No user but root reaches it here.
    node = paths.cache() / "devices" / device.name
    if node.exists() and (node.stat().st_rdev, node.stat().st_uid) == (status.st_rdev, ACCOUNT):
        return node
    node.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = node.with_name(f"{node.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    try:
        os.mknod(new, stat.S_IFCHR | 0o600, status.st_rdev)
    except PermissionError:
        return device
    os.chown(new, ACCOUNT, ACCOUNT)
    new.rename(node)
    return node
