"""A host with a bond, a VLAN and a bridge of the guests' own: a cable is pulled out, and a guest asks for its address.

Three cards are on one emulated hub: two of them in the bond, and the third one far away, in a network namespace.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import lab
from hostwright.proof.boot import MENU_LIMIT_S, NO_BOOT, choose
from hostwright.proof.login import LOGIN_LIMIT_S, MONITOR, MONITOR_OPTIONS
from hostwright.proof.login_rows import HOST
from hostwright.vm import login, process
from hostwright.vm.board import Accelerator, Firmware
from hostwright.vm.monitor import Monitor
from tests.boot.machines import write_machine

# Seconds.
ANSWER_LIMIT_S = 120.0
# Slots of the root bus; the last digit of each card's address is the same.
BONDED, FAR = (6, 7), 8
PEER = f"enp0s{FAR}"
GUEST_MAC = "52:54:00:4c:41:42"
SERVED = {("udp", "10.9.0.1:53"), ("tcp", "10.9.0.1:53"), ("udp", "0.0.0.0:67")}
BOUND = "DHCP, sockets bound exclusively to interface lan"


def plan_card(slot: int) -> tuple[str, ...]:
    """A card on the hub."""
    place = f"bus=pcie.0,addr={slot:02x}.0,mac=52:54:00:4c:41:{slot:02x},romfile="
    return (
        "-netdev", f"hubport,id=hub{slot},hubid=1",
        "-device", f"e1000e,id=card{slot},netdev=hub{slot},{place}",
    )  # fmt: skip


@contextmanager
def booted(machine: Machine, folder: Path) -> Iterator[tuple[Monitor, login.Session]]:
    """The host with its cards, QEMU's monitor, and a login as root."""
    key, port = login.generate_key(), login.free_port()
    inputs, place = write_machine(machine, folder, key)
    cards = tuple(word for slot in (*BONDED, FAR) for word in plan_card(slot))
    argv = (*lab.plan_boot(machine, Firmware.UEFI, Accelerator.TCG, port), *cards, *MONITOR_OPTIONS)
    job = replace(process.plan_job(argv, place, inputs.tools, Accelerator.TCG), network=True)
    with process.running(job, folder / "networks.log") as (console, _):
        console.wait_for("executed automatically in", MENU_LIMIT_S, stop=NO_BOOT)
        choose(console, HOST)
        with (
            login.connect("127.0.0.1", port, "root", key.private, LOGIN_LIMIT_S) as shell,
            Monitor(place / MONITOR) as monitor,
        ):
            yield monitor, shell


def said(shell: login.Session, command: str) -> str:
    status, text = shell.run(command, ANSWER_LIMIT_S)
    assert status == 0, f"{command}: {text}"
    return text.strip()


def wait_for(shell: login.Session, command: str) -> None:
    """Until the command succeeds on the host."""
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while shell.run(command, ANSWER_LIMIT_S)[0] != 0:
        assert time.monotonic() < deadline, command
        time.sleep(0.5)


def rows(shell: login.Session) -> dict[str, tuple[str, str]]:
    """Result and finding of each row of the self-check about the network."""
    _, text = shell.run("hostwright-selfcheck --json", ANSWER_LIMIT_S)
    kinds = ("bond:", "network:", "filter:", "service:dnsmasq")
    return {
        row["id"]: (row["result"], row["found"])
        for row in json.loads(text)["rows"]
        if row["id"].startswith(kinds)
    }


@pytest.fixture(scope="module")
def machine() -> Machine:
    return load.load(paths.TREE / "tests/boot/networks.toml")


def test_a_bond_a_vlan_and_a_bridge_of_the_guests_own(machine: Machine, tmp_path: Path) -> None:
    with booted(machine, tmp_path) as (monitor, shell):
        check_rows(shell)
        place_peer(shell)
        check_bond(monitor, shell)
        check_guest(shell)
        check_nobody_else_is_served(shell)
        check_restart(shell)


def check_rows(shell: login.Session) -> None:
    found = rows(shell)
    assert {name: result for name, (result, _) in found.items()} == dict.fromkeys(
        (
            *("bond:bond0", "network:br0", "network:br20", "network:lan"),
            *("filter:ipv4", "filter:ipv6", "service:dnsmasq-lan"),
        ),
        "pass",
    )
    assert found["network:br20"][1] == "up over vlan20 (VLAN 20): 10.20.0.1/24 fd00:20::1/64"
    assert found["bond:bond0"][1].startswith("active-backup, enp0s6, enp0s7; enp0s")


def place_peer(shell: login.Session) -> None:
    """The third card in a namespace of its own, with an address in the VLAN."""
    said(shell, f"ip netns add peer && ip link set {PEER} netns peer && ip -n peer link set {PEER} up")
    said(shell, f"ip -n peer link add link {PEER} name far type vlan id 20 && ip -n peer link set far up")
    said(shell, "ip -n peer address add 10.20.0.2/24 dev far && ip -n peer address add fd00:20::2/64 dev far")


