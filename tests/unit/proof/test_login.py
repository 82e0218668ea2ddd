"""The proof over ssh: the answers of the host and of the guest inside it, and the row that each fault turns red."""

import json
import os
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.machine.model import Bond, Bridge, Guest, Machine
from hostwright.proof import inner, lab, login_rows
from hostwright.proof.guest import Asker, Ports, plan, plan_extra, plan_picture
from hostwright.proof.inner import Report
from hostwright.proof.login import LIST_DRIVERS, find_smokes, parse_drivers, sample
from hostwright.proof.login_rows import GUEST_BOOT, HOST, UNMAPPED, Answer, Facts, GuestFacts
from hostwright.proof.verdict import Outcome
from hostwright.vm import guest_argv, login, pictures
from hostwright.vm.board import Accelerator

SAMPLES = ("a" * 64, "b" * 64)
FINE = Answer(0, "")
SSH = "tcp   LISTEN 0 128 0.0.0.0:22 0.0.0.0:*"
LSPCI = """\
00:01.0 VGA compatible controller [0300]: Device [1234:1111] (rev 02)
04:00.0 Non-Volatile memory controller [0108]: Device [1b36:0010] (rev 02)
05:00.0 Display controller [0380]: Device [1234:1111] (rev 02)
06:00.0 USB controller [0c03]: Device [1b36:000d] (rev 01)
"""
REPORT = Report(LSPCI, SAMPLES[0])
REFUSED = Answer(1, "FAIL interrupts are not remapped")
PORTS = """\
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state forwarding priority 32 cost 100
    hairpin off guard off root_block off learning on flood on isolated off locked off
4: guest0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state forwarding priority 32 cost 2
    hairpin off guard off root_block off learning off flood off isolated on locked on
"""
CONFINED = Answer(0, "green   confined                user 266732, no capabilities\n")
GOOD = Facts(
    uptime_s=20.0,
    methods=frozenset({"publickey"}),
    listening=(SSH, "udp   UNCONN 0 0 10.0.2.15:68 0.0.0.0:*", "tcp LISTEN 0 1 127.0.0.1:5900 0.0.0.0:*"),
    inbound={"loopback": "SSH-2.0-x", "closed": "", "opened": "SSH-2.0-x"},
    used_mib=200,
    size_mib=430,
    image_mib=256,
    fstab=FINE,
    check=FINE,
    start=FINE,
    running={"ports": Answer(0, PORTS), "check": CONFINED, "reach": Answer(0, "reached: nothing\n")},
    smokes={"bash": FINE},
    first=REPORT,
    again=REPORT,
    drivers=dict.fromkeys(("0000:01:00.0", "0000:03:00.0", "0000:03:00.1"), "vfio-pci"),
    drives=SAMPLES,
)


# A boot that the power button has ended.
DOWN = Outcome(HOST, console="[   99.1] reboot: Power down\n", status=0)


def with_running(what: str, text: str, status: int = 0) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, running={**facts.running, what: Answer(status, text)})


def test_a_host_whose_bridge_is_a_plain_switch_has_no_row_for_its_port(host: Machine, guest: Guest) -> None:
    plain = replace(host, network=replace(host.network, isolated=False))
    rows = login_rows.judge(
        [(DOWN, replace(GOOD, running={**GOOD.running, "ports": Answer(1, "")}))], plain, guest, SAMPLES
    )
    assert all(row.ok for row in rows)
    assert "guest-port" not in {row.name for row in rows}


def test_dnsmasq_must_listen_on_the_guests_bridge_and_nowhere_else(host: Machine, guest: Guest) -> None:
    lan = Bridge("lan", address="10.9.0.1/24", dhcp_range=("10.9.0.9", "10.9.0.20"))
    made = replace(host, more_bridges=(lan,))
    served = tuple(
        f"{kind} UNCONN 0 0 {place} 0.0.0.0:*"
        for kind, place in (("udp", "0.0.0.0:67"), ("udp", "10.9.0.1:53"), ("tcp", "10.9.0.1:53"))
    )

    def is_green(*lines: str) -> bool:
        facts = replace(GOOD, listening=(*GOOD.listening, *lines))
        rows = login_rows.judge([(DOWN, facts)], made, guest, SAMPLES)
        return next(row for row in rows if row.name == "listening").ok

    assert is_green(*served)
    assert not any(is_green(*served[:number], *served[number + 1 :]) for number in range(3))
    assert not is_green(*served, "udp UNCONN 0 0 0.0.0.0:69 0.0.0.0:*")
    assert not is_green(*served, "udp UNCONN 0 0 [fe80::1]:53 [::]:*")
    made = replace(host, more_bridges=(replace(lan, ipv6="fd00:9::1/64"),))
    assert not is_green(*served)
    sixth = ("udp UNCONN 0 0 [fd00:9::1]:53 *", "tcp LISTEN 0 0 [fd00:9::1]:53 *")
    assert is_green(*served, *sixth, "udp UNCONN 0 0 [fe80::1]:53 [::]:*")
    made = replace(host, more_bridges=(lan,))
    assert not is_green(*served, "udp UNCONN 0 0 10.0.2.15:53 0.0.0.0:*")
    assert is_green() is False


