"""QEMU's monitor, spoken to for real: a machine without a disk is enough."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.vm.monitor import Monitor, MonitorError
from tests.boot.machines import started


@contextmanager
def watched(folder: Path) -> Iterator[Monitor]:
    with started(folder), Monitor(folder / "qmp", limit_s=20) as monitor:
        yield monitor


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    with watched(tmp_path) as connected:
        yield connected


def test_it_answers(monitor: Monitor) -> None:
    assert monitor.execute("query-status") == {"running": True, "status": "running"}
    assert monitor.is_alive


def test_a_refusal_is_told_in_qemus_words(monitor: Monitor) -> None:
    with pytest.raises(UserError, match="QEMU refused device_del: Device 'no-such' not found"):
        monitor.execute("device_del", id="no-such")
    with pytest.raises(UserError, match="QEMU refused dance: The command dance has not been found"):
        monitor.execute("dance")
    assert monitor.is_alive


def test_an_event_is_handed_out_once(monitor: Monitor) -> None:
    monitor.execute("stop")
    monitor.execute("cont")
    monitor.execute("stop")
    first, second = monitor.wait_event("STOP", 5), monitor.wait_event("STOP", 5)
    assert first.seconds < second.seconds <= time.time() + 1
    assert monitor.wait_event("RESUME", 5).name == "RESUME"
    with pytest.raises(MonitorError, match=r"QEMU reported no STOP within 0\.2 s"):
        monitor.wait_event("STOP", 0.2)
    assert [event.name for event in monitor.events()] == ["STOP", "RESUME", "STOP"]


def test_several_threads_may_ask_at_once(monitor: Monitor) -> None:
    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(lambda _: monitor.execute("query-name"), range(40)))
    assert names == [{"name": "watched"}] * 40


def test_a_waiting_thread_gets_the_event(monitor: Monitor) -> None:
    later = threading.Timer(0.3, monitor.execute, ["system_reset"])
    later.start()
    assert monitor.wait_event("RESET", 10).data["guest"] is False
    later.join()


def test_keys_reach_the_machine(monitor: Monitor) -> None:
    monitor.send_keys(["a", "ctrl-alt-f4", "ret"])
    with pytest.raises(UserError, match=r"QEMU refused send-key: .*'shfit'"):
        monitor.send_keys(["shfit-a"])


def test_the_power_button_is_reported(monitor: Monitor) -> None:
    monitor.powerdown()
    assert monitor.wait_event("POWERDOWN", 5)


def test_quit_ends_qemu_and_says_so(monitor: Monitor) -> None:
    monitor.quit()
    monitor.wait_end(10)
    assert not monitor.is_alive
    assert monitor.wait_event("SHUTDOWN", 0).data["reason"] == "host-qmp-quit"
    monitor.quit()


def test_a_killed_qemu_wakes_everyone(tmp_path: Path) -> None:
    with started(tmp_path) as qemu, Monitor(tmp_path / "qmp", limit_s=20) as monitor:
        killer = threading.Timer(0.5, qemu.kill)
        killer.start()
        with pytest.raises(MonitorError, match="QEMU ended before it reported NEVER"):
            monitor.wait_event("NEVER", 30)
        with pytest.raises(MonitorError, match="QEMU ended before it answered query-status"):
            monitor.execute("query-status")
        killer.join()


def test_a_closed_connection_leaves_qemu_running(tmp_path: Path) -> None:
    with started(tmp_path):
        first = Monitor(tmp_path / "qmp", limit_s=20)
        first.close()
        first.close()
        with pytest.raises(MonitorError, match="was closed"):
            first.execute("query-status")
        with Monitor(tmp_path / "qmp") as second:
            assert second.execute("query-name") == {"name": "watched"}


def test_a_socket_with_a_long_path_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    with watched(deep) as monitor:
        assert monitor.is_alive
