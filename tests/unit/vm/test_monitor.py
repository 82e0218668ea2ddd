"""The monitor's connection where QEMU does not play along; with a real one see tests/boot/test_monitor.py."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostwright.base import files
from hostwright.vm.monitor import Monitor, MonitorError, plan_chord

KEYS = st.from_regex(r"[a-z0-9_]+", fullmatch=True)


@given(st.lists(KEYS, min_size=1))
def test_a_chord_is_its_keys(keys: list[str]) -> None:
    assert [key["data"] for key in plan_chord("-".join(keys))] == keys


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


@contextmanager
def qemu(folder: Path, words: Callable[[socket.socket], None]) -> Iterator[Path]:
    """Something that greets like QEMU, says `words` and ends."""

    def speak() -> None:
        client, _ = listener.accept()
        with client:
            version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
            tell(client, {"QMP": {"version": version, "capabilities": []}})
            assert b"qmp_capabilities" in client.recv(4096)
            tell(client, {"return": {}})
            words(client)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "qmp"))
        listener.listen()
        threading.Thread(target=speak, daemon=True).start()
        yield folder / "qmp"


def tell(client: socket.socket, *messages: object) -> None:
    client.sendall(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))


def test_the_last_words_are_heard(tmp_path: Path) -> None:
    """All events of a QEMU that says much and ends at once."""

    def words(client: socket.socket) -> None:
        assert b"system_reset" in client.recv(4096)
        stamp = {"seconds": 1, "microseconds": 500000}
        tell(client, *({"event": "WORD", "data": {"number": n}, "timestamp": stamp} for n in range(200)))

    with qemu(tmp_path, words) as path, Monitor(path) as monitor:
        with pytest.raises(MonitorError, match="QEMU ended before it answered system_reset"):
            monitor.execute("system_reset")
        monitor.wait_end(5)
        assert [event.data["number"] for event in monitor.events()] == list(range(200))
        assert monitor.wait_event("WORD", 0).seconds == 1.5


def test_an_end_at_once_is_told(tmp_path: Path) -> None:
    with qemu(tmp_path, lambda client: None) as path, pytest.raises(MonitorError, match="QEMU ended"):
        Monitor(path).wait_event("NEVER", 5)


def test_a_name_is_short_enough_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    with files.short_name(deep / "socket") as name, socket.socket(socket.AF_UNIX) as listener:
        assert len(name) < 108
        listener.bind(name)
    assert (deep / "socket").is_socket()
    with files.short_name(tmp_path / "socket") as name:
        assert name == str(tmp_path / "socket")
