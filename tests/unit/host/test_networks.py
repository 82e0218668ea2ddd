"""Bonds, VLANs, several bridges and dnsmasq: the scripts network, firewall and dnsmasq on made-up hosts."""

import os
import shutil
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS, TREE
from hostwright.image import guest_files
from hostwright.image.templates import render_text
from hostwright.machine.load import load
from hostwright.machine.model import Machine
from tests.fakes.host import FakeHost

SHELL = ("dash",) if shutil.which("dash") else ("sh",)
CARDS = {"eno1": "52:54:00:00:00:01", "eno2": "52:54:00:00:00:0a", "eno3": "52:54:00:00:00:0b"}
BOND = '[[bond]]\nname = "bond0"\nnics = ["52:54:00:00:00:0A", "52:54:00:00:00:0b"]\nmode = "802.3ad"\n'
OWN = '[[bridge]]\nname = "lan"\naddress = "10.9.0.1/24"\ndhcp_range = "10.9.0.100-10.9.0.199"\n'
GUEST = '[[guest]]\nname = "{0}"\nmemory_mib = 512\nmac = "52:54:00:00:01:0{1}"\nbridge = "{2}"\n'

# Makes what the kernel would show: a bond takes the address of its first card and has a link, a VLAN takes its card's.
IP = """
net={root}/sys/class/net
case "$*" in
    "link add name "*|"link add link "*)
        while [ "$1" != name ]; do [ "$1" != link ] || lower=$2; shift; done
        mkdir -p $net/$2
        echo d2:01:02:03:04:05 >$net/$2/address
        [ ! -e "$net/$lower/address" ] || cp "$net/$lower/address" $net/$2/address
        ;;
    "link set "*" master bond"*)
        [ -e $net/$5/carrier ] || cp $net/$3/address $net/$5/address
        echo 1 >$net/$5/carrier
        ;;
    "link del "*) rm -rf "$net/$3" ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A machine with three cards, whose commands all succeed."""
    made = FakeHost(tmp_path, SHELL)
    for name, mac in CARDS.items():
        made.write(f"sys/class/net/{name}/address", f"{mac}\n")
        made.write(f"sys/class/net/{name}/device/x", "")
    made.write("proc/sys/net/ipv4/ip_forward", "0\n")
    made.write("proc/net/if_inet6", "")
    made.write("etc/hostname", "lab.example.org\n")
    made.command("ip", IP.replace("{root}", str(made.root)))
    for program in ("dhcpcd", "dnsmasq", "sleep"):
        made.command(program)
    made.command("iptables-restore", f"cat >{made.root}/ipv4")
    made.command("ip6tables-restore", f"cat >{made.root}/ipv6")
    return made


def settle(host: FakeHost, text: str) -> Machine:
    """Write what host.toml decides about the network and the guests."""
    path = host.root / "host.toml"
    path.write_text(f'name = "x"\n{text}')
    machine = load(path)
    template = ROOTFS / "etc/sysconfig/network.j2"
    host.write(
        "etc/sysconfig/network", render_text(template.read_text(), template.name, {"machine": machine})
    )
    for place, content in guest_files.render_host(machine):
        host.write(place, content)
    return machine


def start(host: FakeHost, text: str) -> list[str]:
    """The lines that `network start` prints, without the firewall's own; it succeeds."""
    settle(host, text)
    done = host.init("network", "start")
    assert done.returncode == 0 and done.stderr == ""
    return [line for line in done.stdout.splitlines() if "firewall:" not in line]


def acted(host: FakeHost) -> list[str]:
    """What was done but for the filter."""
    return [call for call in host.calls() if not call.startswith(("iptables", "ip6tables", "sleep"))]


def loaded(host: FakeHost, family: str = "ipv4") -> list[str]:
    return (host.root / family).read_text().splitlines()


def test_the_lab_and_the_proliant_have_the_files_of_before() -> None:
    """What is new adds no line where it is not used."""
    expected = {
        "host.toml": ("br0", "52:54:00:4c:41:01", "dhcp"),
        "hosts/proliant-t10.toml": None,
    }
    for name, given in expected.items():
        machine = load(TREE / name)
        values = {"machine": machine}
        network = machine.network
        bridge, nic, address = given or (network.bridge, network.nic or "", network.address or "")
        text = render_text((ROOTFS / "etc/sysconfig/network.j2").read_text(), "network.j2", values)
        assert text.splitlines()[2:] == [
            f"bridge={bridge}",
            f"nic={nic}",
            f"address={address}",
            f"gateway={network.gateway or ''}",
            f'nameservers="{" ".join(network.nameservers)}"',
            f'inbound="{" ".join(network.inbound)}"',
            "isolated=yes",
        ]


