"""What keeps the host going without a person: a wrong clock, a full disk, a panic, and an init that hangs."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import lab
from hostwright.proof.boot import MENU_LIMIT_S, NO_BOOT, choose, copy_image, fill, find_inputs
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.proof.login_rows import HOST
from hostwright.vm import login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.console import Console
from tests.boot.machines import ANSWER_LIMIT_S, said, wait_for

# Seconds.
END_LIMIT_S = 180.0
AHEAD_S = 3600
# From 1900, where NTP begins, to 1970 (RFC 5905, section 6).
NTP_EPOCH_S = 2_208_988_800
# The machine's own loopback, as QEMU's user network shows it to a guest.
BUILD_MACHINE = "10.0.2.2"
CONTROLLER = ("-device", "ipmi-bmc-sim,id=bmc", "-device", "isa-ipmi-kcs,bmc=bmc")


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@dataclass
class Clock:
    """An NTP server on a port of loopback; `now` is the time that it tells."""

    port: int
    now: Callable[[], float]


def answer(request: bytes, now: float) -> bytes:
    """A server's packet (RFC 5905, figure 8): stratum 1, no error, the client's time of sending given back."""
    stamp = struct.pack(">Q", int((now + NTP_EPOCH_S) * (1 << 32)))
    head = struct.pack(">BBbbII4s", 0x24, 1, 6, -20, 0, 0, b"TEST")
    return head + stamp + request[40:48] + stamp + stamp


@contextmanager
def clock(now: Callable[[], float]) -> Iterator[Clock]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
        place.bind(("127.0.0.1", 0))
        place.settimeout(0.2)
        end = threading.Event()

        def serve() -> None:
            while not end.is_set():
                try:
                    request, client = place.recvfrom(1024)
                except TimeoutError:
                    continue
                place.sendto(answer(request, now()), client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Clock(place.getsockname()[1], now)
        end.set()
        thread.join()


@contextmanager
def booted(host: Machine, folder: Path, key: login.Key, name: str) -> Iterator[tuple[Console, login.Session]]:
    """The host with a management controller and an open network; a login as root."""
    inputs = find_inputs(host, paths.HOST_IMAGE)
    port = login.free_port()
    planned = lab.plan_boot(host, Firmware.UEFI, Accelerator.TCG, port)
    argv = (*(word.replace(",restrict=on", "") for word in planned), *CONTROLLER)
    assert argv[: len(planned)] != planned
    job = replace(process.plan_job(argv, folder, inputs.tools, Accelerator.TCG), network=True)
    with process.running(job, folder / f"{name}.log") as (console, _):
        console.wait_for("executed automatically in", MENU_LIMIT_S, stop=NO_BOOT)
        choose(console, HOST)
        with login.connect("127.0.0.1", port, "root", key.private, LOGIN_LIMIT_S) as shell:
            yield console, shell


@pytest.fixture(scope="module")
def folder(host: Machine, key: login.Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("left-alone")
    inputs = find_inputs(host, paths.HOST_IMAGE)
    fill(place, inputs)
    copy_image(place, inputs, key)
    return place


@pytest.fixture(scope="module")
def key() -> login.Key:
    return login.generate_key()


def test_a_year_in_one_boot(host: Machine, folder: Path, key: login.Key) -> None:
    """The disk is only read: what the next boot finds of this one is in the firmware's variables."""
    with booted(host, folder, key, "panic") as (console, shell):
        said(shell, "test -c /dev/ipmi0 && ipmitool mc info")
        assert said(shell, "cat /sys/class/watchdog/watchdog0/state").strip() == "active"
        check_time(shell)
        check_full_disk(shell)
        # Not before the answer to this command is out.
        shell.run("hostwright-selfcheck --quiet >/dev/console")
        shell.run("(sleep 2; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
        console.wait_for("Kernel panic", END_LIMIT_S)
        # The kernel restarts the machine, and a restart ends QEMU.
        console.wait_for_end(END_LIMIT_S)


def check_time(shell: login.Session) -> None:
    """A clock that is an hour slow is set by the server's answer, and nothing of chronyd's listens."""
    started, base = time.monotonic(), float(said(shell, "date +%s"))
    with clock(lambda: base + AHEAD_S + time.monotonic() - started) as server:
        said(shell, f"echo 'server {BUILD_MACHINE} port {server.port} iburst' >>/etc/chrony.conf")
        said(shell, "/etc/rc.d/init.d/time start")
        wait_for(shell, f"[ $(date +%s) -gt {base + AHEAD_S:.0f} ]")
        wait_for(shell, "hostwright-selfcheck --json | grep -A 3 '\"service:time\"' | grep Normal")
    assert said(shell, "ps -o user= -C chronyd").split() == ["chrony"]
    assert "chronyd" not in said(shell, "ss -Hltunp")


def check_full_disk(shell: login.Session) -> None:
    """Nothing more fits into /var: a login works, the log goes on, the rotation empties it."""
    shell.run(
        "head -c 5M /dev/zero >/var/log/messages; cat /dev/zero >/var/full 2>/dev/null; sync", ANSWER_LIMIT_S
    )
    assert int(said(shell, "df --output=avail /var | tail -n 1")) == 0
    said(shell, "/usr/libexec/hostwright/rotate-logs; [ $(stat -c %s /var/log/messages) -lt 100000 ]")
    said(shell, "/etc/rc.d/init.d/sshd stop; /etc/rc.d/init.d/sshd start")
    said(shell, "rm /var/full")


def test_the_last_words_are_kept_and_a_hung_init_resets_the_machine(
    host: Machine, folder: Path, key: login.Key
) -> None:
    with booted(host, folder, key, "hung") as (console, shell):
        assert "sysrq" in said(shell, "cat /var/log/pstore/*")
        assert said(shell, "ls -A /sys/fs/pstore") == ""
        script = "/etc/rc.d/init.d/watchdog"
        said(shell, f"sed -i 's/^limit_s=.*/limit_s=12/' {script} && {script} stop && {script} start")
        assert said(shell, "cat /sys/class/watchdog/watchdog0/timeout").strip() == "12"
        # It is fed: the machine outlives its limit.
        said(shell, "sleep 30")
        cgroup = "/sys/fs/cgroup/hung"
        said(shell, f"mkdir {cgroup} && echo 1 >{cgroup}/cgroup.procs && echo 1 >{cgroup}/cgroup.freeze")
        console.wait_for("the watchdog is not fed", END_LIMIT_S)
        console.wait_for_end(END_LIMIT_S)
        assert "reboot: " not in console.text
