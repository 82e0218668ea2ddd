"""What the host starts for people: udev, the network, ssh and the system log, run on made-up hosts."""

import shutil
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS
from hostwright.image.templates import render_text
from hostwright.machine.load import load
from hostwright.machine.model import ACCOUNTS
from tests.fakes.host import FakeHost

SHELL = ("dash",) if shutil.which("dash") else ("sh",)
MAC = "52:54:00:12:34:56"
RANDOM_MAC = "d2:01:02:03:04:05"
DEFAULTS = {"bridge": "br0", "nic": "", "address": "", "gateway": ""}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, SHELL)


# ---- udev


def test_udev_knows_the_buses_before_what_hangs_on_them(host: FakeHost) -> None:
    host.command("udevd")
    host.command("udevadm")
    done = host.init("udev", "start")
    assert (done.returncode, done.stdout) == (0, "[ OK ] udev: the devices have their drivers and names\n")
    assert host.calls() == [
        "udevd --daemon",
        "udevadm trigger --action=add --type=subsystems",
        "udevadm trigger --action=add --type=devices",
        "udevadm settle --timeout=60",
    ]


def test_udev_that_does_not_start_is_told(host: FakeHost) -> None:
    done = host.init("udev", "start")
    assert done.returncode == 1
    assert done.stdout.startswith("[FAIL] udev: udevd cannot be started")


def test_a_device_that_never_settles_does_not_stop_the_boot(host: FakeHost) -> None:
    host.command("udevd")
    host.command("udevadm", '[ "$1" != settle ]')
    done = host.init("udev", "start")
    assert (done.returncode, done.stdout[:13]) == (1, "[FAIL] udev: ")


# ---- network


def arrange(host: FakeHost, **given: str) -> None:
    """A machine with one card, whose commands all succeed."""
    lines = "".join(f"{key}={value}\n" for key, value in (DEFAULTS | given).items())
    host.write("etc/sysconfig/network", lines)
    host.write("sys/class/net/enp1s0/address", f"{MAC}\n")
    host.write("sys/class/net/enp1s0/device/vendor", "0x8086\n")
    host.write("proc/sys/net/ipv4/ip_forward", "0\n")
    made = f"{host.root}/sys/class/net/br0"
    host.command("ip", f'[ "$2" != add ] || {{ mkdir -p {made} && echo {RANDOM_MAC} >{made}/address; }}')
    host.command("dhcpcd")
    host.write("proc/net/if_inet6", "")
    host.command("iptables-restore", f"cat >{host.root}/ipv4")
    host.command("ip6tables-restore", f"cat >{host.root}/ipv6")


FILTER = ["iptables-restore -w", "ip6tables-restore -w"]
FILTERED = "[ OK ] firewall: nothing comes in but ssh\n"
BRIDGE = [
    *FILTER,
    "ip link add name br0 type bridge forward_delay 0",
    f"ip link set br0 address {MAC} up",
    "ip link set enp1s0 master br0 up",
]


@pytest.mark.parametrize("nic", ["enp1s0", MAC])
def test_a_card_goes_into_the_bridge_by_name_or_by_mac(host: FakeHost, nic: str) -> None:
    arrange(host, nic=nic, address="192.168.1.10/24", gateway="192.168.1.1")
    done = host.init("network", "start")
    assert (done.returncode, done.stdout) == (0, f"{FILTERED}[ OK ] network: br0 has 192.168.1.10/24\n")
    assert host.calls() == [
        *BRIDGE,
        "ip address add 192.168.1.10/24 dev br0",
        "ip route add default via 192.168.1.1",
    ]


def test_the_bridge_asks_for_its_address(host: FakeHost) -> None:
    arrange(host, nic="enp1s0", address="dhcp")
    assert host.init("network", "start").returncode == 0
    assert host.calls() == [*BRIDGE, "dhcpcd -q -b br0"]


def test_a_bridge_may_have_no_address(host: FakeHost) -> None:
    arrange(host, nic="enp1s0")
    assert (
        host.init("network", "start").stdout == f"{FILTERED}[ OK ] network: br0 is up, without an address\n"
    )
    assert host.calls() == BRIDGE