# ---- bonds and VLANs


BONDED = [
    "ip link add name bond0 type bond mode 802.3ad miimon 100",
    "ip link set eno2 down",
    "ip link set eno2 master bond0",
    "ip link set eno3 down",
    "ip link set eno3 master bond0",
    "ip link set bond0 up",
]


def test_a_bridge_is_over_a_bond_of_cards_by_mac(host: FakeHost) -> None:
    said = start(host, f'{BOND}[network]\nnic = "bond0"\naddress = "dhcp"\n')
    assert said == [
        "[ OK ] network: bond0 (802.3ad) has eno2 eno3",
        "[ OK ] network: asking for an address on br0",
    ]
    assert acted(host) == [
        *BONDED,
        "ip link add name br0 type bridge forward_delay 0",
        "ip link set br0 address 52:54:00:00:00:0a up",
        "ip link set bond0 master br0 up",
        "dhcpcd -q -b br0",
    ]


def test_the_mode_is_active_backup_unless_another_is_named(host: FakeHost) -> None:
    start(host, BOND.replace('mode = "802.3ad"\n', "") + '[network]\nnic = "bond0"\n')
    assert "ip link add name bond0 type bond mode active-backup miimon 100" in acted(host)


def test_a_bond_is_made_without_the_card_that_is_absent_and_that_is_named(host: FakeHost) -> None:
    shutil.rmtree(host.root / "sys/class/net/eno3")
    settle(host, f'{BOND}[network]\nnic = "bond0"\n')
    done = host.init("network", "start")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (
        1,
        [
            "[FAIL] network: there is no card 52:54:00:00:00:0b for the bond bond0; the machine has: bond0 eno1 eno2",
            "[ OK ] network: bond0 (802.3ad) has eno2",
            "[ OK ] network: br0 is up, without an address",
        ],
    )
    assert host.calls().count("sleep 0.2") == 50


def test_cards_that_are_absent_are_waited_for_once(host: FakeHost) -> None:
    for name in ("eno2", "eno3"):
        shutil.rmtree(host.root / f"sys/class/net/{name}")
    settle(host, f'{BOND}[network]\nnic = "bond0"\n')
    done = host.init("network", "start")
    assert done.returncode == 1
    assert done.stdout.splitlines()[3:] == [
        "[FAIL] network: the bond bond0 has no card",
        "[FAIL] network: the bridge br0 is not made: there is no bond bond0",
    ]
    assert host.calls().count("sleep 0.2") == 50
    assert "ip link del bond0" in host.calls() and not (host.root / "sys/class/net/br0").exists()


def test_a_bond_without_a_link_is_told_and_the_boot_goes_on(host: FakeHost) -> None:
    host.command("ip", IP.replace("{root}", str(host.root)).replace("echo 1 >", "echo 0 >"))
    assert start(host, f'{BOND}[network]\nnic = "bond0"\n') == [
        "[WARN] network: bond0 (802.3ad) has eno2 eno3, and no link yet: look at the cables and the switch",
        "[ OK ] network: br0 is up, without an address",
    ]
    assert host.calls().count("sleep 0.2") == 25


def test_a_bond_that_the_kernel_refuses_is_told(host: FakeHost) -> None:
    host.command("ip", '[ "$2" != add ]')
    settle(host, f'{BOND}[network]\nnic = "eno1"\n')
    assert "[FAIL] network: the bond bond0 cannot be made" in host.init("network", "start").stdout


def test_a_card_of_a_bond_is_found_by_its_own_address(host: FakeHost) -> None:
    """In a bond every card shows the address of the first."""
    for name in ("eno2", "eno3"):
        host.write(f"sys/class/net/{name}/bonding_slave/perm_hwaddr", f"{CARDS[name]}\n")
        host.write(f"sys/class/net/{name}/address", f"{CARDS['eno2']}\n")
    start(host, f'{BOND}[network]\nnic = "bond0"\n')
    assert acted(host)[: len(BONDED)] == BONDED


