"""One pool of jobs for doit's tasks and for every make below them.

A FIFO holds one token per processor (GNU make's job server, `--jobserver-auth=fifo:`). A task takes a token before
it starts work. Its make takes further ones. So all processors are busy, but never overloaded.
"""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostwright.base import paths
from hostwright.base.files import remove

_lock = threading.Lock()
_opened: list[tuple[Path, int]] = []


def jobs() -> int:
    """The number of processors to use: HOSTWRIGHT_JOBS, otherwise all that this process may use."""
    named = os.environ.get("HOSTWRIGHT_JOBS", "")
    return int(named) if named.isdigit() and int(named) else len(os.sched_getaffinity(0))


def folder() -> Path:
    """The folder that contains the FIFO `pool`; the first call creates it with its tokens."""
    return _open()[0]


@contextmanager
def token() -> Iterator[None]:
    """Hold one token of the pool during the `with` block."""
    _, descriptor = _open()
    got = os.read(descriptor, 1)
    try:
        yield
    finally:
        os.write(descriptor, got)


def close() -> None:
    """Remove the pool."""
    with _lock:
        while _opened:
            place, descriptor = _opened.pop()
            os.close(descriptor)
            remove(place)


def _remove_leftovers(base: Path) -> None:
    """Remove the pools of killed runs."""
    for place in base.glob("jobs-*-*"):
        if not Path("/proc", place.name.split("-")[1]).exists():
            remove(place)


def _open() -> tuple[Path, int]:
    with _lock:
        if not _opened:
            base = paths.cache() / "run"
            base.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(base)
            place = Path(tempfile.mkdtemp(prefix=f"jobs-{os.getpid()}-", dir=base))
            os.mkfifo(place / "pool")
            # Opened in both directions, so that neither end ever sees the FIFO closed.
            descriptor = os.open(place / "pool", os.O_RDWR)
            os.write(descriptor, b"+" * jobs())
            _opened.append((place, descriptor))
        return _opened[0]