def test_a_card_that_is_not_there_is_named_with_those_that_are(host: FakeHost) -> None:
    arrange(host, nic="eth7")
    host.command("sleep")
    done = host.init("network", "start")
    assert (done.returncode, done.stdout) == (
        1,
        f"{FILTERED}[FAIL] network: there is no card eth7; the machine has: enp1s0\n",
    )


def test_a_bridge_that_cannot_be_made_is_told(host: FakeHost) -> None:
    arrange(host, nic="enp1s0")
    host.command("ip", "exit 2")
    done = host.init("network", "start")
    assert (done.returncode, done.stdout) == (
        1,
        f"{FILTERED}[FAIL] network: the bridge br0 cannot be made over enp1s0\n",
    )


def test_without_a_named_card_every_card_asks(host: FakeHost) -> None:
    arrange(host)
    done = host.init("network", "start")
    said = f"{FILTERED}[ OK ] network: asking for an address on every wired card\n"
    assert (done.returncode, done.stdout) == (0, said)
    assert host.calls() == [*FILTER, "dhcpcd -q -b --denyinterfaces br0 vnet* tap* guest*"]


def test_guests_behind_the_host_leave_under_its_address(host: FakeHost) -> None:
    arrange(host, address="10.9.0.1/24")
    done = host.init("network", "start")
    assert done.returncode == 0
    assert done.stdout.splitlines()[3:] == [
        "[ OK ] network: br0 has 10.9.0.1/24",
        "[ OK ] network: a guest on br0 needs a static address, with 10.9.0.1 as its gateway: there is no DHCP server",
    ]
    assert host.calls()[3:] == [
        "ip link add name br0 type bridge forward_delay 0",
        f"ip link set br0 address {RANDOM_MAC} up",
        *FILTER,
        "ip address add 10.9.0.1/24 dev br0",
    ]
    assert (host.root / "proc/sys/net/ipv4/ip_forward").read_text() == "1\n"


FORWARDED = [
    "-A FORWARD -s 10.9.0.1/24 -i br0 ! -o br0 -j ACCEPT",
    "-A FORWARD ! -i br0 -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
]
TRANSLATED = ["*nat", "-A POSTROUTING -s 10.9.0.1/24 ! -o br0 -j MASQUERADE", "COMMIT"]


def loaded(host: FakeHost, family: str = "ipv4") -> list[str]:
    """The rules that were loaded last; each load replaces the tables that it names."""
    return (host.root / family).read_text().splitlines()


def test_a_network_that_starts_again_has_each_rule_once(host: FakeHost) -> None:
    arrange(host, address="10.9.0.1/24")
    host.init("network", "start")
    first = loaded(host)
    assert [line for line in first if line.startswith("-A FORWARD")] == FORWARDED
    assert first[-3:] == TRANSLATED
    host.write("proc/net/ip_tables_names", "nat\nfilter\n")
    host.init("network", "stop")
    # What comes in is filtered still, and nothing is left of what was for guests.
    assert loaded(host) == [line for line in first if not line.startswith(("-A FORWARD", "-A POSTROUTING"))]
    assert loaded(host)[-2:] == ["*nat", "COMMIT"]
    host.init("network", "start")
    assert loaded(host) == first
    assert not [call for call in host.calls() if call.startswith(("iptables ", "ip6tables "))]


def test_the_filter_is_there_before_any_interface_comes_up(host: FakeHost) -> None:
    for nic, address in (("enp1s0", "dhcp"), ("", ""), ("", "10.9.0.1/24")):
        (host.root / "calls").unlink(missing_ok=True)
        arrange(host, nic=nic, address=address)
        host.init("network", "start")
        assert host.calls()[:2] == FILTER


INPUT = [
    "*filter",
    ":INPUT DROP [0:0]",
    ":FORWARD DROP [0:0]",
    ":OUTPUT ACCEPT [0:0]",
    "-A INPUT -i lo -j ACCEPT",
    "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
]
ECHO = "-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT"
DHCP = "-A INPUT -p udp -m udp --sport 67 --dport 68 -j ACCEPT"
TYPES = [
    f"-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type {type} -j ACCEPT" for type in (128, 130, 134, 135, 136)
]
END = [
    f"-A OUTPUT -m owner --uid-owner {ACCOUNTS[0]}-{ACCOUNTS[-1]} -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
    "COMMIT",
]
DHCP6 = "-A INPUT -s fe80::/10 -d fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT"