@pytest.mark.parametrize(
    "bonds, more, reachable",
    [
        ((), (), True),
        ((), (Bridge("b", "eno1"),), False),
        ((Bond("bond0", ("a", "b")),), (), False),
        ((), (Bridge("b", lab.MAC, "dhcp"),), True),
        ((), (Bridge("b", lab.MAC, "dhcp", vlan=2),), False),
        ((), (Bridge("lan", address="10.9.0.1/24"),), True),
    ],
)
def test_the_lab_reaches_a_host_that_asks_on_its_card_or_on_every_card(
    host: Machine, bonds: tuple[Bond, ...], more: tuple[Bridge, ...], reachable: bool
) -> None:
    bare = replace(host.network, nic=None, address=None)
    made = replace(host, network=bare, bonds=bonds, more_bridges=more)
    assert login_rows.is_reachable(made) is reachable


HOST_TOML = load.load(paths.TREE / "host.toml")


@pytest.fixture(scope="module")
def host() -> Machine:
    return HOST_TOML


@pytest.fixture(scope="module")
def guest(host: Machine) -> Guest:
    found = login_rows.find_guest(host)
    assert found
    return found


def red(guest: Guest, facts: Facts | None, boot: object = HOST) -> set[str]:
    error = "" if facts else "no login; the console's last lines:"
    outcome = replace(DOWN, boot=HOST if boot is HOST else UNMAPPED, error=error)
    return {row.name for row in login_rows.judge([(outcome, facts)], HOST_TOML, guest, SAMPLES) if not row.ok}


def test_a_good_host_has_green_rows_only(guest: Guest) -> None:
    assert red(guest, GOOD) == set()
    assert red(guest, replace(GOOD, check=REFUSED, start=REFUSED), UNMAPPED) == set()


def test_without_a_login_every_row_is_red_and_says_why(guest: Guest) -> None:
    rows = login_rows.judge(
        [(Outcome(HOST, error="no login; the console's last lines:"), None)], HOST_TOML, guest, SAMPLES
    )
    assert len(rows) == 19
    assert not any(row.ok for row in rows)
    assert {row.evidence for row in rows} == {"unknown: no login"}


