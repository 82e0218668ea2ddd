"""The serial line: what is understood of it, and what happens when nothing more comes."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from hostwright.base import run
from hostwright.vm.console import Console, EndedError, Plain, StoppedError, TimedOutError, last_lines, plain


@dataclass
class Line:
    """A console and the machine's end of it."""

    console: Console
    machine: IO[bytes]
    keys: IO[bytes]
    log: Path

    def say(self, text: str) -> None:
        self.machine.write(text.encode())
        self.machine.flush()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    out_read, out_write = os.pipe()
    in_read, in_write = os.pipe()
    with os.fdopen(out_read, "rb") as output, os.fdopen(in_write, "wb") as keyboard:
        log = tmp_path / "console.log"
        made = Line(Console(output, keyboard, log), os.fdopen(out_write, "wb"), os.fdopen(in_read, "rb"), log)
        with made.keys:
            yield made
            made.machine.close()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain\r\n", "plain\n"),
        ("\x1b[1;32mgreen\x1b[m", "green"),
        ("\x1b[2J\x1b[01;01Hmenu\x1b[5;3H*entry", "\nmenu\n*entry"),
        ("\x1b[=3h\x1b[?25lcursor", "cursor"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b(Bset", "set"),
        ("bell\x07 nul\0 tab\t.", "bell nul tab\t."),
    ],
)
def test_terminal_becomes_text(raw: str, text: str) -> None:
    assert plain(raw) == text


@pytest.mark.parametrize("cut", range(1, 24))
def test_sequence_may_be_cut_anywhere(cut: int) -> None:
    raw = b"one\x1b[01;31mtwo\x1b[5;3H3\x1b(B."
    screen = Plain()
    assert screen.feed(raw[:cut]) + screen.feed(raw[cut:]) == "onetwo\n3."


def test_bytes_outside_ascii_do_no_harm() -> None:
    assert Plain().feed(b"\xda\xc4grub>") == "\ufffd\ufffdgrub>"


def test_wait_for_what_is_there_and_for_what_comes(line: Line) -> None:
    line.say("first\n")
    assert line.console.wait_for("fi(rst)", 5)[1] == "rst"
    threading.Timer(0.05, line.say, ["second\n"]).start()
    line.console.wait_for("second", 5)


def test_waiting_goes_forward_only(line: Line) -> None:
    line.say("grub> \n")
    line.console.wait_for("grub>", 5)
    with pytest.raises(TimedOutError):
        line.console.wait_for("grub>", 0.05)


def test_time_out_shows_the_last_lines(line: Line) -> None:
    line.say("".join(f"line {number}\n" for number in range(100)))
    line.console.wait_for("line 99", 5)
    with pytest.raises(TimedOutError) as caught:
        line.console.wait_for("login:", 0.05)
    assert "no 'login:' within 0.05 s" in caught.value.message
    assert "line 70\n" in caught.value.message and "line 69\n" not in caught.value.message
    assert caught.value.last_line == "line 99"


def test_what_ends_the_hope_ends_the_waiting(line: Line) -> None:
    line.say("Kernel panic - not syncing: no root\n")
    started = time.monotonic()
    with pytest.raises(StoppedError, match="no root' came instead of 'login:'"):
        line.console.wait_for("login:", 60, stop="Kernel panic.*")
    assert time.monotonic() - started < 30


def test_end_of_the_machine_ends_the_waiting(line: Line) -> None:
    line.say("bye\n")
    line.machine.close()
    with pytest.raises(EndedError, match="ended before 'login:' came"):
        line.console.wait_for("login:", 60)
    line.console.wait_for_end(5)
    assert line.console.has_ended


def test_machine_that_does_not_end(line: Line) -> None:
    with pytest.raises(TimedOutError, match="did not end within"):
        line.console.wait_for_end(0.05)


def test_last_words_are_still_found_after_the_end(line: Line) -> None:
    line.say("Power down")
    line.machine.close()
    line.console.wait_for_end(5)
    line.console.wait_for("Power down", 5)


def test_log_is_complete_and_raw_at_any_time(line: Line) -> None:
    line.say("\x1b[1mraw\x1b[m\r\n")
    line.console.wait_for("raw", 5)
    assert line.log.read_bytes() == b"\x1b[1mraw\x1b[m\r\n"


def echo(line: Line, keys: int, answer: Callable[[str], str]) -> threading.Thread:
    """Answer that many keys; those that come together, together."""

    def serve() -> None:
        left = keys
        while left:
            # Long enough for a key that does not wait for its turn.
            time.sleep(0.01)
            came = os.read(line.keys.fileno(), left).decode()
            left -= len(came)
            line.say(answer(came))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("times", [1, 2])
def test_keys_wait_for_their_echo(line: Line, times: int) -> None:
    """UEFI may echo every key twice: firmware and boot loader speak on the same line."""
    came = []

    def answer(keys: str) -> str:
        came.append(keys)
        return keys * times

    thread = echo(line, 6, answer)
    line.console.type_echoed("passed")
    thread.join()
    assert came == list("passed")


def test_key_without_an_echo(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostwright.vm.console.ECHO_TIMEOUT_S", 0.05)
    thread = echo(line, 2, lambda key: "" if key == "b" else key)
    with pytest.raises(TimedOutError):
        line.console.type_echoed("abc")
    thread.join()


def test_typing_to_a_machine_that_has_ended(tmp_path: Path) -> None:
    child = run.open_pipe([sys.executable, "-c", ""])
    assert child.stdout and child.stdin
    console = Console(child.stdout, child.stdin, tmp_path / "log")
    console.wait_for_end(30)
    child.wait()
    with pytest.raises(EndedError):
        console.send("hello\n")
    run.close_pipe(child)


def test_settle_passes_over_what_came(line: Line) -> None:
    line.say("menu menu menu")
    line.console.wait_for("menu", 5)
    line.console.settle()
    with pytest.raises(TimedOutError):
        line.console.wait_for("menu", 0.05)


def test_last_lines_leave_out_empty_ones() -> None:
    assert last_lines("a\n\n  \nb  \nc\n", 2) == "    b\n    c"