@pytest.mark.parametrize(
    "nic, address, has_dhcp", [("enp1s0", "dhcp", True), ("enp1s0", "10.9.0.1/24", False), ("", "", True)]
)
def test_what_comes_in_is_dropped_but_for_ssh_and_what_a_network_needs(
    host: FakeHost, nic: str, address: str, has_dhcp: bool
) -> None:
    arrange(host, nic=nic, address=address)
    host.init("network", "start")
    assert loaded(host) == [*INPUT, ECHO, *([DHCP] if has_dhcp else []), *END]
    assert loaded(host, "ipv6") == [*INPUT, *TYPES, *([DHCP6] if has_dhcp else []), *END]


def test_ports_of_the_owner_are_open_in_both_families(host: FakeHost) -> None:
    arrange(host, nic="enp1s0", inbound='"tcp/443 udp/51820"')
    assert (
        "[ OK ] firewall: nothing comes in but ssh tcp/443 udp/51820\n"
        in host.init("network", "start").stdout
    )
    for family in ("ipv4", "ipv6"):
        assert loaded(host, family)[len(INPUT) :][:2] == [
            "-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT",
            "-A INPUT -p udp -m udp --dport 51820 -j ACCEPT",
        ]


def test_the_ports_of_host_toml_reach_the_filter(host: FakeHost, tmp_path: Path) -> None:
    arrange(host)
    machine = tmp_path / "host.toml"
    machine.write_text('name = "x"\n[network]\ninbound = ["tcp/443", "udp/51820"]\n')
    template = ROOTFS / "etc/sysconfig/network.j2"
    values = {"machine": load(machine)}
    host.write("etc/sysconfig/network", render_text(template.read_text(), template.name, values))
    shown = host.init("firewall", "show", "ipv6").stdout
    assert "--dport 443 " in shown and "--dport 51820 " in shown


def test_a_port_that_is_refused_leaves_the_rest_of_the_filter(host: FakeHost) -> None:
    arrange(host, nic="enp1s0", inbound='"tcp/https"')
    body = f"cat >{host.root}/ipv4; ! grep -q https {host.root}/ipv4"
    host.command("iptables-restore", body)
    done = host.init("firewall", "start")
    assert (done.returncode, done.stdout) == (
        1,
        "[FAIL] firewall: ipv4 has no port but ssh: a rule for inbound=tcp/https was refused"
        " (/etc/sysconfig/network)\n",
    )
    assert loaded(host) == [*INPUT, ECHO, *END]
    assert "-A INPUT -p tcp -m tcp --dport https -j ACCEPT" in loaded(host, "ipv6")


def test_a_kernel_that_cannot_filter_is_named_and_the_host_comes_up(host: FakeHost) -> None:
    arrange(host, nic="enp1s0")
    host.command("ip6tables-restore", "exit 3")
    done = host.init("network", "start")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "[FAIL] firewall: there is no filter for ipv6",
        "[ OK ] network: br0 is up, without an address",
    ]


def test_guests_without_a_filter_have_no_way_out(host: FakeHost) -> None:
    arrange(host, address="10.9.0.1/24")
    host.command("iptables-restore", "exit 3")
    assert host.init("network", "start").returncode == 1
    assert (host.root / "proc/sys/net/ipv4/ip_forward").read_text() == "0\n"
    assert not [call for call in host.calls() if "address add" in call]


def test_a_kernel_without_ipv6_has_nothing_to_filter_there(host: FakeHost) -> None:
    arrange(host, nic="enp1s0")
    (host.root / "proc/net/if_inet6").unlink()
    assert host.init("firewall", "start").stdout == FILTERED
    assert host.calls() == FILTER[:1]