SPOILT: dict[str, tuple[Callable[[Facts], Facts], set[str]]] = {
    "password": (lambda f: replace(f, methods=frozenset({"publickey", "password"})), {"ssh-methods"}),
    "open port": (
        lambda f: replace(f, listening=(*f.listening, "tcp LISTEN 0 1 0.0.0.0:5900 *")),
        {"listening"},
    ),
    "deaf": (lambda f: replace(f, listening=()), {"listening"}),
    "unfiltered": (
        lambda f: replace(f, inbound={**f.inbound, "closed": "SSH-2.0-x"}),
        {"inbound"},
    ),
    "a deaf server": (lambda f: replace(f, inbound={**f.inbound, "loopback": ""}), {"inbound"}),
    "another way": (lambda f: replace(f, inbound={**f.inbound, "opened": ""}), {"inbound"}),
    "inbound not asked": (lambda f: replace(f, inbound={}), {"inbound"}),
    "fat": (lambda f: replace(f, used_mib=250), {"root-size"}),
    "not grown": (lambda f: replace(f, size_mib=250), {"grown"}),
    "smoke": (lambda f: replace(f, smokes={"bash": Answer(127, "")}), {"smoke"}),
    "no smoke": (lambda f: replace(f, smokes={}), {"smoke"}),
    "check": (lambda f: replace(f, check=Answer(1, "red")), {"check"}),
    "start": (lambda f: replace(f, start=Answer(1, "no")), {"start"}),
    "fstab": (lambda f: replace(f, fstab=Answer(1, "/boot/efi")), {"fstab"}),
    "no fstab": (lambda f: replace(f, fstab=None), {"fstab"}),
    "no port": (with_running("ports", PORTS.replace("guest0", "veth0")), {"guest-port"}),
    "not confined": (
        with_running("check", "red     not-confined  QEMU is not confined: CapEff 1\n"),
        {"confined"},
    ),
    "a way out": (with_running("reach", "reached: /etc/shadow\n", 1), {"reached"}),
    **{
        f"not {flag}": (with_running("ports", PORTS.replace(flag, f"{flag.split()[0]} x")), {"guest-port"})
        for flag in ("isolated on", "locked on", "learning off")
    },
    "no device": (lambda f: replace(f, first=replace(REPORT, lspci="")), {"inner-lspci"}),
    "own screen": (
        lambda f: replace(f, first=replace(REPORT, lspci=LSPCI.replace("05:00.0", "09:00.0"))),
        {"inner-lspci"},
    ),
    "the twin": (lambda f: replace(f, first=replace(REPORT, digest=SAMPLES[1])), {"inner-data"}),
    "no report": (lambda f: replace(f, first=None), {"inner-lspci", "inner-data"}),
    "no reset": (lambda f: replace(f, again=None), {"inner-again"}),
    "lost": (lambda f: replace(f, drivers={**f.drivers, lab.NVME_DRIVES[0]: "nvme"}), {"kept"}),
    "written": (lambda f: replace(f, drives=("c" * 64, "d" * 64)), {"twin"}),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_wrong_turns_its_row_red(guest: Guest, name: str) -> None:
    spoil, rows = SPOILT[name]
    assert red(guest, spoil(GOOD)) == rows


@pytest.mark.parametrize(
    "answer", [FINE, Answer(1, "another reason"), Answer(127, "guest: not found, remapping"), None]
)
def test_a_guest_must_be_refused_for_the_right_reason(guest: Guest, answer: Answer | None) -> None:
    assert red(guest, replace(GOOD, check=answer, start=REFUSED), UNMAPPED) == {"check"}
    assert red(guest, replace(GOOD, check=REFUSED, start=answer), UNMAPPED) == {"start"}


@pytest.mark.parametrize("spoilt", [replace(DOWN, console="login: "), replace(DOWN, status=None)])
def test_a_power_button_that_nobody_hears_is_found(guest: Guest, spoilt: Outcome) -> None:
    rows = login_rows.judge([(spoilt, GOOD)], HOST_TOML, guest, SAMPLES)
    assert [row.name for row in rows if not row.ok] == ["power-button"]


def test_a_machine_whose_guest_gets_other_devices_has_none_to_start() -> None:
    assert login_rows.find_guest(load.load(paths.TREE / "hosts/proliant-t10.toml")) is None


def test_only_a_host_that_asks_for_its_address_is_reached(host: Machine) -> None:
    assert login_rows.is_reachable(host)
    assert not login_rows.is_reachable(replace(host, network=replace(host.network, address="10.1.1.1/24")))
    assert login_rows.is_reachable(replace(host, network=replace(host.network, nic=None, address=None)))


# The inner guest.


def test_the_last_whole_report_of_a_console_counts() -> None:
    def said(lspci: str, digest: str) -> str:
        return f"noise\r\n{inner.BEGIN}\r\n{lspci}\r\nsha256 {digest}  -\r\n{inner.END}\r\n"

    text = said("01:00.0 first", "aa") + said("02:00.0 second", "bb") + f"{inner.BEGIN}\r\n03:00.0 cut"
    assert inner.read_console(text) == Report("02:00.0 second\n", "bb")
    assert inner.read_console("Kernel panic") is None
    assert inner.read_console(said("x", "")) == Report("x\n", "-")


def test_the_samples_of_twins_differ_and_fill_what_is_read() -> None:
    assert len(sample(1)) == len(sample(2)) == inner.SAMPLE_BYTES
    assert sample(1) != sample(2)


def test_every_package_with_a_smoke_test_is_asked() -> None:
    smokes = find_smokes()
    assert {"bash", "qemu", "openssh"} <= smokes.keys()
    assert "linux-headers" not in smokes


def test_the_inner_system_has_its_script() -> None:
    assert all(isinstance(file, Path) and file.is_file() for file in inner.SYSTEM.scripts.values())


# The installed guest.


FOUND = GuestFacts(
    check=FINE,
    start=FINE,
    stop=FINE,
    is_reached=True,
    lspci=LSPCI,
    digest=SAMPLES[0],
    drivers={"0000:04:00.0": "nvme", "0000:05:00.0": "bochs-drm", "0000:06:00.0": "xhci_hcd"},
)
GUEST_SPOILT: dict[str, tuple[Callable[[GuestFacts], GuestFacts], set[str]]] = {
    "check": (lambda f: replace(f, check=Answer(1, "red")), {"check"}),
    "start": (lambda f: replace(f, start=None), {"start"}),
    "deaf": (lambda f: replace(f, is_reached=False), {"guest-ssh"}),
    "not passed": (lambda f: replace(f, lspci=LSPCI.replace("04:00.0", "05:01.0")), {"guest-lspci"}),
    "no driver": (lambda f: replace(f, drivers={**f.drivers, "0000:05:00.0": ""}), {"guest-drivers"}),
    "the twin": (lambda f: replace(f, digest=SAMPLES[1]), {"guest-data"}),
    "killed": (lambda f: replace(f, stop=Answer(1, "ended by force")), {"stop"}),
}


def red_of_guest(guest: Guest, facts: GuestFacts | None) -> set[str]:
    outcome = Outcome(GUEST_BOOT, error="" if facts else "no login; the console's last lines:")
    return {row.name for row in login_rows.judge_guest(outcome, facts, guest, SAMPLES[0]) if not row.ok}


def test_an_installed_guest_that_sees_its_devices_is_green(guest: Guest) -> None:
    assert red_of_guest(guest, FOUND) == set()
    assert len(red_of_guest(guest, None)) == 7


@pytest.mark.parametrize("name", GUEST_SPOILT)
def test_what_is_wrong_with_the_installed_guest_turns_its_row_red(guest: Guest, name: str) -> None:
    spoil, rows = GUEST_SPOILT[name]
    assert red_of_guest(guest, spoil(FOUND)) == rows


def test_the_guests_disk_stands_beside_the_image(host: Machine) -> None:
    argv = plan(host, Accelerator.TCG, Ports(2001, 2002))
    assert (
        "user,id=net,restrict=on,"
        "hostfwd=tcp:127.0.0.1:2001-10.0.2.15:22,hostfwd=tcp:127.0.0.1:2002-10.0.2.16:22"
    ) in argv
    assert argv[-1] == "ide-hd,bus=ide.1,drive=guests"


def test_the_guests_screen_is_pictured_by_its_qemu(guest: Guest, tmp_path: Path) -> None:
    run = tmp_path / guest.name
    (run / "sockets").mkdir(parents=True)
    os.mkfifo(run / "monitor.in")
    frame = pictures.Frame(2, 1, b"\x01\x02\x03\x04\x05\x06")
    asked: list[dict[str, Any]] = []

    def act_as_qemu() -> None:
        with (run / "monitor.in").open() as monitor:
            asked.extend(json.loads(monitor.readline()) for _ in range(2))
        Path(asked[1]["arguments"]["filename"]).write_bytes(b"P6\n2 1\n255\n" + frame.rgb)

    qemu = threading.Thread(target=act_as_qemu, daemon=True)
    qemu.start()
    command = plan_picture(guest).replace(guest_argv.HOST_RUN_FOLDER, str(tmp_path))
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    qemu.join()
    assert [one["execute"] for one in asked] == ["qmp_capabilities", "screendump"]
    (tmp_path / "shot.ppm").write_bytes(b64decode(said))
    assert pictures.read(tmp_path / "shot.ppm") == frame


@pytest.mark.parametrize("half", [b"P6\n2 1\n255\n\x01", b"P6\n2", b""])
def test_half_a_picture_is_none(guest: Guest, tmp_path: Path, half: bytes) -> None:
    host = Mock(spec=login.Session, **{"run.return_value": (0, b64encode(half).decode())})
    asker = Asker(host, guest, login.Key("", ""), 0, tmp_path, lambda _: None)
    assert asker._picture("screen-login.png") is None
    assert list(tmp_path.iterdir()) == []


def test_the_guest_gets_its_key_and_a_clock_of_its_own(guest: Guest) -> None:
    key = login.Key("", "ssh-ed25519 AAAA check")
    words = plan_extra(guest, key)
    encoded = words[1].partition("tmpfiles.extra=")[2]
    assert b"ssh-ed25519 AAAA check" in b64decode(encoded)
    assert words[2:] == ("-icount", "shift=2")


def test_the_drivers_are_listed_by_a_plain_shell(tmp_path: Path) -> None:
    (tmp_path / "0000:04:00.0").mkdir()
    (tmp_path / "0000:04:00.0/driver").symlink_to("../../../bus/pci/drivers/nvme")
    (tmp_path / "0000:05:00.0").mkdir()
    command = LIST_DRIVERS.replace("/sys/bus/pci/devices", str(tmp_path))
    listed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert parse_drivers(listed) == {"0000:04:00.0": "nvme", "0000:05:00.0": ""}
