"""QEMU's screen, read over VNC for real: a machine without a disk shows its firmware's words."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostwright.vm import pictures
from hostwright.vm.monitor import Monitor
from hostwright.vm.screen import Screen, VncError
from tests.boot.machines import FOLDER, started

LIMIT_S = 30.0
# VGA text mode: 80x25 cells of 9x16 pixels.
TEXT_SIZE = (720, 400)


@contextmanager
def shown(folder: Path, vnc: str, *options: str) -> Iterator[Monitor]:
    with (
        started(folder, "-device", "VGA", "-vnc", vnc, *options),
        Monitor(folder / "qmp", limit_s=20) as monitor,
    ):
        yield monitor


def loopback(monitor: Monitor) -> tuple[str, int]:
    answer = monitor.execute("query-vnc")
    assert isinstance(answer, dict)
    return "127.0.0.1", int(answer["service"])


def find_last_child(pid: int) -> int:
    """The process at the end of a line of children (proc(5)); the sandbox starts QEMU there."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return find_last_child(int(children[0])) if children else pid


def wait_for_text(screen: Screen) -> pictures.Frame:
    """The first picture of the firmware; before that, QEMU says on one of its own that the display is not ready."""
    deadline = time.monotonic() + LIMIT_S
    while pictures.is_blank(frame := screen.capture()) or (frame.width, frame.height) != TEXT_SIZE:
        assert time.monotonic() < deadline, "the firmware shows nothing"
        time.sleep(0.1)
    return frame


def test_the_firmware_is_seen_and_kept(tmp_path: Path) -> None:
    with shown(tmp_path, "127.0.0.1:0,to=99,share=force-shared") as monitor:
        frame = wait_for_text(Screen(loopback(monitor)))
    pictures.write_png(frame, tmp_path / "shot.png")
    assert pictures.read(tmp_path / "shot.png") == frame
    assert pictures.red_share(frame) == 0


def test_a_unix_socket_does_as_well(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    with shown(deep, f"unix:{FOLDER}/vnc"):
        assert not pictures.is_blank(wait_for_text(Screen(deep / "vnc")))


def test_many_may_watch_at_the_same_time(tmp_path: Path) -> None:
    with shown(tmp_path, f"unix:{FOLDER}/vnc,share=force-shared") as monitor:
        screen = Screen(tmp_path / "vnc")
        wait_for_text(screen)
        monitor.execute("stop")
        with ThreadPoolExecutor(4) as watchers:
            seen = list(watchers.map(lambda _: screen.capture(), range(12)))
        assert all(pictures.difference(seen[0], frame) == 0 for frame in seen)


@pytest.mark.filterwarnings("ignore:TripleDES")
def test_a_password_is_asked_for(tmp_path: Path) -> None:
    secret = ("-object", "secret,id=word,data=hunter2")
    with shown(tmp_path, f"unix:{FOLDER}/vnc,password-secret=word", *secret):
        socket = tmp_path / "vnc"
        assert wait_for_text(Screen(socket, "hunter2"))
        with pytest.raises(VncError, match="password required"):
            Screen(socket).capture()
        with pytest.raises(VncError, match=r"[Aa]uthentication failed"):
            Screen(socket, "wrong").capture()


def test_a_frozen_qemu_does_not_hang_us(tmp_path: Path) -> None:
    with started(tmp_path, "-device", "VGA", "-vnc", f"unix:{FOLDER}/vnc") as sandboxed:
        Monitor(tmp_path / "qmp", limit_s=20).close()
        screen = Screen(tmp_path / "vnc")
        before = wait_for_text(screen)
        qemu = find_last_child(sandboxed.pid)
        os.kill(qemu, signal.SIGSTOP)
        started_at = time.monotonic()
        with pytest.raises(VncError, match=r"gave no picture within 0\.5 s"):
            screen.capture(limit_s=0.5)
        assert time.monotonic() - started_at < 3
        os.kill(qemu, signal.SIGCONT)
        assert pictures.difference(screen.capture(), before) < 0.01


def test_a_killed_qemu_is_told(tmp_path: Path) -> None:
    with shown(tmp_path, f"unix:{FOLDER}/vnc") as monitor:
        screen = Screen(tmp_path / "vnc")
        wait_for_text(screen)
        threading.Timer(0.2, monitor.quit).start()
        with pytest.raises(VncError, match=r"no picture from the VNC server at .*/vnc: "):
            for _ in range(1000):
                screen.capture()