@pytest.mark.parametrize("arguments", [(), ("stop",), ("show",), ("show", "arp")])
def test_the_firewall_has_no_way_to_be_stopped(host: FakeHost, arguments: tuple[str, ...]) -> None:
    arrange(host)
    assert host.init("firewall", *arguments).returncode == 2
    assert host.calls() == []


@pytest.mark.parametrize("nic, stopped", [("enp1s0", "dhcpcd -q -x br0"), ("", "dhcpcd -q -x")])
def test_the_network_stops_as_a_whole(host: FakeHost, nic: str, stopped: str) -> None:
    arrange(host, nic=nic)
    (host.root / "sys/class/net/br0").mkdir()
    assert host.init("network", "stop").returncode == 0
    assert host.calls() == [stopped, "ip link del br0"]


# ---- ssh


def arrange_sshd(host: FakeHost, keys: str) -> None:
    host.write("root/.ssh/authorized_keys", keys)
    host.write("proc/sys/kernel/hostname", "lab\n")
    host.write("etc/ssh/sshd_config", "")
    host.write("usr/sbin/sshd", f"#!/bin/sh\necho sshd >>{host.root}/calls\n").chmod(0o755)
    host.command("sync")
    key = host.root / "var/lib/hostwright/ssh/ssh_host_ed25519_key"
    host.command(
        "ssh-keygen", f'[ "$1" = -q ] && echo x >{key} && echo x >{key}.pub || echo 256 SHA256:abc lab'
    )


def test_sshd_makes_the_hosts_key_once(host: FakeHost) -> None:
    arrange_sshd(host, "# a comment\nssh-ed25519 AAAA me\n")
    assert host.init("sshd", "start").stdout == "[ OK ] sshd: listening; host key SHA256:abc\n"
    assert host.init("sshd", "start").returncode == 0
    calls = [call.split()[0] for call in host.calls()]
    assert calls == ["ssh-keygen", "sync", "sshd", "ssh-keygen", "sshd", "ssh-keygen"]


def test_a_host_key_without_its_other_half_is_made_anew(host: FakeHost) -> None:
    arrange_sshd(host, "ssh-ed25519 AAAA me\n")
    host.write("var/lib/hostwright/ssh/ssh_host_ed25519_key", "half")
    assert host.init("sshd", "start").returncode == 0
    assert host.calls()[0].startswith("ssh-keygen -q -t ed25519")


@pytest.mark.parametrize("keys", ["", "# no key here\n"])
def test_nothing_listens_where_nobody_may_log_in(host: FakeHost, keys: str) -> None:
    arrange_sshd(host, keys)
    done = host.init("sshd", "start")
    assert (done.returncode, done.stdout[:24]) == (0, "[ OK ] sshd: not started")
    assert host.calls() == []


def test_a_host_without_a_key_of_its_own_is_told(host: FakeHost) -> None:
    arrange_sshd(host, "ssh-ed25519 AAAA me\n")
    host.command("ssh-keygen", "exit 1")
    done = host.init("sshd", "start")
    assert (done.returncode, done.stdout) == (1, "[FAIL] sshd: the host's key cannot be made\n")


def test_sshd_lets_nobody_guess() -> None:
    words = dict(
        line.split(None, 1)
        for line in (ROOTFS / "etc/ssh/sshd_config").read_text().splitlines()
        if line[:1] not in "#"
    )
    assert words["AuthenticationMethods"] == "publickey"
    assert words["PasswordAuthentication"] == words["KbdInteractiveAuthentication"] == "no"


# ---- the system log


@pytest.mark.parametrize("body, status, said", [("", 0, "[ OK ] syslog: "), ("exit 1", 1, "[FAIL] syslog: ")])
def test_the_system_log_is_started(host: FakeHost, body: str, status: int, said: str) -> None:
    host.command("syslogd", body)
    done = host.init("syslog", "start")
    assert (done.returncode, done.stdout[: len(said)]) == (status, said)


# ---- the first boot from a larger disk


