"""QEMU's screen: a machine without a disk shows its firmware's words, to us and to a real VNC client."""

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
from hostwright.vm.screen import FILE, Screen, ScreenError
from tests import vnc
from tests.boot.machines import FOLDER, started

LIMIT_S = 30.0
# VGA text mode: 80x25 cells of 9x16 pixels.
TEXT_SIZE = (720, 400)


@contextmanager
def shown(folder: Path, *options: str) -> Iterator[Screen]:
    with (
        started(folder, "-device", "VGA", *options),
        Monitor(folder / "qmp", limit_s=20) as monitor,
    ):
        yield Screen(monitor, folder, FOLDER)


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
    with shown(tmp_path) as screen:
        frame = wait_for_text(screen)
    pictures.write_png(frame, tmp_path / "shot.png")
    assert pictures.read(tmp_path / "shot.png") == frame
    assert pictures.red_share(frame) == 0
    assert not (tmp_path / FILE).exists()


def test_a_vnc_client_sees_the_same(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    with shown(deep, "-vnc", f"unix:{FOLDER}/vnc,share=force-shared") as screen:
        wait_for_text(screen)
        screen.monitor.execute("stop")
        ours = screen.capture()
        with ThreadPoolExecutor(2) as watchers:
            places = [tmp_path / "one", tmp_path / "other"]
            for place in places:
                place.mkdir()
            seen = list(watchers.map(lambda place: vnc.capture(deep / "vnc", place), places))
        assert seen == [ours, ours]


def test_a_vnc_client_needs_the_password(tmp_path: Path) -> None:
    secret = ("-object", "secret,id=word,data=hunter2")
    with shown(tmp_path, "-vnc", f"unix:{FOLDER}/vnc,password-secret=word", *secret) as screen:
        size = wait_for_text(screen)
        frame = vnc.capture(tmp_path / "vnc", tmp_path, "hunter2")
        assert (frame.width, frame.height) == (size.width, size.height)
        with pytest.raises(vnc.ClientError, match=r"[Aa]uthentication failed"):
            vnc.capture(tmp_path / "vnc", tmp_path, "wrong")


def test_a_machine_without_a_display_is_told(tmp_path: Path) -> None:
    with (
        started(tmp_path) as _,
        Monitor(tmp_path / "qmp", limit_s=20) as monitor,
        pytest.raises(ScreenError, match="no picture of the screen: QEMU refused screendump: "),
    ):
        Screen(monitor, tmp_path, FOLDER).capture()


def test_a_frozen_qemu_does_not_hang_us(tmp_path: Path) -> None:
    with (
        started(tmp_path, "-device", "VGA") as sandboxed,
        Monitor(tmp_path / "qmp", limit_s=20) as monitor,
    ):
        screen = Screen(monitor, tmp_path, FOLDER)
        before = wait_for_text(screen)
        qemu = find_last_child(sandboxed.pid)
        os.kill(qemu, signal.SIGSTOP)
        started_at = time.monotonic()
        with pytest.raises(ScreenError, match=r"QEMU did not answer within 0\.5 s: screendump"):
            screen.capture(limit_s=0.5)
        assert time.monotonic() - started_at < 3
        os.kill(qemu, signal.SIGCONT)
        assert pictures.difference(screen.capture(), before) < 0.01


def test_a_killed_qemu_is_told(tmp_path: Path) -> None:
    with shown(tmp_path) as screen:
        wait_for_text(screen)
        threading.Timer(0.2, screen.monitor.quit).start()
        with pytest.raises(ScreenError, match="no picture of the screen: "):
            for _ in range(1000):
                screen.capture()