def test_bridges_share_a_bond_by_vlan(host: FakeHost) -> None:
    start(
        host,
        f"""{BOND}[network]
nic = "bond0"
vlan = 10
[[bridge]]
name = "br20"
nic = "bond0"
vlan = 20
[[bridge]]
name = "plain"
nic = "bond0"
""",
    )
    assert acted(host)[len(BONDED) :] == [
        "ip link add link bond0 name vlan10 type vlan id 10",
        "ip link set bond0 up",
        "ip link add name br0 type bridge forward_delay 0",
        "ip link set br0 address 52:54:00:00:00:0a up",
        "ip link set vlan10 master br0 up",
        "ip link add link bond0 name vlan20 type vlan id 20",
        "ip link set bond0 up",
        "ip link add name br20 type bridge forward_delay 0",
        "ip link set br20 address 52:54:00:00:00:0a up",
        "ip link set vlan20 master br20 up",
        "ip link add name plain type bridge forward_delay 0",
        "ip link set plain address 52:54:00:00:00:0a up",
        "ip link set bond0 master plain up",
    ]


def test_a_vlan_that_cannot_be_made_is_told_and_the_other_bridges_are_made(host: FakeHost) -> None:
    host.command("ip", 'case "$*" in *vlan10*) exit 2 ;; esac' + IP.replace("{root}", str(host.root)))
    settle(host, '[network]\nnic = "eno1"\nvlan = 10\n[[bridge]]\nname = "b"\nnic = "eno1"\n')
    done = host.init("network", "start")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (
        1,
        [
            "[FAIL] network: the VLAN 10 cannot be made on eno1",
            "[ OK ] network: b is up, without an address",
        ],
    )


# ---- addresses


ADDRESSES = {
    "DHCP brings both families": ('address = "dhcp"', ["dhcpcd -q -b br0"]),
    "DHCP and advertisements": ('address = "dhcp"\nipv6 = "auto"', ["dhcpcd -q -b br0"]),
    "DHCP, no IPv6": ('address = "dhcp"\nipv6 = "off"', ["dhcpcd -q -b -4 br0"]),
    "DHCP and a fixed IPv6 address": (
        'address = "dhcp"\nipv6 = "fd00::2/64"',
        ["dhcpcd -q -b -4 br0", "ip address add fd00::2/64 dev br0"],
    ),
    "advertisements alone": ('ipv6 = "auto"', ["dhcpcd -q -b -6 br0"]),
    "a fixed address and advertisements": (
        'address = "10.0.0.2/24"\nipv6 = "auto"',
        ["dhcpcd -q -b -6 br0", "ip address add 10.0.0.2/24 dev br0"],
    ),
    "fixed addresses and gateways": (
        'address = "10.0.0.2/24"\ngateway = "10.0.0.1"\nipv6 = "fd00::2/64"\nipv6_gateway = "fe80::1"',
        [
            "ip address add 10.0.0.2/24 dev br0",
            "ip route add default via 10.0.0.1",
            "ip address add fd00::2/64 dev br0",
            "ip route add default via fe80::1 dev br0",
        ],
    ),
}


@pytest.mark.parametrize("text, done", ADDRESSES.values(), ids=ADDRESSES)
def test_each_family_has_its_address(host: FakeHost, text: str, done: list[str]) -> None:
    start(host, f'[network]\nnic = "eno1"\n{text}\n')
    assert acted(host)[3:] == done


@pytest.mark.parametrize(
    "text, ipv4, ipv6",
    [
        ('nic = "eno1"\naddress = "dhcp"', True, True),
        ('nic = "eno1"\naddress = "dhcp"\nipv6 = "off"', True, False),
        ('nic = "eno1"\nipv6 = "auto"', False, True),
        ('nic = "eno1"\n[[bridge]]\nname = "b"\nnic = "eno2"\naddress = "dhcp"', True, True),
        ('[[bridge]]\nname = "b"\nnic = "eno2"', False, False),
    ],
)
def test_answers_of_dhcp_come_in_only_where_somebody_asks(
    host: FakeHost, text: str, ipv4: bool, ipv6: bool
) -> None:
    start(host, f"[network]\n{text}\n")
    assert any("--sport 67 --dport 68 " in line for line in loaded(host)) is ipv4
    assert any("--sport 547 --dport 546 " in line for line in loaded(host, "ipv6")) is ipv6


def test_ipv6_is_off_on_its_bridge_alone(host: FakeHost) -> None:
    switch = "proc/sys/net/ipv6/conf/{0}/disable_ipv6"
    for name in ("br0", "b"):
        host.write(switch.format(name), "0\n")
    start(host, '[network]\nnic = "eno1"\nipv6 = "off"\n[[bridge]]\nname = "b"\nnic = "eno2"\n')
    assert [(host.root / switch.format(name)).read_text() for name in ("br0", "b")] == ["1\n", "0\n"]


