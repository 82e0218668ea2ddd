"""The serial line of a machine: what it printed, what to wait for, what to type.

    child's stdout --> reader thread --> raw log file, as it comes
                                    \\-> plain text (no escape sequences) <-- wait_for(), tail()
    send(), press(), type_echoed() --> child's stdin

Escape sequences as in ECMA-48: CSI, OSC and the two-byte kind.
"""

import os
import re
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import IO

from hostwright.base.errors import UserError
from hostwright.base.times import limit

TAIL_LINES = 30
ECHO_TIMEOUT_S = limit(20.0)
QUIET_S = 0.05

# A move of the cursor to another place begins a new line of plain text, or a menu would be one endless line.
_MOVE = re.compile(r"\x1b\[[0-9;]*[Hf]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
# The beginning of a sequence whose end has not come yet.
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*|[ -/]*)\Z")
_CONTROL = re.compile(r"[\x00-\x07\x0b-\x1a\x1c-\x1f\x7f]")


class ConsoleError(UserError):
    """The machine did not say what was waited for; the message ends with the last lines that it did say."""

    def __init__(self, what: str, tail: str) -> None:
        super().__init__(f"{what}; the console's last lines:\n{tail}")
        self.what = what
        self.last_line = tail.splitlines()[-1].strip() if tail else "it said nothing"


class TimedOutError(ConsoleError):
    """The time was over."""


class EndedError(ConsoleError):
    """The machine ended first."""


class StoppedError(ConsoleError):
    """The machine said something after which waiting is in vain, such as a kernel panic."""


class Plain:
    """Turns the bytes of a terminal into text, chunk by chunk: a sequence cut in two is held back."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The text of the next chunk."""
        text = self._held + data.decode("ascii", errors="replace")
        cut = _UNFINISHED.search(text)
        self._held = text[cut.start() :] if cut else ""
        return plain(text[: cut.start()] if cut else text)


def plain(text: str) -> str:
    """`text` without escape sequences and control characters but tab, backspace and newline."""
    return _CONTROL.sub("", _ESCAPE.sub("", _MOVE.sub("\n", text)))


def last_lines(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a console's text that hold anything, indented for display."""
    full = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in full[-lines:])


class Console:
    """One serial line. Waiting goes forward only: each `wait_for` looks behind the previous match."""

    def __init__(self, output: IO[bytes], keyboard: IO[bytes], log: Path) -> None:
        # Its own descriptor: the caller may close the other while the reader still waits.
        self._output, self._keyboard = os.dup(output.fileno()), keyboard
        self._text = ""
        self._at = 0
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All that came so far."""
        with self._changed:
            return self._text

    @property
    def has_ended(self) -> bool:
        """Whether the machine has closed its side."""
        with self._changed:
            return self._ended

    def wait_for(self, pattern: str, timeout_s: float, stop: str = "") -> re.Match[str]:
        """Wait until `pattern` comes; raises a ConsoleError when time or machine end, or `stop` comes before it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (found := re.search(pattern, self._text[self._at :])):
                self._refuse(pattern, stop)
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise TimedOutError(f"no '{pattern}' within {timeout_s:g} s", last_lines(self._text))
            self._at += found.end()
            return found

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until the machine closes its side; raises TimedOutError."""
        self._reader.join(timeout_s)
        if self._reader.is_alive():
            raise TimedOutError(f"the machine did not end within {timeout_s:g} s", last_lines(self.text))

    def send(self, keys: str) -> None:
        """Press keys; raises EndedError when the machine has ended."""
        try:
            # Past the file's buffer: what could not be written would come up again when the file is closed.
            os.write(self._keyboard.fileno(), keys.encode("ascii"))
        except OSError:
            raise EndedError("the machine ended before it could be typed to", last_lines(self.text)) from None

    def press(self, key: str, echo: str) -> None:
        """Press one key and wait for what it makes the machine print, to the end of it."""
        self._press(key, echo)
        self.settle()

    def type_echoed(self, line: str) -> None:
        """Type `line` key by key, each after the echo of the one before.

        Under UEFI both the firmware and the boot loader read and echo this line: keys sent in one go would come
        to the boot loader out of order.
        """
        for before, key in pairwise(("", *line)):
            if key == before:
                # The second echo of the first would pass for that of the second.
                self.settle()
            self._press(key, re.escape(key))
        self.settle()

    def settle(self, quiet_s: float = QUIET_S) -> None:
        """Wait until nothing has come for `quiet_s`; what came until then is not looked at again."""
        with self._changed:
            while self._changed.wait(quiet_s) and not self._ended:
                pass
            self._at = len(self._text)

    def _press(self, key: str, echo: str) -> None:
        self.send(key)
        self.wait_for(echo, ECHO_TIMEOUT_S)

    def _refuse(self, pattern: str, stop: str) -> None:
        """Raise when there is no use in waiting any longer."""
        if stop and (found := re.search(stop, self._text[self._at :])):
            raise StoppedError(f"'{found.group()}' came instead of '{pattern}'", last_lines(self._text))
        if self._ended:
            raise EndedError(f"the machine ended before '{pattern}' came", last_lines(self._text))

    def _read(self, log: Path) -> None:
        screen = Plain()
        with log.open("wb", buffering=0) as raw:
            while data := os.read(self._output, 65536):
                raw.write(data)
                self._add(screen.feed(data))
        os.close(self._output)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _add(self, text: str) -> None:
        with self._changed:
            self._text += text
            self._changed.notify_all()
