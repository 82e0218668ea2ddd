"""hostwright-selfcheck and the boot script that runs it, on made-up hosts."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS
from tests.fakes.host import AHCI, NAMED, NVME, TWIN, FakeHost

SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    return FakeHost(tmp_path, getattr(request, "param", SHELLS[0]))


@pytest.fixture
def lab(host: FakeHost) -> Iterator[FakeHost]:
    """A host as it should be: the named drive on vfio-pci, its twin on nvme, the modules loaded at boot."""
    host.add_lab()
    host.write("etc/modules", "vfio-pci\n")
    host.write("proc/cmdline", "ro intel_iommu=on pcie_acs_override=downstream,multifunction\n")
    host.write("proc/sys/kernel/osrelease", "6.12.63\n")
    host.write("proc/1/environ", "HOME=/\0TERM=linux\0")
    host.write("proc/cpuinfo", "processor\t: 0\nmicrocode\t: 0x71a\n")
    host.write("proc/interrupts", "  CPU0\n  24:  0  IR-PCI-MSI 1-edge  ahci\n")
    host.write("sys/module/vfio_pci/refcnt", "0\n")
    host.write("run/hostwright/modules", "vfio_pci boot 3.25\n")
    host.write("sys/class/iommu/dmar0/x", "")
    host.write("etc/sysconfig/network", "bridge=br0\nisolated=yes\n")
    set_sysctls(host)
    load_filter(host)
    set_services(host)
    shutil.copytree(ROOTFS / "usr/libexec", host.root / "usr/libexec", dirs_exist_ok=True)
    (host.root / f"sys/devices/pci0000:00/0000:00:02.0/{NAMED}/reset_method").write_text("flr bus\n")
    host.write("log", LOG)
    host.command("dmesg", f"cat {host.root}/log")
    with host:
        host.init("vfio", "start")
        yield host


# The defaults of the host, a row of the self-check each.
SYSCTLS = dict(
    line.split(" = ") for line in (ROOTFS / "etc/sysctl.conf").read_text().splitlines() if line[:1] not in "#"
)

SERVICES = ("watchdog", "powerbutton", "time", "logs", "disks", "storage")
ROWS = 13 + len(SYSCTLS) + len(SERVICES)
INTERFACES = ("all", "default", "br0", "eno1.10")


def set_sysctls(host: FakeHost) -> None:
    host.write("etc/sysctl.conf", (ROOTFS / "etc/sysctl.conf").read_text())
    for key, value in SYSCTLS.items():
        for interface in INTERFACES:
            path = "/".join(interface if part == "*" else part for part in key.split("."))
            host.write(f"proc/sys/{path}", f"{value}\n")


# What was set on the host over host.toml: the device lists of the rows above are those that count.
SET_HERE = f"device {NAMED} keep\n"
SET_HERE += f"device {TWIN} pass {NVME}\nguest debian autostart no\nguest debian device {TWIN} add\n"


def test_selfcheck_follows_what_was_set_on_the_host(lab: FakeHost) -> None:
    lab.write("run/hostwright/settings", SET_HERE)
    _, rows, document = check(lab)
    assert rows[f"device:{TWIN}"]["result"] == "fail"
    assert f"device:{NAMED}" not in rows
    assert rows["unnamed"]["found"] == f"{NAMED} ({NVME})"
    lab.init("vfio", "stop", NAMED)
    lab.init("vfio", "start")
    status, rows, document = check(lab)
    assert (status, document["verdict"]) == (0, "pass")
    assert [one["address"] for one in document["named"]] == [TWIN]  # type: ignore[attr-defined]
    notes = {name: row["found"] for name, row in rows.items() if name.startswith("set:")}
    assert notes == {
        f"set:device:{NAMED}": "keep (hostwright-set)",
        f"set:device:{TWIN}": f"pass {NVME} (hostwright-set)",
        "set:guest:debian:autostart": "no (hostwright-set)",
        f"set:guest:debian:device:{TWIN}": "add (hostwright-set)",
    }
    assert {rows[name]["result"] for name in notes} == {"note"}


def test_selfcheck_finds_settings_that_do_not_count(lab: FakeHost) -> None:
    lab.write("run/hostwright/settings.refused", "it is torn\033[2J\n")
    status, rows, document = check(lab)
    assert (status, document["failing"]) == (1, ["settings"])
    assert rows["settings"]["found"] == "it does not: it is torn\033[2J"


FILTERS = {"ipv4": "iptables", "ipv6": "ip6tables"}


def load_filter(host: FakeHost, spoil: Callable[[str], str] = str) -> None:
    """The rules of the script firewall, as iptables -S prints them once they are loaded."""
    host.write("proc/net/if_inet6", "")
    for family, program in FILTERS.items():
        said = host.init("firewall", "show", family).stdout.partition("COMMIT")[0]
        said = re.sub(r"(?m)^:(.*) \[0:0\]$", r"-P \1", said).replace("*filter\n", "")
        host.write(f"{program}.out", spoil(said))
        host.command(program, f'[ "$*" = "-w -S" ] && cat {host.root}/{program}.out')


def set_services(host: FakeHost) -> None:
    """Each service runs, as this very process; the kernel does not stop in a panic."""
    host.write("run/pid", f"{os.getpid()}\n")
    for name in SERVICES:
        host.write(f"run/hostwright/service.{name}", f"{host.root}/run/pid\n{name} is kept\n")
    host.write("sys/class/watchdog/watchdog0/state", "active\n")
    host.write("proc/sys/kernel/panic", "10\n")


LOG = """\
[    0.1] DMAR: IOMMU enabled
[    0.2] DMAR-IR: Enabled IRQ remapping in x2apic mode
[    0.3] ACPI: other
"""
BUILTIN = "kernel/drivers/usb/host/xhci-pci.ko\nkernel/drivers/usb/storage/uas.ko\n"


def check(host: FakeHost) -> tuple[int, dict[str, dict[str, str]], dict[str, object]]:
    """Status, rows by id and the whole document of the self-check."""
    done = host.run("usr/sbin/hostwright-selfcheck", "--json")
    assert done.stderr == ""
    document = json.loads(done.stdout)
    rows = {row["id"]: row for row in document["rows"]}
    assert document["failing"] == [row["id"] for row in document["rows"] if row["result"] == "fail"]
    assert document["verdict"] == ("fail" if done.returncode else "pass")
    return done.returncode, rows, document


@pytest.mark.parametrize("host", SHELLS, indirect=True, ids=lambda shell: shell[0])
def test_selfcheck_passes_on_a_host_that_is_as_it_should_be(lab: FakeHost) -> None:
    status, rows, document = check(lab)
    assert status == 0, document["failing"]
    assert {name: row["result"] for name, row in rows.items()} == {
        "iommu": "pass",
        "remapping": "pass",
        "override": "pass",
        f"device:{NAMED}": "pass",
        f"viable:{NAMED}": "pass",
        "unnamed": "pass",
        "module:vfio_pci": "pass",
        "microcode": "note",
        "firmware": "pass",
        "guest-ports": "note",
        "filter:ipv4": "pass",
        "filter:ipv6": "pass",
        "panic": "pass",
        **dict.fromkeys((f"service:{name}" for name in SERVICES), "pass"),
        **dict.fromkeys((f"sysctl:{key}" for key in SYSCTLS), "pass"),
    }
    assert document["named"] == [
        {"address": NAMED, "id": NVME, "wanted_id": NVME, "wanted_driver": "vfio-pci", "driver": "vfio-pci",
         "group": "3"}
    ]  # fmt: skip
    assert document["groups"] == [
        {"id": "3", "type": "identity", "devices": [NAMED]},
        {"id": "4", "type": "identity", "devices": [TWIN]},
        {"id": "5", "type": "identity", "devices": [AHCI]},
    ]
    assert document["modules"] == [
        {"name": "vfio_pci", "listed": "/etc/modules:1", "loaded": True, "by": "boot", "seconds": "3.25"}
    ]
    assert document["override"] == {"asked": ["downstream", "multifunction"], "known": True}
    assert document["iommu"] == ["dmar0"]
    assert document["kernel"] == "6.12.63"
    assert len(document["log"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SERVICES)
def test_selfcheck_finds_a_service_that_has_ended(lab: FakeHost, name: str) -> None:
    lab.write("run/none", "9999999\n")
    lab.write(f"run/hostwright/service.{name}", f"{lab.root}/run/none\nit is kept\n")
    status, rows, _ = check(lab)
    assert (status, rows[f"service:{name}"]["result"]) == (1, "fail")
    assert rows[f"service:{name}"]["found"] == "it does not run: it is kept" + (
        ": active" if name == "watchdog" else ""
    )


@pytest.mark.parametrize("name", SERVICES)
def test_selfcheck_finds_a_service_whose_script_has_not_run(lab: FakeHost, name: str) -> None:
    (lab.root / f"run/hostwright/service.{name}").unlink()
    status, rows, _ = check(lab)
    assert (status, rows[f"service:{name}"]["found"]) == (1, "its script has not run")


def test_selfcheck_notes_a_service_that_the_host_does_not_need(lab: FakeHost) -> None:
    lab.write("run/hostwright/service.time", "-\nhost.toml names no time server\n")
    status, rows, _ = check(lab)
    row = rows["service:time"]
    assert (status, row["result"], row["found"]) == (0, "note", "host.toml names no time server")


def test_selfcheck_finds_a_watchdog_that_stands_still(lab: FakeHost) -> None:
    lab.write("sys/class/watchdog/watchdog0/state", "inactive\n")
    status, rows, document = check(lab)
    assert (status, document["failing"]) == (1, ["service:watchdog"])
    assert rows["service:watchdog"]["found"] == "watchdog is kept: inactive"


def test_selfcheck_says_how_well_the_clock_is_kept(lab: FakeHost) -> None:
    """The fields of chronyc -c tracking, of which the fifth is the offset and the last the leap status."""
    lab.command("chronyc", "echo 7F7F0101,192.0.2.1,2,1767312000.1,-0.000013,1,1,1,1,1,1,1,64.2,Normal")
    _, rows, _ = check(lab)
    assert rows["service:time"]["found"] == "time is kept: Normal, off by -0.000013 s"


def test_selfcheck_says_nothing_of_a_clock_that_nobody_keeps(lab: FakeHost) -> None:
    lab.write("run/hostwright/service.time", "-\nno time server\n")
    lab.command("chronyc", "echo 506 Cannot talk to daemon; exit 1")
    assert check(lab)[1]["service:time"]["found"] == "no time server"


def test_selfcheck_counts_what_smartd_has_found(lab: FakeHost) -> None:
    lab.write("run/hostwright/motd", "a disk\nanother\n")
    _, rows, _ = check(lab)
    assert rows["service:disks"]["found"] == "disks is kept; 2 findings, which root sees at the login"


FAST = "/srv/fast"
STORES = {
    "mounted": (lambda host: host.mount("9:127", FAST, "/dev/md127"), "pass", "it is"),
    "read-only": (
        lambda host: host.write(
            "proc/self/mountinfo", f"30 1 9:127 / {FAST} rw,noatime shared:1 - ext4 /dev/md127 ro,errors=remount-ro\n"
        ),
        "fail",
        "it is read-only, as after an error of the disk",
    ),
    "left out": (
        lambda host: host.write("run/hostwright/storage.fast", "no disk has it\n"), "fail", "no disk has it"
    ),
    "unmounted by hand": (lambda host: None, "fail", "it is not mounted"),
}  # fmt: skip


@pytest.mark.parametrize("arrange, result, found", STORES.values(), ids=STORES)
def test_selfcheck_looks_at_each_storage(
    lab: FakeHost, arrange: Callable[[FakeHost], object], result: str, found: str
) -> None:
    lab.write("etc/hostwright/storage", f"# a comment\nfast 1-2 ext4 {FAST} nodev,noatime\n")
    arrange(lab)
    status, rows, document = check(lab)
    assert (status, document["failing"]) == ((0, []) if result == "pass" else (1, ["storage:fast"]))
    row = rows["storage:fast"]
    assert (row["result"], row["found"], row["expected"]) == (result, found, f"mounted at {FAST}")


def test_selfcheck_leaves_a_storage_that_is_to_be_read_only(lab: FakeHost) -> None:
    lab.write("etc/hostwright/storage", f"fast 1-2 ext4 {FAST} nodev,ro,noatime\n")
    assert check(lab)[0] == 1
    lab.write("proc/self/mountinfo", f"30 1 9:127 / {FAST} ro,noatime - ext4 /dev/md127 ro\n")
    assert check(lab)[0] == 0


MISSED = """\
[    4.1] bnx2 0000:02:00.0: Direct firmware load for bnx2/bnx2-mips-09-6.2.1b.fw failed with error -2
[    4.1] bnx2: Can't load firmware file "bnx2/bnx2-mips-09-6.2.1b.fw"
[    4.2] r8169 0000:03:00.0: Direct firmware load for rtl_nic/rtl8168g-2.fw failed with error -2
[    9.2] r8169 0000:03:00.0: Direct firmware load for rtl_nic/rtl8168g-2.fw failed with error -2
"""


def test_selfcheck_says_which_device_misses_which_firmware(lab: FakeHost) -> None:
    lab.write("log", LOG + MISSED)
    status, rows, _ = check(lab)
    row = rows["firmware"]
    assert (status, row["result"]) == (0, "note")
    assert row["found"] == (
        "0000:02:00.0 (bnx2) misses bnx2/bnx2-mips-09-6.2.1b.fw, 0000:03:00.0 (r8169) misses rtl_nic/rtl8168g-2.fw;"
        " kernel.firmware in host.toml names what there is"
    )


def add_array(host: FakeHost, degraded: str, action: str) -> None:
    for name, value in {
        "level": "raid1",
        "raid_disks": "2",
        "degraded": degraded,
        "sync_action": action,
    }.items():
        host.write(f"sys/block/md127/md/{name}", f"{value}\n")


ARRAYS = {
    "whole": ("0", "idle", "pass", "raid1 of 2 disks"),
    "checked": ("0", "check", "pass", "raid1 of 2 disks: check"),
    "degraded": ("1", "idle", "fail", "raid1 of 2 disks, 1 missing or not yet written again"),
    "rebuilt": ("1", "recover", "fail", "raid1 of 2 disks, 1 missing or not yet written again: recover"),
}


@pytest.mark.parametrize("degraded, action, result, found", ARRAYS.values(), ids=ARRAYS)
def test_selfcheck_finds_an_array_that_lacks_a_disk(
    lab: FakeHost, degraded: str, action: str, result: str, found: str
) -> None:
    add_array(lab, degraded, action)
    status, rows, _ = check(lab)
    assert (status, rows["array:md127"]["result"]) == (int(result == "fail"), result)
    assert rows["array:md127"]["found"] == found


def test_an_array_without_a_spare_part_is_whole_or_not_there(lab: FakeHost) -> None:
    lab.write("sys/block/md0/md/level", "raid0\n")
    lab.write("sys/block/md0/md/raid_disks", "2\n")
    assert check(lab)[1]["array:md0"]["found"] == "raid0 of 2 disks"


@pytest.mark.parametrize("word, result", [("", "fail"), (" panic=0", "note")])
def test_selfcheck_finds_a_host_that_stays_down_after_a_panic(lab: FakeHost, word: str, result: str) -> None:
    lab.write("proc/sys/kernel/panic", "0\n")
    lab.write("proc/cmdline", f"ro intel_iommu=on pcie_acs_override=downstream,multifunction{word}\n")
    assert check(lab)[1]["panic"]["result"] == result


SAFE = {
    "net.ipv4.conf.*.rp_filter": "1",
    "net.ipv4.conf.*.send_redirects": "0",
    **dict.fromkeys(
        (
            f"net.{ip}.conf.*.{name}"
            for ip in ("ipv4", "ipv6")
            for name in ("accept_redirects", "accept_source_route")
        ),
        "0",
    ),
    "net.ipv6.conf.*.accept_ra": "0",
}


def test_the_defaults_of_the_network_are_safe() -> None:
    assert {key: SYSCTLS.get(key) for key in SAFE} == SAFE


@pytest.mark.parametrize("key", SYSCTLS)
def test_selfcheck_finds_a_default_that_does_not_hold(lab: FakeHost, key: str) -> None:
    path = key.replace(".", "/").replace("*", "eno1.10")
    (lab.root / "proc/sys" / path).write_text("77\n")
    status, rows, document = check(lab)
    assert (status, document["failing"]) == (1, [f"sysctl:{key}"])
    assert rows[f"sysctl:{key}"]["found"] == f"{path} is 77"
    (lab.root / "proc/sys" / path).unlink()
    if "*" not in key:
        assert check(lab)[1][f"sysctl:{key}"]["found"] == f"{path} is absent"


OPENED: dict[str, tuple[Callable[[str], str], str]] = {
    "policy": (
        lambda text: text.replace("-P INPUT DROP", "-P INPUT ACCEPT"),
        "not there: -P INPUT DROP; added: -P INPUT ACCEPT",
    ),
    "forwarding": (
        lambda text: text.replace("-P FORWARD DROP", "-P FORWARD ACCEPT"),
        "not there: -P FORWARD DROP; added: -P FORWARD ACCEPT",
    ),
    "a rule by hand": (lambda text: f"{text}-A INPUT -j ACCEPT\n", "added: -A INPUT -j ACCEPT"),
    "no ssh": (
        lambda text: text.replace("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n", ""),
        "not there: -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
    ),
}


@pytest.mark.parametrize("family", FILTERS)
@pytest.mark.parametrize("spoil, found", OPENED.values(), ids=OPENED)
def test_selfcheck_finds_a_filter_that_is_another(
    lab: FakeHost, family: str, spoil: Callable[[str], str], found: str
) -> None:
    out = lab.root / f"{FILTERS[family]}.out"
    out.write_text(spoil(out.read_text()))
    status, rows, document = check(lab)
    assert (status, document["failing"]) == (1, [f"filter:{family}"])
    assert rows[f"filter:{family}"]["found"] == found


def test_selfcheck_finds_a_filter_that_is_not_there(lab: FakeHost) -> None:
    lab.command("ip6tables", "exit 3")
    assert check(lab)[2]["failing"] == ["filter:ipv6"]


def test_what_guests_behind_the_host_need_is_part_of_the_filter(lab: FakeHost) -> None:
    lab.write("etc/sysconfig/network", 'bridge=br0\naddress=10.9.0.1/24\ninbound="tcp/443"\n')
    set_bridge(lab, "br0", "", "10.9.0.1/24")
    load_filter(lab, lambda text: f"{text}-A FORWARD -s 10.9.0.0/24 -i br0 ! -o br0 -j ACCEPT\n")
    status, rows, _ = check(lab)
    assert (status, rows["filter:ipv4"]["found"]) == (0, "9 policies and rules")


def test_a_kernel_without_ipv6_has_no_row_for_its_filter(lab: FakeHost) -> None:
    (lab.root / "proc/net/if_inet6").unlink()
    status, rows, _ = check(lab)
    assert status == 0 and "filter:ipv4" in rows and "filter:ipv6" not in rows


BR0 = "bridge=br0\n"


def add_tap(host: FakeHost, name: str, isolated: int, learning: int, bridge: str = "br0") -> None:
    folder = f"sys/class/net/{name}"
    host.write(f"{folder}/brport/x", "")
    (host.root / folder / "brport/bridge").symlink_to(f"../../{bridge}")
    host.write(f"{folder}/tun_flags", "0x5002\n")
    host.write(f"{folder}/brport/isolated", f"{isolated}\n")
    host.write(f"{folder}/brport/learning", f"{learning}\n")


PORTS = {"fenced": (1, 0, "pass"), "not isolated": (0, 0, "fail"), "learning": (1, 1, "fail")}


@pytest.mark.parametrize("isolated, learning, result", PORTS.values(), ids=PORTS)
def test_selfcheck_looks_at_the_guests_ports_of_the_bridge(
    lab: FakeHost, isolated: int, learning: int, result: str
) -> None:
    add_tap(lab, "tap0", 1, 0)
    add_tap(lab, "tap1", isolated, learning)
    # The card of the host is no guest, and neither is a guest on a bridge that host.toml leaves open.
    lab.write("sys/class/net/eno1/brport/isolated", "0\n")
    add_tap(lab, "tap2", 0, 1, "lan")
    lab.write("etc/sysconfig/network", f"nic=eno1\n{BR0}bridges='bridge=lan isolated=no'\n")
    set_bridge(lab, "br0", "eno1")
    set_bridge(lab, "lan")
    load_filter(lab)
    status, rows, _ = check(lab)
    assert (status, rows["guest-ports"]["result"]) == (int(result == "fail"), result)
    assert rows["guest-ports"]["found"] == ("tap0, tap1" if result == "pass" else "open: tap1")
    lab.write("etc/sysconfig/network", f"nic=eno1\n{BR0}isolated=no\nbridges='bridge=lan isolated=no'\n")
    row = check(lab)[1]["guest-ports"]
    assert (row["result"], row["found"]) == ("note", "not wanted: isolated is false for br0, lan")


# The network: facts of sysfs and of ip(8) against /etc/sysconfig/network.


def set_link(host: FakeHost, name: str, link: str = "1", master: str = "") -> None:
    host.write(f"sys/class/net/{name}/carrier", f"{link}\n")
    if master:
        (host.root / f"sys/class/net/{name}/master").symlink_to(f"../../virtual/net/{master}")


def set_bridge(host: FakeHost, name: str, port: str = "", *addresses: str) -> None:
    """A bridge that is up, with a port that has a link, and its addresses."""
    host.write(f"sys/class/net/{name}/flags", "0x1003\n")
    if port:
        host.write(f"sys/class/net/{name}/brif/{port}/x", "")
        set_link(host, port)
    lines = "".join(f"7: {name}    inet {each}\n" for each in addresses)
    host.write(f"ip.{name}", lines)
    host.command("ip", f'[ "$1 $2 $3 $4" = "-o address show dev" ] && cat {host.root}/ip.$5')


FIXED = "bridge=br0\nnic=52:54:00:00:00:01\nvlan=20\naddress=10.0.0.2/24\nipv6=fd00::2/64\n"


def set_fixed(host: FakeHost) -> None:
    """A bridge with fixed addresses over a VLAN of a card that host.toml names by its MAC address."""
    host.write("etc/sysconfig/network", FIXED)
    host.write("sys/class/net/eno1/address", "52:54:00:00:00:01\n")
    host.write("sys/class/net/eno1/device/x", "")
    set_bridge(host, "br0", "vlan20", "10.0.0.2/24 brd 10.0.0.255", "fd00::2/64 scope global")
    host.write("proc/net/vlan/vlan20", "vlan20  VID: 20\t REORDER_HDR: 1  dev->priv_flags: 1021\n")


NETWORK_FAULTS: dict[str, tuple[Callable[[FakeHost], object], str, str]] = {
    "as it should be": (lambda host: None, "pass", "up over vlan20 (VLAN 20): 10.0.0.2/24 fd00::2/64"),
    "down": (lambda host: host.write("sys/class/net/br0/flags", "0x1002\n"), "fail", "the bridge is not up"),
    "not made": (
        lambda host: shutil.rmtree(host.root / "sys/class/net/br0"), "fail", "the bridge is not up"
    ),
    "without its card": (
        lambda host: shutil.rmtree(host.root / "sys/class/net/br0/brif"), "fail", "vlan20 is not in it"
    ),
    "on another VLAN": (
        lambda host: host.write("proc/net/vlan/vlan20", "vlan20  VID: 21\t x\n"), "fail",
        "vlan20 (VLAN 21) is in it",
    ),
    "without its address": (
        lambda host: set_bridge(host, "br0", "vlan20", "10.0.0.22/24", "fd00::2/64"), "fail",
        "10.0.0.2/24 is missing",
    ),
    "without its IPv6 address": (
        lambda host: set_bridge(host, "br0", "vlan20", "10.0.0.2/24", "fd00::2/6"), "fail",
        "fd00::2/64 is missing",
    ),
    "no cable": (
        lambda host: set_link(host, "vlan20", "0"), "note",
        "up over vlan20 (VLAN 20): 10.0.0.2/24 fd00::2/64; vlan20 has no link",
    ),
}  # fmt: skip


@pytest.mark.parametrize("spoil, result, found", NETWORK_FAULTS.values(), ids=NETWORK_FAULTS)
def test_selfcheck_compares_a_bridge_with_its_settings(
    lab: FakeHost, spoil: Callable[[FakeHost], object], result: str, found: str
) -> None:
    set_fixed(lab)
    load_filter(lab)
    spoil(lab)
    status, rows, document = check(lab)
    row = rows["network:br0"]
    assert (row["result"], row["found"]) == (result, found)
    assert row["expected"] == "it is up over vlan20, VLAN 20, address 10.0.0.2/24, IPv6 fd00::2/64"
    assert (status, document["failing"]) == ((1, ["network:br0"]) if result == "fail" else (0, []))


def test_selfcheck_names_a_card_that_is_absent(lab: FakeHost) -> None:
    set_fixed(lab)
    lab.write("etc/sysconfig/network", FIXED.replace("vlan=20\n", ""))
    shutil.rmtree(lab.root / "sys/class/net/eno1")
    assert check(lab)[1]["network:br0"]["found"] == "52:54:00:00:00:01 is not in it"


@pytest.mark.parametrize(
    "settings, addresses, result",
    [
        ("address=dhcp\n", ("10.0.2.15/24",), "pass"),
        ("address=dhcp\n", ("fd00::9/64",), "note"),
        ("ipv6=auto\n", ("10.0.2.15/24",), "note"),
        ("address=dhcp\n", (), "note"),
    ],
)
def test_selfcheck_waits_for_an_address_that_a_server_gives(
    lab: FakeHost, settings: str, addresses: tuple[str, ...], result: str
) -> None:
    lab.write("etc/sysconfig/network", f"bridge=br0\nnic=eno1\n{settings}")
    set_bridge(lab, "br0", "eno1", *addresses)
    load_filter(lab)
    status, rows, _ = check(lab)
    assert (status, rows["network:br0"]["result"]) == (0, result)
    assert ("no address has come yet" in rows["network:br0"]["found"]) is (result == "note")


def set_bond(host: FakeHost, mode: str = "active-backup 1") -> None:
    """Two cards in a bond, by the addresses that they have of their own."""
    host.write("etc/sysconfig/network", "bonds='bond0 active-backup 52:54:00:00:00:0a 52:54:00:00:00:0b'\n")
    host.write("sys/class/net/bond0/bonding/mode", f"{mode}\n")
    host.write("sys/class/net/bond0/bonding/active_slave", "eno1\n")
    for card, last in (("eno1", "a"), ("eno2", "b")):
        host.write(f"sys/class/net/{card}/address", "52:54:00:00:00:0a\n")
        host.write(f"sys/class/net/{card}/device/x", "")
        host.write(f"sys/class/net/{card}/bonding_slave/perm_hwaddr", f"52:54:00:00:00:0{last}\n")
        set_link(host, card, master="bond0")


BOND_FAULTS: dict[str, tuple[Callable[[FakeHost], object], str, str]] = {
    "as it should be": (lambda host: None, "pass", "active-backup, eno1, eno2; eno1 is active"),
    "a cable is out": (
        lambda host: set_link(host, "eno2", "0"), "note",
        "active-backup, eno1, eno2 without a link; eno1 is active",
    ),
    "a card is absent": (
        lambda host: shutil.rmtree(host.root / "sys/class/net/eno2"), "fail",
        "active-backup, eno1, 52:54:00:00:00:0b is not in it; eno1 is active",
    ),
    "a card is elsewhere": (
        lambda host: (host.root / "sys/class/net/eno2/master").unlink(), "fail",
        "active-backup, eno1, eno2 is not in it; eno1 is active",
    ),
    "another mode": (
        lambda host: host.write("sys/class/net/bond0/bonding/mode", "balance-rr 0\n"), "fail",
        "balance-rr, eno1, eno2; eno1 is active",
    ),
}  # fmt: skip


@pytest.mark.parametrize("spoil, result, found", BOND_FAULTS.values(), ids=BOND_FAULTS)
def test_selfcheck_looks_at_the_cards_of_a_bond(
    lab: FakeHost, spoil: Callable[[FakeHost], object], result: str, found: str
) -> None:
    set_bond(lab)
    load_filter(lab)
    spoil(lab)
    status, rows, _ = check(lab)
    assert (rows["bond:bond0"]["result"], rows["bond:bond0"]["found"]) == (result, found)
    assert status == (result == "fail")


def test_selfcheck_requires_dnsmasq_where_a_bridge_has_a_range(lab: FakeHost) -> None:
    text = "bridges='bridge=lan address=10.9.0.1/24 dhcp_range=10.9.0.9,10.9.0.20'\n"
    lab.write("etc/sysconfig/network", text)
    set_bridge(lab, "lan", "", "10.9.0.1/24")
    load_filter(lab)
    assert check(lab)[2]["failing"] == ["service:dnsmasq-lan"]
    lab.write("run/hostwright/service.dnsmasq-lan", f"{lab.root}/run/pid\nit serves\n")
    status, rows, _ = check(lab)
    assert (status, rows["service:dnsmasq-lan"]["result"], rows["network:lan"]["found"]) == (
        0,
        "pass",
        "up: 10.9.0.1/24",
    )


def test_selfcheck_lists_every_device(lab: FakeHost) -> None:
    devices = check(lab)[2]["devices"]
    assert isinstance(devices, list)
    assert {"address": NAMED, "id": NVME, "class": "010802", "driver": "vfio-pci", "group": "3",
            "reset_method": "flr bus"} in devices  # fmt: skip
    assert len(devices) == 3


def give_back(host: FakeHost) -> None:
    host.init("vfio", "stop")


def take_twin(host: FakeHost) -> None:
    text = (host.root / "etc/hostwright/devices").read_text()
    host.name_devices(f"{TWIN}\n")
    host.init("vfio", "start")
    host.name_devices(text)


def add_companion(host: FakeHost) -> None:
    """A function in the group of the named drive that a host driver holds."""
    host.pci("0000:01:00.1", "8086:1533", "020000", "igb", "")
    link = host.root / "sys/kernel/iommu_groups/3/devices/0000:01:00.1"
    link.symlink_to(host.root / "sys/devices/pci0000:00/0000:01:00.1")


def empty_groups(host: FakeHost) -> None:
    shutil.rmtree(host.root / "sys/kernel/iommu_groups")


def forget_remapping(host: FakeHost) -> None:
    host.write("proc/interrupts", "  24:  0  PCI-MSI 1-edge  ahci\n")
    host.write("log", "DMAR: IOMMU enabled\n")


def name_devices(text: str) -> Callable[[FakeHost], object]:
    return lambda host: host.name_devices(text)


def log(line: str) -> Callable[[FakeHost], object]:
    return lambda host: host.write("log", line + "\n")


FAULTS = {
    "no IOMMU unit": (lambda host: shutil.rmtree(host.root / "sys/class/iommu"), ["iommu"]),
    "no groups": (empty_groups, ["iommu", f"viable:{NAMED}"]),
    "no interrupt remapping": (forget_remapping, ["remapping"]),
    "the override is unknown": (
        lambda host: host.write("proc/1/environ", "HOME=/\0pcie_acs_override=downstream,multifunction\0"),
        ["override"],
    ),
    "the kernel log says that it is unknown": (
        log('Unknown kernel command line parameters "pcie_acs_override=x", will be passed to user space.'),
        ["override"],
    ),
    "a word of the override is unknown": (
        log('PCI: pcie_acs_override: unknown word "down" ignored, known are downstream, multifunction'),
        ["override"],
    ),
    "a named device on its host driver": (give_back, [f"device:{NAMED}"]),
    "a named device that is absent": (name_devices("0000:09:00.0\n"), ["device:0000:09:00.0", "unnamed"]),
    "another device at the address": (name_devices(f"{NAMED} 10de:1e37\n"), [f"device:{NAMED}"]),
    "the twin is taken": (take_twin, ["unnamed"]),
    "a companion in use": (add_companion, [f"viable:{NAMED}"]),
    "a module that is not loaded": (
        lambda host: shutil.rmtree(host.root / "sys/module/vfio_pci"), ["module:vfio_pci"]
    ),
    "a module loaded by hand": (
        lambda host: host.write("run/hostwright/modules", "vfio_pci hand 99.1\n"), ["module:vfio_pci"]
    ),
    "a module loaded by something else": (
        lambda host: (host.root / "run/hostwright/modules").unlink(), ["module:vfio_pci"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("break_it, failing", FAULTS.values(), ids=FAULTS)
def test_selfcheck_finds(lab: FakeHost, break_it: Callable[[FakeHost], object], failing: list[str]) -> None:
    break_it(lab)
    status, _, document = check(lab)
    assert (status, document["failing"]) == (1, failing)


def test_selfcheck_keeps_to_who_loaded_a_module_first(lab: FakeHost) -> None:
    """`modules start` by hand goes through the whole list again: only what the boot had not loaded is by hand."""
    lab.write("etc/modules", "vfio-pci\nnew\n")
    lab.write("sys/module/new/refcnt", "0\n")
    lab.write("proc/uptime", "99.50 1.00\n")
    lab.command("modprobe")
    lab.init("modules", "start")
    status, rows, _ = check(lab)
    assert rows["module:vfio_pci"]["found"] == "loaded by boot 3.25 s after the start of the kernel"
    assert rows["module:new"]["found"] == "loaded by hand 99.50 s after the start of the kernel"
    assert (status, rows["module:vfio_pci"]["result"], rows["module:new"]["result"]) == (1, "pass", "fail")


@pytest.mark.parametrize("listed, name", [("xhci_pci", "xhci_pci"), ("xhci-pci", "xhci_pci"), ("uas", "uas")])
@pytest.mark.parametrize("recorded", ["", " boot 3.25", " hand 99.50"], ids=["nobody", "boot", "hand"])
def test_selfcheck_is_content_with_a_driver_that_is_built_in(
    lab: FakeHost, listed: str, name: str, recorded: str
) -> None:
    lab.write("etc/modules", f"vfio-pci\n{listed}\n")
    lab.write("lib/modules/6.12.63/modules.builtin", BUILTIN)
    if recorded:
        lab.write("run/hostwright/modules", f"vfio_pci boot 3.25\n{name}{recorded}\n")
    status, rows, document = check(lab)
    assert (status, rows[f"module:{name}"]["found"]) == (0, "built into the kernel")
    assert document["modules"][1]["loaded"] is True  # type: ignore[index]


@pytest.mark.parametrize("name", ["pci", "xhci", "ua"])
def test_selfcheck_knows_a_driver_by_its_whole_name(lab: FakeHost, name: str) -> None:
    lab.write("etc/modules", f"vfio-pci\n{name}\n")
    lab.write("lib/modules/6.12.63/modules.builtin", BUILTIN)
    assert check(lab)[1][f"module:{name}"]["found"] == "not loaded"


def test_what_the_kernel_log_holds_does_not_rule_the_terminal(lab: FakeHost) -> None:
    lab.write("log", "DMAR-IR: Enabled IRQ remapping in \x1b[2J mode\n")
    assert "\x1b" not in lab.run("usr/sbin/hostwright-selfcheck").stdout
    assert "in \x1b[2J mode" in check(lab)[1]["remapping"]["found"]


def test_selfcheck_says_when_the_kernel_has_no_override(lab: FakeHost) -> None:
    lab.write("proc/1/environ", "pcie_acs_override=downstream\0")
    assert check(lab)[1]["override"]["found"] == "this kernel has no ACS override"


def test_selfcheck_sees_remapping_after_the_log_has_rotated(lab: FakeHost) -> None:
    lab.write("log", "")
    assert check(lab)[1]["remapping"]["found"] == "/proc/interrupts: 24:  0  IR-PCI-MSI 1-edge  ahci"


def test_selfcheck_without_passthrough_wants_the_devices_on_the_host(lab: FakeHost) -> None:
    give_back(lab)
    forget_remapping(lab)
    lab.write("proc/cmdline", "ro hostwright.nopassthrough\n")
    status, rows, document = check(lab)
    assert (status, document["passthrough"]) == (0, False)
    assert rows["remapping"]["result"] == "note"
    lab.write("proc/cmdline", "ro\n")
    lab.init("vfio", "start")
    lab.write("proc/cmdline", "ro hostwright.nopassthrough\n")
    assert check(lab)[2]["failing"] == [f"device:{NAMED}"]


@pytest.mark.parametrize("awk", ["mawk", "gawk", "busybox"])
def test_selfcheck_escapes_whatever_the_kernel_line_holds(lab: FakeHost, awk: str) -> None:
    if not (path := shutil.which(awk)):
        pytest.skip(f"no {awk} on this machine")
    (lab.root / "bin/awk").symlink_to(path)
    line = 'ro dyndbg="file x +p" back\\slash\\\\two tab\there bell\a'
    (lab.root / "proc/cmdline").write_bytes(line.encode() + b" \xff\xc3\xa9\n")
    assert check(lab)[2]["cmdline"] == line + " ???"


def test_selfcheck_for_people_has_a_row_each_and_the_devices(lab: FakeHost) -> None:
    done = lab.run("usr/sbin/hostwright-selfcheck")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert f"PASS  device:{NAMED}      {NVME} on vfio-pci" in lines
    assert any(line.split() == [TWIN, NVME, "010802", "4", "nvme", "-"] for line in lines)
    assert lines[-1] == f"self-check: pass, {ROWS} rows"


def test_selfcheck_quiet_tells_only_what_failed(lab: FakeHost) -> None:
    assert lab.run("usr/sbin/hostwright-selfcheck", "--quiet").stdout == f"self-check: pass, {ROWS} rows\n"
    give_back(lab)
    done = lab.run("usr/sbin/hostwright-selfcheck", "--quiet")
    assert done.stdout.splitlines() == [
        f"FAIL  device:{NAMED}      {NVME} on nvme; expected: on vfio-pci, with id {NVME}",
        f"self-check: fail: device:{NAMED}",
    ]


def test_selfcheck_refuses_an_unknown_option(host: FakeHost) -> None:
    assert host.run("usr/sbin/hostwright-selfcheck", "--xml").returncode == 2


def test_the_last_script_prints_the_result_between_markers_and_powers_off(lab: FakeHost) -> None:
    lab.write("proc/cmdline", "ro hostwright.selfcheck\n")
    lab.write("dev/console", "")
    lab.write("var/log/x", "")
    lab.command("init")
    shutil.copytree(ROOTFS / "usr/sbin", lab.root / "usr/sbin")
    assert lab.init("hostwright", "start").returncode == 0
    lines = (lab.root / "dev/console").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("HOSTWRIGHT-SELFCHECK-BEGIN", "HOSTWRIGHT-SELFCHECK-END")
    assert json.loads("\n".join(lines[1:-1]))["verdict"] == "pass"
    calls = lab.calls()
    assert calls.index("dmesg --console-off") < calls.index("dmesg --console-on")
    assert calls[-1] == "init 0"
    assert (lab.root / "var/log/hostwright-selfcheck.json").read_text() == "\n".join(lines[1:-1]) + "\n"


def test_the_last_script_of_a_normal_boot_tells_the_verdict(lab: FakeHost) -> None:
    shutil.copytree(ROOTFS / "usr/sbin", lab.root / "usr/sbin")
    lab.command("init")
    done = lab.init("hostwright", "start")
    assert (done.returncode, done.stdout) == (0, f"[ OK ] hostwright: self-check: pass, {ROWS} rows\n")
    give_back(lab)
    done = lab.init("hostwright", "start")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"[FAIL] hostwright: self-check: fail: device:{NAMED}"
    assert "init 0" not in lab.calls()


def test_edits_are_shown_to_people_and_decide_nothing(lab: FakeHost) -> None:
    lab.write("usr/share/hostwright/manifest", "")
    lab.write(
        "usr/sbin/hostwright-update", '#!/bin/sh\n[ "$1" = changes ] && echo changed /etc/hosts\n'
    ).chmod(0o755)
    done = lab.run("usr/sbin/hostwright-selfcheck")
    assert (done.returncode, done.stdout.endswith(":\nchanged /etc/hosts\n")) == (0, True)
    assert "changed /etc/hosts" not in lab.run("usr/sbin/hostwright-selfcheck", "--quiet").stdout