def test_a_named_card_anywhere_keeps_every_other_card_still(host: FakeHost) -> None:
    start(host, '[[bridge]]\nname = "b"\nnic = "eno2"\naddress = "dhcp"\n')
    assert [call for call in acted(host) if call.startswith("dhcpcd")] == ["dhcpcd -q -b b"]


def test_with_bridges_of_guests_alone_every_card_asks(host: FakeHost) -> None:
    start(host, '[[bridge]]\nname = "a"\n[[bridge]]\nname = "b"\n')
    assert acted(host)[0] == "dhcpcd -q -b --denyinterfaces br0 a b vnet* tap* guest*"


# ---- bridges of guests


def test_dnsmasq_serves_one_bridge_and_the_filter_lets_its_guests_in(host: FakeHost) -> None:
    text = f'[network]\nnic = "eno1"\n{OWN}{GUEST.format("web", 1, "lan")}{GUEST.format("db", 2, "br0")}'
    said = start(host, text)
    assert said[1:] == [
        "[ OK ] network: lan has 10.9.0.1/24",
        "[ OK ] dnsmasq: guests on lan get addresses from 10.9.0.100,10.9.0.199",
    ]
    root = host.root
    assert acted(host)[-1] == (
        f"dnsmasq --conf-file={root}/etc/dnsmasq.conf --interface=lan --pid-file={root}/run/dnsmasq/lan.pid"
        f" --dhcp-range=10.9.0.100,10.9.0.199 --dhcp-leasefile={root}/var/lib/dnsmasq/lan.leases"
        f" --dhcp-hostsfile={root}/run/dnsmasq/lan.guests --host-record=lab.example.org,lab,10.9.0.1"
    )
    assert (root / "run/dnsmasq/lan.guests").read_text() == "52:54:00:00:01:01,web\n"
    served = [line for line in loaded(host) if " -i lan " in line and "INPUT" in line]
    assert served == [
        "-A INPUT -i lan -p udp -m udp --dport 67 -j ACCEPT",
        "-A INPUT -i lan -p udp -m udp --dport 53 -j ACCEPT",
        "-A INPUT -i lan -p tcp -m tcp --dport 53 -j ACCEPT",
    ]
    assert not [line for line in loaded(host) if "--dport 53 " in line and line not in served]
    assert not [line for line in loaded(host, "ipv6") if "--dport 53 " in line or "--dport 67 " in line]
    note = (root / "run/hostwright/service.dnsmasq-lan").read_text()
    assert note == f"{root}/run/dnsmasq/lan.pid\ndnsmasq serves guests on lan\n"


def test_names_are_served_over_ipv6_only_where_the_host_has_such_an_address(host: FakeHost) -> None:
    """Otherwise IPv6 is off on the bridge: dnsmasq would listen at the bridge's link-local address."""
    switch = host.write("proc/sys/net/ipv6/conf/lan/disable_ipv6", "0\n")
    start(host, OWN + 'ipv6 = "fd00:9::1/64"\n')
    assert [line for line in loaded(host, "ipv6") if " -i lan " in line] == [
        "-A INPUT -i lan -p udp -m udp --dport 53 -j ACCEPT",
        "-A INPUT -i lan -p tcp -m tcp --dport 53 -j ACCEPT",
    ]
    assert switch.read_text() == "0\n"
    start(host, OWN)
    assert not [line for line in loaded(host, "ipv6") if " -i lan " in line]
    assert switch.read_text() == "1\n"


def test_the_first_bridge_may_be_the_guests_own_too(host: FakeHost) -> None:
    said = start(host, '[network]\naddress = "10.9.0.1/24"\ndhcp_range = "10.9.0.9-10.9.0.20"\n')
    assert not [line for line in said if "static address" in line]
    assert " --interface=br0 " in acted(host)[-1]


def test_guests_that_reach_nobody_get_no_router_and_no_servers(host: FakeHost) -> None:
    start(host, f'[network]\nnic = "eno1"\n{OWN}nat = false\n')
    assert acted(host)[-1].endswith(" --dhcp-option=3 --no-resolv")
    assert not [line for line in loaded(host) if "FORWARD -" in line or "MASQUERADE" in line]
    assert (host.root / "proc/sys/net/ipv4/ip_forward").read_text() == "0\n"


