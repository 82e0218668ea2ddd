"""What a struck run may leave behind: processes, mounts, locks that are held, and files that no run will remove."""

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hostwright.base import files
from hostwright.base.times import limit

# Seconds after which a struck run and all that it started must be gone.
GONE_LIMIT_S = limit(20.0)
# include/uapi/linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
# So deep below the cache and dist/ lie the names that runs give.
_DEPTH = 2


def adopt_orphans() -> None:
    """From now on, what outlives its parent becomes a child of this process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def processes() -> list[str]:
    """The names of what a struck run started and left, once the time to go is over."""
    end = time.monotonic() + GONE_LIMIT_S
    while (left := _orphans()) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _orphans() -> list[str]:
    """The names of this process's children that run; those that have ended are taken off the kernel's list."""
    own, names = str(os.getpid()), []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ChildProcessError):
            # The name may hold blanks and brackets (proc_pid_stat(5)).
            head, _, rest = status.read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if parent == own and state == "Z":
                os.waitpid(int(status.parent.name), os.WNOHANG)
            elif parent == own:
                names.append(head.partition("(")[2])
    return names


def mounts() -> set[str]:
    """The lines of this machine's mounts."""
    return set(Path("/proc/self/mounts").read_text().splitlines())


def held_locks(folder: Path) -> list[str]:
    """The lock files below a folder that a process still holds."""
    return [str(file) for file in _found(folder) if file.name.endswith(".lock") and not _is_free(file)]


def _is_free(file: Path) -> bool:
    with files.try_locked(file) as free:
        return free


def names(folder: Path) -> set[str]:
    """The names below a folder that a run may leave; a lock's file stays on purpose."""
    found = {str(file.relative_to(folder)) for file in _found(folder)}
    return {name for name in found if not name.endswith(".lock")}


def _found(folder: Path) -> Iterator[Path]:
    """What lies below a folder, `_DEPTH` levels deep; links are not followed."""
    level = [folder]
    for _ in range(_DEPTH):
        level = [
            one for place in level if not place.is_symlink() and place.is_dir() for one in place.iterdir()
        ]
        yield from level
