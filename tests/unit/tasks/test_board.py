"""The live line fits the terminal."""

import os

import pytest

from hostwright.tasks import board, reporter


@pytest.mark.parametrize("width", [20, 60, 200])
def test_the_live_line_is_shorter_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setattr(board, "columns", lambda: width)
    shown = board.Board()
    shown._live = True
    shown._show("x" * 500)
    assert len(capsys.readouterr().err) == width - 1


def test_the_width_is_that_of_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.fileno", lambda: 2, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((40 + fd, 24)))
    assert board.columns() == 42


def test_without_a_terminal_there_is_a_width() -> None:
    assert board.columns() > 0


def test_what_is_said_does_not_rule_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = board.Board()
    shown.say("FAILED  fetch\nHTTP 500 \x1b]0;owned\x07 reason\r")
    shown.note("fetch", "part\x1b[2J\nof it")
    assert capsys.readouterr().err == "FAILED  fetch\nHTTP 500 \\x1b]0;owned\\x07 reason\\r\n"
    assert shown.notes["fetch"] == "part\\x1b[2J of it"
    with pytest.raises(SystemExit):
        reporter.fail_cleanly("host.toml: \x9b31m")
    assert capsys.readouterr().err == "error: host.toml: \\x9b31m\n"