def arrange_disk(host: FakeHost, sectors: int, behind: bool = False) -> None:
    """The data on sda3, of 2048 sectors from 4096 on, on a disk of so many `sectors`."""
    disk = host.root / "sys/devices/pci0000:00/sda"
    for name, values in {
        "sda": {"size": sectors},
        "sda/sda2": {"partition": 2, "start": 2048, "size": 2048},
        "sda/sda3": {"partition": 3, "start": 4096, "size": 2048},
        **({"sda/sda4": {"partition": 4, "start": 8192, "size": 100}} if behind else {}),
    }.items():
        for key, value in values.items():
            host.write(f"{disk.parent.relative_to(host.root)}/{name}/{key}", f"{value}\n")
    (host.root / "sys/dev/block/8:3").symlink_to(disk / "sda3")
    (host.root / "sys/class/block").mkdir(parents=True, exist_ok=True)
    (host.root / "sys/class/block/sda3").symlink_to(disk / "sda3")
    host.write("dev/hostwright/.keep", "")
    (host.root / "dev/hostwright/data").symlink_to("../sda3")
    host.write(
        "proc/self/mountinfo", "1 0 8:3 / / rw - ext4 /dev/root rw\n2 1 0:5 / /proc rw - proc proc rw\n"
    )
    host.write("var/lib/hostwright/.keep", "")
    for name in ("partx", "resize2fs"):
        host.command(name)
    host.command("sfdisk", f"cat >>{host.root}/asked")


GROWN = "[ OK ] growdata: the data partition has grown by 1021 MiB to the end of sda\n"


def test_the_data_takes_the_rest_of_the_disk_once(host: FakeHost) -> None:
    arrange_disk(host, 6144 + 1021 * 2048)
    done = host.init("growdata", "start")
    assert (done.returncode, done.stdout) == (0, GROWN)
    assert host.calls() == [
        "sfdisk -q --relocate gpt-bak-std /dev/sda",
        "sfdisk -q --force --no-reread --no-tell-kernel -N 3 /dev/sda",
        "partx -u --nr 3 /dev/sda",
        "resize2fs /dev/sda3",
    ]
    assert (host.root / "asked").read_text() == ", +\n"
    again = host.init("growdata", "start")
    assert (again.returncode, again.stdout, len(host.calls())) == (0, "", 4)


FULL = 6144 + 4095


def test_where_another_partition_begins_behind_it_the_disk_stays(host: FakeHost) -> None:
    arrange_disk(host, 1 << 30, behind=True)
    said = host.init("growdata", "start").stdout
    assert said == "[ OK ] growdata: another partition begins behind the data\n"
    assert host.calls() == []


def test_where_nothing_is_free_the_file_system_still_fills_its_partition(host: FakeHost) -> None:
    """The partition may have grown at a boot that ended before the file system did."""
    arrange_disk(host, FULL)
    said = host.init("growdata", "start").stdout
    assert said == "[ OK ] growdata: nothing is free behind the data\n"
    assert host.init("growdata", "start").stdout == ""
    assert host.calls() == ["resize2fs /dev/sda3"]


@pytest.mark.parametrize("sectors", [FULL, 1 << 22])
def test_a_disk_that_cannot_grow_is_told_and_tried_again(host: FakeHost, sectors: int) -> None:
    arrange_disk(host, sectors)
    host.command("resize2fs", "exit 1")
    for _ in range(2):
        done = host.init("growdata", "start")
        assert (done.returncode, done.stdout[:17]) == (1, "[FAIL] growdata: ")


def test_a_host_without_its_data_grows_nothing(host: FakeHost) -> None:
    arrange_disk(host, 1 << 22)
    (host.root / "dev/hostwright/data").unlink()
    assert host.init("growdata", "start").stdout == "[WARN] growdata: there is no data partition\n"
    assert host.calls() == []


# ---- the seed of random numbers

SEED = "var/lib/hostwright/random-seed"


def arrange_pool(host: FakeHost, old: str = "") -> Path:
    """A pool that is a file of 1,024 bytes; what is written to it takes its place."""
    host.write("var/lib/hostwright/.keep", "")
    if old:
        host.write(SEED, old)
    return host.write("dev/urandom", "n" * 1024)


def test_the_old_seed_goes_into_the_pool_and_a_new_one_is_kept_at_once(host: FakeHost) -> None:
    pool = arrange_pool(host, "old seed")
    assert host.init("random", "start").returncode == 0
    assert pool.read_text() == "old seed"
    assert (host.root / SEED).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("action", ["start", "stop"])