def test_a_bridge_without_a_range_has_no_dnsmasq(host: FakeHost) -> None:
    said = start(host, '[[bridge]]\nname = "lan"\naddress = "10.9.0.1/24"\nnat = false\n')
    assert said[-1] == "[ OK ] network: a guest on lan needs a static address: there is no DHCP server"
    assert not [call for call in acted(host) if call.startswith("dnsmasq")]
    assert not [line for line in loaded(host) if "--dport 53 " in line]


def test_a_dnsmasq_that_does_not_start_is_told(host: FakeHost) -> None:
    host.command("dnsmasq", "exit 1")
    settle(host, OWN)
    done = host.init("network", "start")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        "[FAIL] dnsmasq: guests on lan get no addresses and names: it cannot be started"
    )


def test_a_dnsmasq_that_runs_is_left_alone(host: FakeHost) -> None:
    settle(host, OWN)
    host.write("run/dnsmasq/lan.pid", f"{os.getpid()}\n")
    assert host.init("dnsmasq", "start").returncode == 0
    assert host.calls() == []


def test_guests_of_one_bridge_reach_no_guest_of_another(host: FakeHost) -> None:
    other = '[[bridge]]\nname = "dmz"\naddress = "10.8.0.1/24"\n[[bridge]]\nname = "mute"\n'
    start(host, f'[network]\nnic = "eno1"\n{OWN}{other}')
    assert [line for line in loaded(host) if line.startswith("-A FORWARD")] == [
        "-A FORWARD -o lan -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
        "-A FORWARD -o dmz -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
        "-A FORWARD -o mute -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
        "-A FORWARD -s 10.9.0.1/24 -i lan ! -o lan -j ACCEPT",
        "-A FORWARD ! -i lan -o lan -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -s 10.8.0.1/24 -i dmz ! -o dmz -j ACCEPT",
        "-A FORWARD ! -i dmz -o dmz -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    assert loaded(host)[-4:] == [
        "*nat",
        "-A POSTROUTING -s 10.9.0.1/24 ! -o lan -j MASQUERADE",
        "-A POSTROUTING -s 10.8.0.1/24 ! -o dmz -j MASQUERADE",
        "COMMIT",
    ]


# ---- stop


def test_everything_is_taken_down_and_comes_up_again(host: FakeHost) -> None:
    text = f"""{BOND}[network]
nic = "eno1"
address = "dhcp"
[[bridge]]
name = "br20"
nic = "bond0"
vlan = 20
ipv6 = "auto"
{OWN}"""
    start(host, text)
    first = host.calls()
    (host.root / "calls").unlink()
    host.write("proc/net/ip_tables_names", "nat\n")
    assert host.init("network", "stop").returncode == 0
    assert acted(host) == [
        "dhcpcd -q -x br0",
        "ip link del br0",
        "dhcpcd -q -x -6 br20",
        "ip link del br20",
        "ip link del vlan20",
        "ip link del lan",
        "ip link del bond0",
    ]
    assert not [line for line in loaded(host) if "FORWARD -" in line or "MASQUERADE" in line]
    (host.root / "calls").unlink()
    start(host, text)
    assert host.calls() == first


def test_dnsmasq_has_ended_when_the_stop_returns(host: FakeHost) -> None:
    settle(host, OWN)
    host.command("sleep", "exec /bin/sleep $1")
    asked = f"{host.root}/run/dnsmasq"
    host.command("dnsmasq", f"/bin/sleep 60 >/dev/null 2>&1 & echo $! >{asked}/lan.pid")
    host.init("dnsmasq", "start")
    pid = int((host.root / "run/dnsmasq/lan.pid").read_text())
    os.kill(pid, 0)
    assert host.init("network", "stop").returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("arguments", [(), ("restart",)])
def test_a_wrong_call_does_nothing(host: FakeHost, arguments: tuple[str, ...]) -> None:
    settle(host, OWN)
    assert host.init("dnsmasq", *arguments).returncode == 2
    assert host.calls() == []


def test_the_service_listens_on_its_bridge_and_runs_as_nobody_else() -> None:
    settings = (ROOTFS / "etc/dnsmasq.conf").read_text().splitlines()
    assert {"user=dnsmasq", "group=dnsmasq", "bind-interfaces", "except-interface=lo", "no-ping"} <= set(
        settings
    )
    assert "options bonding max_bonds=0" in (ROOTFS / "etc/modprobe.d/bonding.conf").read_text().splitlines()