def check_bond(monitor: Monitor, shell: login.Session) -> None:
    """Whichever cable is pulled out, the other card carries the VLAN."""
    reach = "ping -c 1 -w 3 10.20.0.2 >/dev/null"
    wait_for(shell, reach)
    wait_for(shell, "ping6 -c 1 -w 3 fd00:20::2 >/dev/null")
    for _ in BONDED:
        active = said(shell, "cat /sys/class/net/bond0/bonding/active_slave")
        card = f"card{active.removeprefix('enp0s')}"
        monitor.execute("set_link", name=card, up=False)
        wait_for(shell, f"[ $(cat /sys/class/net/bond0/bonding/active_slave) != {active} ]")
        wait_for(shell, reach)
        result, text = rows(shell)["bond:bond0"]
        assert (result, f"{active} without a link" in text) == ("note", True)
        monitor.execute("set_link", name=card, up=True)
        wait_for(shell, f"[ $(cat /sys/class/net/{active}/carrier) = 1 ]")


def check_guest(shell: login.Session) -> None:
    """A namespace with the address of the guest web gets a lease of the range, and resolves the guest's name."""
    said(
        shell,
        f"ip netns add guest && ip link add tap9 type veth peer name eth0 address {GUEST_MAC} netns guest",
    )
    said(shell, "ip link set tap9 master lan up && ip -n guest link set eth0 up")
    ask(shell, "guest", "10.9.0.1")
    said(shell, "ip netns exec guest dhcpcd -q -p -1 -4 -t 30 -C resolv.conf eth0 2>&1")
    leased = said(shell, "ip -n guest -o -4 address show dev eth0").split()[3].partition("/")[0]
    assert IPv4Address("10.9.0.100") <= IPv4Address(leased) <= IPv4Address("10.9.0.199")
    assert f"{GUEST_MAC} {leased} web" in said(shell, "cat /var/lib/dnsmasq/lan.leases")
    assert said(shell, "ip -n guest route show default").startswith("default via 10.9.0.1 ")
    assert said(shell, "ip netns exec guest getent ahostsv4 web").split()[0] == leased
    said(shell, "ip netns exec guest timeout 5 bash -c ': </dev/tcp/10.9.0.1/53'")


def ask(shell: login.Session, namespace: str, server: str) -> None:
    """Let a namespace ask this name server, once."""
    folder = f"/etc/netns/{namespace}"
    lines = f"nameserver {server}\\noptions timeout:2 attempts:1\\n"
    said(shell, f"mkdir -p {folder} && printf '{lines}' >{folder}/resolv.conf")


def check_nobody_else_is_served(shell: login.Session) -> None:
    """dnsmasq listens on its bridge alone, without rights, and nobody beyond the VLAN gets an answer."""
    lines = said(shell, "ss -Hltunp | grep dnsmasq").splitlines()
    assert {(line.split()[0], line.split()[4]) for line in lines} == SERVED
    # The kernel does not show ss what a socket is bound to.
    assert BOUND in said(shell, "grep dnsmasq /var/log/messages")
    assert said(shell, "ps -o user= -C dnsmasq") == "dnsmasq"
    assert said(shell, "grep CapPrm /proc/$(cat /run/dnsmasq/lan.pid)/status").split()[1] == "0" * 16
    said(shell, "ip -n peer route add 10.9.0.0/24 via 10.20.0.1")
    reach = "ip netns exec peer timeout 3 bash -c ': </dev/tcp/{0}'"
    said(shell, reach.format("10.20.0.1/22"))
    for server in ("10.20.0.1", "10.9.0.1"):
        assert shell.run(reach.format(f"{server}/53"), ANSWER_LIMIT_S)[0] != 0
        ask(shell, "peer", server)
        assert shell.run("ip netns exec peer getent ahostsv4 web", ANSWER_LIMIT_S)[0] != 0


def check_restart(shell: login.Session) -> None:
    """The network is taken down as a whole, and comes up as it was; the login is over it and waits."""
    script = "/etc/rc.d/init.d/network"
    steps = f"{script} stop; ls /sys/class/net >/run/stopped; {script} start; echo $? >/run/started"
    said(shell, f"setsid sh -c '{steps}' >/dev/null 2>&1 </dev/null &")
    wait_for(shell, "[ -s /run/started ]")
    assert said(shell, "cat /run/started") == "0"
    assert not {"br0", "br20", "lan", "vlan20", "bond0"} & set(said(shell, "cat /run/stopped").split())
    wait_for(shell, "hostwright-selfcheck --json | grep -A 1 '\"network:br0\"' | grep -q pass")
    check_rows(shell)