def test_a_seed_has_512_bytes_for_root_alone(host: FakeHost, action: str) -> None:
    arrange_pool(host)
    assert host.init("random", action).returncode == 0
    kept = host.root / SEED
    assert (kept.stat().st_size, kept.stat().st_mode & 0o777) == (512, 0o600)
    assert not kept.with_name("random-seed.new").exists()


def test_a_seed_that_cannot_be_kept_is_told(host: FakeHost) -> None:
    host.write("dev/urandom", "n" * 1024)
    done = host.init("random", "start")
    assert (done.returncode, done.stdout[:15]) == (1, "[FAIL] random: ")


# ---- onto another disk


def arrange_install(host: FakeHost) -> None:
    """An empty disk sdb of 4 GiB beside the host's own: an ESP of 64 MiB, a root of 1 GiB, 300 MiB in use."""
    arrange_disk(host, 1 << 22)
    devices = host.root / "sys/devices/pci0000:00"
    for name, number in {"sda": "8:0", "sda/sda3": "8:3", "sdb": "8:16", "sdb/sdb1": "8:17"}.items():
        host.write(f"{(devices / name).relative_to(host.root)}/dev", f"{number}\n")
        if not (link := host.root / "sys/class/block" / name.rpartition("/")[2]).is_symlink():
            link.symlink_to(devices / name)
    for name, part, mib in (("esp", "sda2", 64), ("root", "sda3", 1024)):
        (host.root / "dev/hostwright" / name).symlink_to(f"../{part}")
        if not (link := host.root / "sys/class/block" / part).is_symlink():
            link.symlink_to(devices / "sda" / part)
        host.write(f"{devices.relative_to(host.root)}/sda/{part}/size", f"{mib * 2048}\n")
    host.write(f"{devices.relative_to(host.root)}/sdb/sdb1/partition", "1\n")
    host.write(f"{devices.relative_to(host.root)}/sdb/size", f"{8 << 20}\n")
    host.write("dev/.keep", "")
    host.command("df", "echo ' Used'; echo ' 300M'")
    host.command("lsblk", "echo sdb 4G")


def install(host: FakeHost, *words: str, answer: str = "") -> tuple[int, str]:
    done = host.run("usr/sbin/hostwright-install", *words, stdin=answer)
    return done.returncode, done.stdout + done.stderr


REFUSED = {
    "/dev/sdx": "/dev/sdx is no disk of this machine",
    "/dev/sdb1": "/dev/sdb1 is a partition: name the whole disk",
    "/dev/sda": "/dev/sda is in use:\nsda3 is mounted on /",
}


@pytest.mark.parametrize("disk", REFUSED)
def test_install_refuses_what_is_no_free_disk(host: FakeHost, disk: str) -> None:
    arrange_install(host)
    status, said = install(host, "--yes", disk)
    assert status == 1
    assert said.startswith(f"hostwright-install: {REFUSED[disk]}")
    assert "sfdisk" not in " ".join(host.calls())


@pytest.mark.parametrize("use", ["mount", "swap", "holder", "too small"])
def test_install_refuses_a_disk_in_use(host: FakeHost, use: str) -> None:
    arrange_install(host)
    disk = "sys/devices/pci0000:00/sdb"
    if use == "mount":
        host.write("proc/self/mountinfo", "1 0 8:17 / /srv rw - ext4 /dev/sdb1 rw\n")
    elif use == "swap":
        host.write("proc/swaps", "Filename Type\n/dev/sdb1 partition 1 0 -2\n")
    elif use == "holder":
        host.write(f"{disk}/sdb1/holders/md0/x", "")
    else:
        host.write(f"{disk}/size", f"{400 * 2048}\n")
    told = {"mount": "sdb1 is mounted on /srv", "swap": "sdb1 is swap space", "holder": "sdb1 is part of md0"}
    status, said = install(host, "--yes", "/dev/sdb")
    assert status == 1
    assert told.get(use, "/dev/sdb has 400 MiB, and this host needs 2617") in said


