"""Signals that end a run. A handler does nothing but wake a thread, so that it cannot meet a lock of its own.

The first signal lets the run leave in order. The second ends it at once, whatever the first one waits for.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from hostwright.base import run

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def watch(leave: Callable[[int], None]) -> None:
    """From now on, call `leave` with the number of the first signal of `ENDING`, in a thread of its own.

    Call this from the main thread (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in ENDING:
        signal.signal(number, _wake)
    threading.Thread(target=_wait, args=(reader, leave), daemon=True).start()


def _wake(_number: int, _frame: FrameType | None) -> None:
    """The interpreter has written the number to the pipe before it calls this."""


def _wait(reader: int, leave: Callable[[int], None]) -> None:
    first = _next(reader)
    threading.Thread(target=leave, args=(first,), daemon=True).start()
    second = _next(reader)
    run.kill_now()
    os._exit(128 + second)


def _next(reader: int) -> int:
    while True:
        number = os.read(reader, 1)[0]
        if number in ENDING:
            return number
