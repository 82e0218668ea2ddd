"""The monitor's connection where QEMU does not play along; with a real one see tests/boot/test_monitor.py."""

import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright import files, qmp
from hostwright.qmp import Monitor, MonitorError

KEYS = st.from_regex(r"[a-z0-9_]+", fullmatch=True)


@given(st.lists(KEYS, min_size=1))
def test_a_chord_is_its_keys(keys: list[str]) -> None:
    assert [key["data"] for key in qmp.plan_chord("-".join(keys))] == keys


def test_no_socket_is_told_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(MonitorError, match=r"no QEMU monitor at .*/qmp within 0\.3 s: No such file or dir"):
        Monitor(tmp_path / "qmp", limit_s=0.3)
    assert time.monotonic() - started < 2


def test_a_left_socket_is_no_monitor(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "qmp"))
    with pytest.raises(MonitorError, match="Connection refused"):
        Monitor(tmp_path / "qmp", limit_s=0.2)


def test_a_frozen_qemu_does_not_hang_us(tmp_path: Path) -> None:
    before = threading.active_count()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "qmp"))
        silent.listen()
        with pytest.raises(MonitorError, match="it accepts and says nothing"):
            Monitor(tmp_path / "qmp", limit_s=0.3)
    assert threading.active_count() == before


def test_a_name_is_short_enough_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    with files.short_name(deep / "socket") as name, socket.socket(socket.AF_UNIX) as listener:
        assert len(name) < 108
        listener.bind(name)
    assert (deep / "socket").is_socket()
    with files.short_name(tmp_path / "socket") as name:
        assert name == str(tmp_path / "socket")