GUESTS = """\
name             state    autostart    memory vcpus  devices
debian           stopped  yes        2048 MiB     2  0000:01:00.0
"""


@pytest.mark.parametrize("more, refused", [("", False), ("lab-2            running  no  512 MiB 1\n", True)])
def test_install_waits_until_the_guests_are_down(host: FakeHost, more: str, refused: bool) -> None:
    arrange_install(host)
    listed = host.write("guests", GUESTS + more)
    host.write("usr/sbin/guest", f'#!/bin/sh\n[ "$*" = list ] && cat {listed}\n').chmod(0o755)
    status, said = install(host, "/dev/sdb")
    assert status == 1
    assert ("guests run" in said, "\nlab-2\n" in said, "guest stop NAME" in said) == (refused,) * 3
    assert ("nothing was done" in said) != refused


@pytest.mark.parametrize("answer", ["", "yes\n", "sda\n"])
def test_install_does_nothing_without_the_disks_name(host: FakeHost, answer: str) -> None:
    arrange_install(host)
    status, said = install(host, "/dev/sdb", answer=answer)
    assert (status, "sdb 4G" in said, "nothing was done" in said) == (1, True, True)
    assert not any(call.startswith("sfdisk") for call in host.calls())


def test_install_names_the_step_that_failed(host: FakeHost) -> None:
    arrange_install(host)
    host.command("sfdisk", "echo sfdisk: cannot open; exit 1")
    status, said = install(host, "/dev/sdb", answer="sdb\n")
    assert status == 1
    assert "writing the partition table\n" in said
    assert "sfdisk: cannot open" in said


def test_install_makes_no_file_system_on_the_partitions_of_an_old_table(host: FakeHost) -> None:
    arrange_install(host)
    host.command("sfdisk", "exit 1")
    for name in ("udevadm", "mkfs.vfat", "mkfs.ext4"):
        host.command(name)
    status, said = install(host, "--yes", "/dev/sdb")
    assert (status, "making the file systems" in said) == (1, False)
    assert not any(call.startswith("mkfs") for call in host.calls())


@pytest.mark.parametrize(
    "reader, writer, goes_on", [(0, 0, True), (1, 0, True), (2, 0, False), (0, 2, False), (141, 2, False)]
)
def test_install_goes_on_with_a_whole_copy_alone(
    host: FakeHost, reader: int, writer: int, goes_on: bool
) -> None:
    arrange_install(host)
    for name in ("sfdisk", "udevadm", "mkfs.vfat", "mkfs.ext4", "mount"):
        host.command(name)
    host.command("grub-install", "exit 1")
    host.command(
        "tar",
        f'case "$*" in *-cf*) echo tar: ./x: Read error >&2; exit {reader};; *) cat; exit {writer};; esac',
    )
    status, said = install(host, "--yes", "/dev/sdb")
    assert status == 1
    assert ("writing the boot loaders" in said) == goes_on
    assert "tar: ./x: Read error" in said


# Files of a host that has run; those that others know it by are born anew on the copy.
IDENTITY = (
    *("var/lib/hostwright/ssh/ssh_host_ed25519_key", "etc/machine-id"),
    *("var/lib/dhcpcd/duid", "var/lib/dhcpcd/secret", "var/lib/dhcpcd/eth0.lease"),
    *("var/lib/hostwright/random-seed", "var/lib/random-seed", "var/lib/dbus/machine-id"),
)
KEPT = (
    *("etc/hostname", "etc/ssh/sshd_config", "root/.ssh/authorized_keys", "root/etc/machine-id"),
    *("var/lib/hostwright/grown", "var/lib/hostwright/guests/debian/disk.qcow2"),
)


