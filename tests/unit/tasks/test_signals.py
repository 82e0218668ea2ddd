"""The signals that end a run: the first in order, the second at once, and nothing that a child started stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, threading, time
from hostwright.base import run
from hostwright.tasks import signals

lock = threading.Lock()

def leave(number):
    run.end_for_good()
    if sys.argv[2] == "stuck":
        lock.acquire()
    os._exit(128 + number)

signals.watch(leave)
argv = ["sh", "-c", f"sleep 60 & echo $! >{sys.argv[1]}; wait"]
threading.Thread(target=run.stream, args=(argv, run.Path("/dev/null")), daemon=True).start()
with lock:
    time.sleep(60)
"""


def start(pid: Path, how: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(pid), how])
    while not (pid.exists() and pid.read_text().strip()):
        assert child.poll() is None
        time.sleep(0.01)
    return child


def is_gone(pid: Path) -> bool:
    """Whether a killed process has left within five seconds."""
    status = Path("/proc", pid.read_text().strip(), "status")
    for _ in range(500):
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_lets_the_run_leave(number: int, tmp_path: Path) -> None:
    child = start(tmp_path / "pid", "free")
    os.kill(child.pid, number)
    assert child.wait(10) == 128 + number
    assert is_gone(tmp_path / "pid")


@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_the_second_signal_ends_a_run_that_cannot_leave(gap: float, tmp_path: Path) -> None:
    child = start(tmp_path / "pid", "stuck")
    os.kill(child.pid, signal.SIGHUP)
    time.sleep(gap)
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(10) in (128 + signal.SIGHUP, 128 + signal.SIGTERM)
    assert is_gone(tmp_path / "pid")