def test_install_copies_all_but_what_identifies_the_host(host: FakeHost) -> None:
    """With the system's own tar; in place of a bind mount the files are copied."""
    arrange_install(host)
    for name in (*IDENTITY, *KEPT):
        host.write(f"running/{name}", name)
    for name in ("sfdisk", "udevadm", "mkfs.vfat", "mkfs.ext4"):
        host.command(name)
    bind = 'case $2 in / ) from={0};; *) from={0}/var; esac; cp -R "$from/." "$3"; rm -rf "$3/var"'
    host.command("mount", '[ "$1" != --bind ] || { ' + bind.format(host.root / "running") + "; }")
    host.command("grub-install")
    host.command("grub-editenv")
    host.command("sync")
    host.write("usr/share/hostwright/esp/grub.cfg", "menu")
    host.write("run/hostwright/install/esp/grub/.keep", "")
    status, said = install(host, "--yes", "/dev/sdb")
    assert (status, said.splitlines()[-1]) == (0, "done: /dev/sdb boots this host, under UEFI and under BIOS")
    target = host.root / "run/hostwright/install"
    copied = {str(path.relative_to(target / "to")) for path in (target / "to").rglob("*") if path.is_file()}
    below = {
        f"var/{path.relative_to(target / 'to-var')}"
        for path in (target / "to-var").rglob("*")
        if path.is_file()
    }
    assert copied | below == set(KEPT)
    # Its mode and owner must stay as the image has them.
    assert (target / "to-var/lib/dhcpcd").is_dir()
    assert (target / "esp/grub/grub.cfg").read_text() == "menu"
    assert f"grub-editenv {target}/esp/grub/grubenv set good=a" in host.calls()


def arrange_kept(host: FakeHost, names: tuple[str, ...], slot_mib: int = 1024) -> None:
    """The disk sdb with partitions of these names."""
    arrange_install(host)
    disk = host.root / "sys/devices/pci0000:00/sdb"
    for number, name in enumerate(names, start=1):
        part = f"sdb{number}"
        host.write(f"{disk.relative_to(host.root)}/{part}/uevent", f"DEVNAME={part}\nPARTNAME={name}\n")
        host.write(f"{disk.relative_to(host.root)}/{part}/size", f"{slot_mib * 2048}\n")
        if not (link := host.root / "sys/class/block" / part).is_symlink():
            link.symlink_to(disk / part)
    for name in (
        "sfdisk",
        "udevadm",
        "mkfs.vfat",
        "mkfs.ext4",
        "mount",
        "grub-install",
        "grub-editenv",
        "sync",
    ):
        host.command(name)
    host.command("tar", "cat")
    host.write("usr/share/hostwright/esp/grub.cfg", "menu")
    host.write("run/hostwright/install/esp/grub/.keep", "")


def test_install_keeps_the_data_and_the_second_slot_if_asked(host: FakeHost) -> None:
    arrange_kept(host, ("bios-boot", "esp", "root-a", "root-b", "data"))
    status, said = install(host, "--yes", "--keep-data", "/dev/sdb")
    assert (status, "except for the second slot (root-b) and the data" in said) == (0, True)
    assert not [call for call in host.calls() if call.startswith("sfdisk")]
    made = [call.rpartition("/")[2] for call in host.calls() if call.startswith(("mkfs", "mount /dev"))]
    assert [name for name in made if name in ("sdb4", "sdb5")] == []
    assert {call.split()[-1] for call in host.calls() if call.startswith("mkfs")} == {
        "/dev/sdb2",
        "/dev/sdb3",
    }


OTHER_DISKS = {
    ("esp", "root"): "/dev/sdb has other partitions than a host's, and so nothing to keep: esp root",
    ("bios-boot", "esp", "root-a", "root-b", "data"): "the first slot of /dev/sdb has 300 MiB",
}


@pytest.mark.parametrize("names", OTHER_DISKS)
def test_install_keeps_nothing_of_another_disk(host: FakeHost, names: tuple[str, ...]) -> None:
    arrange_kept(host, names, slot_mib=300)
    status, said = install(host, "--yes", "--keep-data", "/dev/sdb")
    assert (status, OTHER_DISKS[names] in said) == (1, True)
    assert not [call for call in host.calls() if call.startswith(("mkfs", "sfdisk"))]


@pytest.mark.parametrize("words", [[], ["sdb"], ["/dev/sdb", "/dev/sdc"], ["--no", "/dev/sdb"]])
def test_install_says_how_it_is_called(host: FakeHost, words: list[str]) -> None:
    status, said = install(host, *words)
    assert status == 2
    assert "usage: hostwright-install" in said
