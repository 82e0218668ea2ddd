"""hostwright-set and the boot script settings, on made-up hosts: what is refused, what is kept, and what counts."""

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS
from hostwright.doctor import findings
from hostwright.image import guest_files
from hostwright.image.templates import render_text
from hostwright.machine import local, rules
from hostwright.machine.grammar import BadValueError
from hostwright.machine.load import load
from hostwright.machine.model import Machine
from hostwright.vm import guest_argv
from hostwright.vm.board import Accelerator
from tests.fakes.host import AHCI, BUS, NAMED, NVME, TWIN, FakeHost

SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
SET = "usr/sbin/hostwright-set"
FILE = "var/lib/hostwright/local/settings"
NOW = "run/hostwright/settings"
NIC, GPU, SOUND = "0000:05:00.0", "0000:06:00.0", "0000:06:00.1"
DATA = "run/hostwright/data/lib/hostwright/local/settings"

MSI = "0x00fee00000 0x00feefffff msi\n"

TOML = f"""
name = "test"
[[device]]
address = "{NAMED}"
id = "{NVME}"
[network]
nic = "eth0"
address = "192.168.7.2/24"
gateway = "192.168.7.1"
[[guest]]
name = "debian"
memory_mib = 4096
mac = "52:54:00:4c:41:42"
devices = ["{NAMED}"]
[[guest]]
name = "other"
memory_mib = 512
mac = "52:54:00:4c:41:43"
autostart = false
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    path = tmp_path / "host.toml"
    path.write_text(TOML)
    return load(path)


def render(name: str, values: dict[str, object]) -> str:
    template = ROOTFS / f"{name}.j2"
    return render_text(template.read_text(), template.name, values)


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def host(tmp_path: Path, machine: Machine, request: pytest.FixtureRequest) -> Iterator[FakeHost]:
    """The lab with a card in the bridge and a display of two functions, booted; its network is what `ip` was told."""
    made = FakeHost(tmp_path / "root", request.param)
    for path, text in guest_files.render_host(machine):
        made.write(path, text)
    made.write(
        "usr/libexec/hostwright/findings",
        render("usr/libexec/hostwright/findings", {"findings": tuple(findings.load().values())}),
    )
    made.write("etc/sysconfig/network", render("etc/sysconfig/network", {"machine": machine}))
    for name in ("guest-check", "guest-start", "set-check", "settings.awk"):
        shutil.copy2(
            ROOTFS / f"usr/libexec/hostwright/{name}", made.write(f"usr/libexec/hostwright/{name}", "")
        )
    made.add_lab()
    made.network("eth0", made.pci(f"0000:00:04.0/{NIC}", "8086:1533", "020000", "igb", "6"))
    made.network("br0", lower="eth0")
    made.write("sys/class/net/eth0/address", "52:54:00:12:34:56\n")
    made.write("sys/class/net/br0/address", "52:54:00:12:34:56\n")
    made.pci(f"0000:00:05.0/{GPU}", "10de:1e37", "030000", "nouveau", "7")
    made.pci(f"0000:00:05.0/{SOUND}", "10de:10f8", "040300", "snd_hda_intel", "7")
    for number in (3, 4, 5, 6, 7):
        made.write(f"sys/kernel/iommu_groups/{number}/reserved_regions", MSI)
    made.write("proc/interrupts", "  CPU0\n  24:  0  IR-PCI-MSI 1-edge  ahci\n")
    made.write(
        "proc/cpuinfo", "flags\t\t: fpu vmx pdpe1gb\naddress sizes\t: 46 bits physical, 48 bits virtual\n"
    )
    made.write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 8388608 kB\n")
    made.write("proc/cmdline", "ro console=ttyS0,115200\n")
    made.write("etc/resolv.conf", "nameserver 192.168.7.1\n")
    for name in ("sync", "ip", "dhcpcd", "iptables-restore", "mount", "umount"):
        made.command(name)
    with made:
        made.init("vfio", "start")
        yield made


def call(host: FakeHost, *words: str) -> subprocess.CompletedProcess[str]:
    return host.run(SET, *words)


def change(host: FakeHost, line: str) -> str:
    done = call(host, *line.split())
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def kept(host: FakeHost) -> list[str]:
    """The settings in the file, which the build's rules find good."""
    path = host.root / FILE
    return [one.line for one in local.parse(path.read_bytes())] if path.exists() else []


def counting(host: FakeHost) -> list[str]:
    path = host.root / NOW
    return path.read_text().splitlines() if path.exists() else []


def boot(host: FakeHost) -> str:
    """The boot script reads the file on the data partition."""
    host.write("dev/hostwright/data", "")
    host.command(
        "mount",
        f"mkdir -p {host.root}/run/hostwright/data && cp -a {host.root}/var/. {host.root}/run/hostwright/data/",
    )
    host.command("umount", f"rm -rf {host.root}/run/hostwright/data")
    return host.init("settings", "start").stdout


# ---- devices


def test_a_device_is_passed_from_the_next_boot_on(host: FakeHost) -> None:
    said = change(host, f"pass {TWIN}")
    assert re.search(rf"yellow +no-reset +{TWIN} knows no reset", said)
    assert "green" not in said
    assert said.endswith(f"\npass {TWIN}: from the next boot on\n")
    assert kept(host) == [f"device {TWIN} pass {NVME}"]
    assert (counting(host), host.driver_of(TWIN)) == ([], "nvme")
    assert boot(host) == f"[ OK ] settings: device {TWIN} pass {NVME}, set on this host\n"
    assert counting(host) == kept(host)
    assert host.init("vfio", "start").returncode == 0
    assert (host.driver_of(NAMED), host.driver_of(TWIN)) == ("vfio-pci", "vfio-pci")


def test_a_device_is_passed_at_once_if_asked(host: FakeHost) -> None:
    said = change(host, "pass --now 02:00.0")
    assert f"vfio: {TWIN} {NVME} is on vfio-pci, taken from nvme" in said
    assert host.driver_of(TWIN) == "vfio-pci"
    assert counting(host) == kept(host) == [f"device {TWIN} pass {NVME}"]
    said = change(host, f"keep --now {TWIN}")
    assert "is given back to nvme" in said
    assert (counting(host), kept(host)) == ([], [])


def test_a_device_of_the_build_stays_with_the_host(host: FakeHost) -> None:
    change(host, f"guest debian device remove {NAMED}")
    change(host, f"keep {NAMED}")
    assert kept(host) == [f"guest debian device {NAMED} remove", f"device {NAMED} keep"]
    boot(host)
    assert host.init("vfio", "status").stdout == ""
    # What host.toml says anyway is not kept.
    change(host, f"pass {NAMED}")
    change(host, f"guest debian device add {NAMED}")
    assert kept(host) == []


def test_functions_of_one_group_go_together(host: FakeHost) -> None:
    change(host, f"pass {GPU} {SOUND}")
    assert kept(host) == [f"device {GPU} pass 10de:1e37", f"device {SOUND} pass 10de:10f8"]
    done = call(host, "keep", SOUND)
    assert (done.returncode, done.stderr) == (1, "hostwright-set: nothing was changed: group-not-viable\n")
    assert f"the group of {GPU} also holds {SOUND}, bound to its own driver" in done.stdout
    change(host, f"keep {GPU} {SOUND}")
    assert kept(host) == []


def spoil(path: str, text: str) -> Callable[[FakeHost], object]:
    return lambda host: host.write(path, text)


def fill_memory(host: FakeHost) -> None:
    """The other guest has a device too, and there is room for one of the two."""
    change(host, f"pass {TWIN}")
    change(host, f"guest other device add {TWIN}")
    host.write("proc/meminfo", "MemTotal: 5132288 kB\n")


def mount_twin(host: FakeHost) -> None:
    host.block(f"pci0000:00/0000:00:03.0/{TWIN}/nvme/nvme1/nvme1n1", "259:4")
    host.mount("259:4", "/srv", "/dev/nvme1n1")


def show_on(address: str) -> Callable[[FakeHost], object]:
    def arrange(host: FakeHost) -> None:
        host.write("proc/cmdline", "ro\n")
        host.write(f"{BUS}/0000:00:05.0/{address}/graphics/fb0/dev", "29:0\n")
        link = host.root / "sys/class/graphics/fb0"
        link.parent.mkdir(parents=True)
        link.symlink_to(host.root / f"{BUS}/0000:00:05.0/{address}/graphics/fb0")

    return arrange


def text_screen(host: FakeHost) -> None:
    host.write("proc/cmdline", "ro\n")
    host.write(f"{BUS}/0000:00:05.0/{GPU}/boot_vga", "1\n")


def nothing(host: FakeHost) -> None:
    del host


GROUP = "sys/kernel/iommu_groups/4/reserved_regions"
PORT = "0000:00:07.0"
# What is asked, on a host that is arranged; a part of what is said on one of the outputs.
REFUSED: dict[str, tuple[Callable[[FakeHost], object], str, str]] = {
    "the root disk": (
        nothing,
        f"pass {AHCI}",
        f"{AHCI} is refused: 8086:2922 carries the file system mounted on /",
    ),
    "a mounted disk": (mount_twin, f"pass {TWIN}", "carries the file system mounted on /srv"),
    "the card of the bridge": (nothing, f"pass {NIC}", "carries a part of br0"),
    "one function of a group": (
        nothing,
        f"pass {GPU}",
        f"the group of {GPU} also holds {SOUND}, bound to snd_hda_intel",
    ),
    "a bridge": (
        lambda host: host.pci(PORT, "1b36:000c", "060400", "pcieport"),
        f"pass {PORT}",
        f"{PORT} is of class 0604",
    ),
    "what is absent": (nothing, "pass 0000:09:00.0", "0000:09:00.0 is not in this machine"),
    "no group": (
        lambda host: host.pci(PORT, "1b36:0010", "010802", group=""),
        f"pass {PORT}",
        "it has no IOMMU group",
    ),
    "memory that the firmware keeps": (
        spoil(GROUP, "0x00d5000000 0x00d5ffffff direct\n"),
        f"pass {TWIN}",
        "keeps 0x00d5000000-0x00d5ffffff mapped",
    ),
    "no interrupt remapping": (
        spoil("proc/interrupts", "  CPU0\n  24:  0  PCI-MSI 1-edge  ahci\n"),
        f"pass {TWIN}",
        "interrupts are not remapped",
    ),
    "virtual functions": (
        spoil(f"{BUS}/0000:00:03.0/{TWIN}/sriov_numvfs", "2\n"),
        f"pass {TWIN}",
        "has virtual functions switched on",
    ),
    "the screen": (show_on(GPU), f"pass {GPU} {SOUND}", f"the console of the host is on {GPU} (fb0)"),
    "the screen of a BIOS": (
        text_screen,
        f"pass {GPU} {SOUND}",
        f"the console of the host is on {GPU} (VGA text)",
    ),
    "one good and one bad": (nothing, f"pass {TWIN} {AHCI}", "carries the file system mounted on /"),
    "a device that a guest has": (
        nothing,
        f"keep {NAMED}",
        f"guest debian has {NAMED}, which stays with the host",
    ),
    "no address": (nothing, "pass nvme0", "nvme0 is not a PCI address: write it as lspci -D shows it"),
    "a path": (nothing, "pass ../../x:0", "is not a PCI address"),
    "a device above 1f": (nothing, "pass 0000:02:20.0", "is not"),
    "a guest that is not there": (nothing, "autostart nobody yes", "there is no guest nobody on this host"),
    "a guest by a path": (nothing, "autostart ../guests/debian no", "is no name of a guest"),
    "a guest's device that is not passed": (
        nothing,
        f"guest other device add {TWIN}",
        f"guest other has {TWIN}, which stays with the host",
    ),
    "memory for two": (
        fill_memory,
        "autostart other yes",
        "4608 MiB are wanted and 4500 MiB can be locked",
    ),
    "no prefix": (nothing, "network address 10.0.0.1", "neither dhcp nor an IPv4 address with its prefix"),
    "a gateway outside": (
        nothing,
        "network gateway 10.0.0.1",
        "10.0.0.1 is not inside the network of 192.168.7.2/24",
    ),
    "an address without its gateway": (nothing, "network address 10.0.0.2/8", "192.168.7.1 is not inside"),
    "DHCP with a gateway": (nothing, "network address dhcp", "it needs a fixed address"),
    "a name server by name": (nothing, "network nameservers dns.example.org", "is not an IP address"),
    "a trial without time": (nothing, "network gateway none --try 5", "--try takes 10 to 3600 seconds"),
    "a trial without end": (nothing, "network gateway none --try 9999", "--try takes 10 to 3600 seconds"),
    "what is not set": (nothing, f"unset device {TWIN}", f"device {TWIN} is not set on this host"),
    "a confirmation of nothing": (nothing, "confirm", "no network is being tried"),
    "a check of the root disk": (nothing, f"check {AHCI}", "carries the file system mounted on /"),
}


@pytest.mark.parametrize("arranged, line, said", REFUSED.values(), ids=REFUSED)
def test_it_is_refused(host: FakeHost, arranged: Callable[[FakeHost], object], line: str, said: str) -> None:
    arranged(host)
    before = kept(host), counting(host)
    done = call(host, *line.split())
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (kept(host), counting(host)) == before
    assert host.driver_of(TWIN) == "nvme"


WRONG = (
    *(
        "pass",
        "keep --now",
        "show all",
        "autostart debian",
        "autostart debian maybe",
        "guest debian device",
        "frob",
    ),
    *("guest debian device take 0000:02:00.0", "guest debian autostart no x", "network", "network --try 60"),
    *(
        "network address",
        "network bridge br1",
        "network gateway none --try x",
        "unset",
        "reset now",
        "confirm 1",
    ),
    "network mtu 9000",
)


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_call_is_said(host: FakeHost, line: str) -> None:
    done = call(host, *line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "hostwright-set [show]" in done.stderr
    assert kept(host) == []


@pytest.mark.parametrize(
    "word", ["", "a b", "10.0.0.1/24\nend", "$(reboot)", "`x`", "\033[2J", "x;y", "é", "a*"]
)
def test_a_word_that_no_setting_has_is_a_wrong_call(host: FakeHost, word: str) -> None:
    for words in (("network", "address", word), ("pass", word), ("autostart", word, "no"), ("unset", word)):
        assert call(host, *words).returncode == 2
    assert kept(host) == []


def test_a_check_shows_every_row_and_changes_nothing(host: FakeHost) -> None:
    said = change(host, f"check {TWIN}")
    assert re.findall(r"^(?:green|yellow|red) +(\S+)", said, re.M) == [
        "interrupts",
        "group",
        "regions",
        "no-reset",
        "id",
    ]
    assert said.endswith(f"{TWIN}: nothing stands in the way\n")
    assert (kept(host), counting(host)) == ([], [])


# ---- guests


def settings(host: FakeHost, guest: str) -> dict[str, list[str]]:
    script = host.write("print", '. "$HOSTWRIGHT_ROOT/etc/rc.d/init.d/functions"\nprint_guest "$1"\n')
    found: dict[str, list[str]] = {}
    for line in host.run(script.name, guest).stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def test_whether_a_guest_starts_is_set_at_once(host: FakeHost) -> None:
    change(host, "autostart debian no")
    assert kept(host) == counting(host) == ["guest debian autostart no"]
    assert settings(host, "debian")["autostart"] == ["no"]
    assert host.init("guests", "start").stdout == ""
    change(host, "autostart debian yes")
    assert (kept(host), counting(host)) == ([], [])
    assert "guests: debian is left out: it has no disk yet" in host.init("guests", "start").stdout


def test_a_guest_gets_and_loses_devices(host: FakeHost) -> None:
    change(host, f"pass --now {TWIN}")
    change(host, f"guest debian device add {TWIN}")
    assert [one.split()[0] for one in settings(host, "debian")["device"]] == [NAMED, TWIN]
    change(host, f"guest debian device remove {NAMED}")
    assert [one.split()[0] for one in settings(host, "debian")["device"]] == [TWIN]
    change(host, f"unset guest debian device {TWIN}")
    change(host, f"unset guest debian device {NAMED}")
    assert [one.split()[0] for one in settings(host, "debian")["device"]] == [NAMED]


def words(host: FakeHost, guest: str) -> list[str]:
    """QEMU's words, as the host would start the guest."""
    shutil.copy2(ROOTFS / "usr/sbin/guest", host.write("usr/sbin/guest", ""))
    host.write("usr/share/OVMF/OVMF_VARS.fd", "")
    for name in ("bridge", "chown"):
        host.command(name)
    said = host.run("usr/sbin/guest", "start", "--dry-run", guest)
    assert said.returncode == 0, said.stderr
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {said.stdout}"], capture_output=True, text=True, check=True
    )
    confined, name, *said_words = done.stdout.splitlines()
    assert (confined, name) == ("/usr/libexec/hostwright/confined", guest)
    return said_words


def test_an_added_device_has_the_place_that_a_build_would_give_it(host: FakeHost, machine: Machine) -> None:
    change(host, f"pass --now {TWIN} {GPU} {SOUND}")
    for address in (TWIN, GPU, SOUND):
        change(host, f"guest debian device add {address}")
    built = local.apply(machine, local.parse((host.root / FILE).read_bytes()))
    [guest] = [one for one in built.guests if one.name == "debian"]
    assert words(host, "debian") == list(guest_argv.plan_host(built, guest, Accelerator.TCG))


def test_a_removed_device_leaves_its_port_to_the_next(host: FakeHost) -> None:
    change(host, f"pass --now {TWIN}")
    change(host, f"guest debian device remove {NAMED}")
    change(host, f"guest debian device add {TWIN}")
    host.write("etc/hostwright/guests/debian/extra.args", "-device\nusb-tablet\n")
    said = words(host, "debian")
    assert [word for word in said if word.startswith("vfio-pci")] == [
        f"vfio-pci,host={TWIN},bus=port5,addr=00.0"
    ]
    assert said[-4:] == ["-device", "usb-tablet", "-device", f"vfio-pci,host={TWIN},bus=port5,addr=00.0"]


def test_a_guest_has_as_many_devices_as_ports(host: FakeHost) -> None:
    many = [f"0000:1{number}:00.0" for number in range(4)]
    for number, address in enumerate(many):
        host.pci(f"0000:00:1{number}.0/{address}", "8086:10ed", "020000", "", f"2{number}")
        host.write(f"sys/kernel/iommu_groups/2{number}/reserved_regions", MSI)
        change(host, f"pass {address}")
    for address in many[:3]:
        change(host, f"guest debian device add {address}")
    done = call(host, "guest", "debian", "device", "add", many[3])
    assert "guest debian has no port left for so many devices" in done.stdout
    assert done.returncode == 1


def test_guests_that_start_with_the_host_share_nothing(host: FakeHost) -> None:
    change(host, f"guest other device add {NAMED}")
    done = call(host, "autostart", "other", "yes")
    assert done.returncode == 1
    assert f"guest debian starts with {NAMED} already" in done.stdout
    change(host, f"pass {GPU} {SOUND}")
    change(host, f"guest debian device add {GPU}")
    change(host, f"guest debian device remove {NAMED}")
    change(host, f"guest other device remove {NAMED}")
    change(host, "autostart other yes")
    done = call(host, "guest", "other", "device", "add", SOUND)
    assert f"{SOUND} and {GPU} are of one group and go to different guests" in done.stdout
    assert done.returncode == 1


def test_a_large_bar_needs_room_in_the_guest(host: FakeHost) -> None:
    host.write(
        "proc/cpuinfo", "flags\t\t: fpu vmx pdpe1gb\naddress sizes\t: 36 bits physical, 48 bits virtual\n"
    )
    size = 64 << 30
    host.write(
        f"{BUS}/0000:00:03.0/{TWIN}/resource", f"0x{size:016x} 0x{2 * size - 1:016x} 0x000000000014220c\n"
    )
    change(host, f"pass {TWIN}")
    done = call(host, "guest", "other", "device", "add", TWIN)
    assert done.returncode == 1
    assert re.search(r"red +bar-window .* need a window of", done.stdout)


def draw_commands(count: int) -> Iterator[tuple[str, str, str]]:
    """Commands about guests and devices, the key that each sets, and its value."""
    drawn = random.Random(7)
    for _ in range(count):
        guest, address = drawn.choice(("debian", "other")), drawn.choice((NAMED, TWIN))
        match drawn.randrange(3):
            case 0:
                value = drawn.choice(("yes", "no"))
                yield f"autostart {guest} {value}", f"guest {guest} autostart", value
            case 1:
                value = drawn.choice(("add", "remove"))
                yield f"guest {guest} device {value} {address}", f"guest {guest} device {address}", value
            case _:
                value = drawn.choice(("pass", "keep"))
                yield f"{value} {address}", f"device {address}", f"pass {NVME}" if value == "pass" else value


def judge(machine: Machine, lines: list[str]) -> Machine | None:
    """The machine with these settings, or None where the rules of host.toml refuse it."""
    made = local.apply(machine, local.parse("".join(f"{line}\n" for line in (*lines, "end")).encode()))
    try:
        for rule in rules.RULES:
            rule(made)
    except BadValueError:
        return None
    return made


def test_guests_are_refused_what_a_build_refuses_them(host: FakeHost, machine: Machine) -> None:
    answers = []
    for command, key, value in draw_commands(40):
        lines = [line for line in kept(host) if not line.startswith(f"{key} ")]
        wanted = judge(machine, [*lines, f"{key} {value}"])
        answers.append(call(host, *command.split()).returncode)
        assert answers[-1] == (0 if wanted else 1), (command, kept(host))
        found = judge(machine, kept(host))
        assert found
        assert wanted is None or view(found) == view(wanted), command
    assert 5 < answers.count(1) < 32


def view(machine: Machine) -> tuple[object, ...]:
    guests = [(one.name, one.autostart, set(one.devices)) for one in machine.guests]
    return {one.address for one in machine.devices}, guests


# ---- the network


def test_the_network_is_another_from_the_next_boot_on(host: FakeHost) -> None:
    change(host, "network address 10.0.0.2/24 gateway 10.0.0.1 nameservers 10.0.0.1,fe80::1")
    wanted = [
        "network address 10.0.0.2/24",
        "network gateway 10.0.0.1",
        "network nameservers 10.0.0.1 fe80::1",
    ]
    assert (kept(host), counting(host)) == (wanted, [])
    boot(host)
    host.init("network", "start")
    assert host.calls()[-2:] == ["ip address add 10.0.0.2/24 dev br0", "ip route add default via 10.0.0.1"]
    assert (host.root / "etc/resolv.conf").read_text().splitlines()[1:] == [
        "nameserver 10.0.0.1",
        "nameserver fe80::1",
    ]
    change(host, "reset")
    boot(host)
    host.init("network", "start")
    assert host.calls()[-2:] == [
        "ip address add 192.168.7.2/24 dev br0",
        "ip route add default via 192.168.7.1",
    ]
    assert "nameserver" not in (host.root / "etc/resolv.conf").read_text()[60:]


def test_a_change_of_the_network_keeps_its_fixed_ipv6_address(host: FakeHost) -> None:
    """It is taken off first: the kernel refuses an address that is there."""
    boot(host)
    with (host.root / "etc/sysconfig/network").open("a") as file:
        file.write("ipv6=fd00:7::2/64\n")
    host.init("network", "change")
    calls = [call for call in host.calls() if call.startswith("ip ")]
    flushed = calls.index("ip -6 address flush dev br0 scope global")
    assert flushed < calls.index("ip address add fd00:7::2/64 dev br0")
    assert calls.index("ip -4 address flush dev br0") < calls.index(BACK)


def test_an_edited_resolv_conf_is_left_alone(host: FakeHost) -> None:
    boot(host)
    host.init("network", "change")
    assert (host.root / "etc/resolv.conf").read_text() == "nameserver 192.168.7.1\n"


def wait_until(true: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


ADDED = "ip address add 10.0.0.2/24 dev br0"
BACK = "ip address add 192.168.7.2/24 dev br0"


def test_a_network_that_is_not_confirmed_goes(host: FakeHost) -> None:
    host.command("sleep", "exec /bin/sleep 0.05")
    change(host, "network address 10.0.0.2/24 gateway 10.0.0.1 --try 10")
    wait_until(lambda: ADDED in host.calls())
    wait_until(lambda: BACK in host.calls())
    wait_until(lambda: not (host.root / "run/hostwright/set/trial").exists())
    assert (kept(host), counting(host)) == ([], [])
    # The bridge stayed, and the guests on it.
    assert not [one for one in host.calls() if "link" in one]


def test_a_network_that_is_confirmed_stays(host: FakeHost) -> None:
    host.command("sleep", "exec /bin/sleep 0.2")
    change(host, "autostart debian no")
    change(host, "network address 10.0.0.2/24 gateway 10.0.0.1 --try 3600")
    wait_until(lambda: ADDED in host.calls())
    done = call(host, "autostart", "debian", "yes")
    assert (done.returncode, "a network is being tried" in done.stderr) == (1, True)
    assert kept(host) == ["guest debian autostart no"]
    assert "is being tried" in change(host, "show")
    change(host, "confirm")
    assert kept(host) == counting(host)
    assert kept(host)[1:] == ["network address 10.0.0.2/24", "network gateway 10.0.0.1"]
    change(host, "autostart debian yes")
    assert BACK not in host.calls()


def test_a_restart_ends_a_trial(host: FakeHost) -> None:
    """Nothing of it is on the disk, and /run is empty after a restart."""
    host.command("sleep", "exec /bin/sleep 1000")
    change(host, "network address 10.0.0.2/24 gateway 10.0.0.1 --try 60")
    wait_until(lambda: ADDED in host.calls())
    assert kept(host) == []
    for pid in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOSTWRIGHT_ROOT={host.root}\0".encode() in pid.read_bytes():
                os.kill(int(pid.parent.name), 9)
        except (OSError, ValueError):
            continue


# ---- show and unset


def test_show_names_the_line_of_host_toml(host: FakeHost) -> None:
    assert change(host, "show") == "nothing is set here: the host is as host.toml has it\n"
    change(host, f"pass {TWIN}")
    change(host, "pass " + GPU + " " + SOUND)
    change(host, f"guest debian device add {TWIN}")
    change(host, f"guest debian device remove {NAMED}")
    change(host, f"keep {NAMED}")
    change(host, "autostart other yes")
    change(host, "network gateway none nameservers 10.0.0.1,::1")
    assert change(host, "show").splitlines() == [
        f"device {TWIN} pass {NVME} (from the next boot on)",
        f'    host.toml: a table [[device]] with address = "{TWIN}" and id = "{NVME}"',
        f"device {GPU} pass 10de:1e37 (from the next boot on)",
        f'    host.toml: a table [[device]] with address = "{GPU}" and id = "10de:1e37"',
        f"device {SOUND} pass 10de:10f8 (from the next boot on)",
        f'    host.toml: a table [[device]] with address = "{SOUND}" and id = "10de:10f8"',
        f"guest debian device {TWIN} add",
        f'    host.toml: devices = ["{TWIN}"] in the [[guest]] table with name = "debian"',
        f"guest debian device {NAMED} remove",
        f'    host.toml: devices = ["{TWIN}"] in the [[guest]] table with name = "debian"',
        f"device {NAMED} keep (from the next boot on)",
        f'    host.toml: no [[device]] table with address = "{NAMED}"',
        "guest other autostart yes",
        '    host.toml: autostart = true in the [[guest]] table with name = "other"',
        "network gateway none (from the next boot on)",
        "    host.toml: no gateway in [network]",
        "network nameservers 10.0.0.1 ::1 (from the next boot on)",
        '    host.toml: nameservers = ["10.0.0.1", "::1"] in [network]',
    ]


def test_show_says_when_a_build_agrees(host: FakeHost) -> None:
    change(host, f"pass {TWIN}")
    change(host, "autostart other yes")
    boot(host)
    host.name_devices(f"{NAMED} {NVME}\n{TWIN} {NVME}\n")
    path = host.root / "etc/hostwright/guests/other/settings"
    path.write_text(path.read_text().replace("autostart no", "autostart yes"))
    said = change(host, "show").splitlines()
    assert said[1::2] == ["    host.toml says the same now"] * 2
    # Both say it: it is passed once.
    with_vfio = host.init("vfio", "start").stdout.splitlines()
    assert [line for line in with_vfio if TWIN in line] == [
        f"[ OK ] vfio: {TWIN} {NVME} is on vfio-pci, taken from nvme"
    ]


def test_unset_goes_back_to_host_toml(host: FakeHost) -> None:
    change(host, f"pass {TWIN}")
    boot(host)
    change(host, f"unset device {TWIN}")
    assert kept(host) == []
    assert change(host, "show").splitlines() == [
        "nothing is set here: the host is as host.toml has it",
        f"device {TWIN} pass {NVME} (until the next boot)",
    ]
    boot(host)
    assert host.init("vfio", "status").stdout == f"[ OK ] vfio: {NAMED} {NVME} is on vfio-pci\n"


def test_unset_is_refused_where_a_guest_needs_it(host: FakeHost) -> None:
    change(host, f"pass {TWIN}")
    change(host, f"guest other device add {TWIN}")
    done = call(host, "unset", "device", TWIN)
    assert done.returncode == 1
    assert f"guest other has {TWIN}" in done.stdout
    change(host, f"unset guest other device {TWIN}")
    change(host, f"unset device {TWIN}")
    assert kept(host) == []


def test_a_gateway_and_its_address_are_unset_one_after_the_other(host: FakeHost) -> None:
    change(host, "network address 10.0.0.2/24 gateway 10.0.0.1")
    done = call(host, "unset", "network", "address")
    assert "10.0.0.1 is not inside the network of 192.168.7.2/24" in done.stderr
    change(host, "network gateway none")
    change(host, "unset network address")
    change(host, "unset network gateway")
    assert kept(host) == []


# ---- a file that is broken

BROKEN = {
    "torn": (f"device {TWIN} pass {NVME}\nnetwork address 10.0.0.2/2", "it is torn: the last line is not"),
    "empty": ("", "it is torn"),
    "hostile": (f"device {TWIN} pass $(reboot)\nend\n", "line 1: "),
    "a terminal's sequence": ("\033]0;x\007\nend\n", "other characters than printable ASCII"),
    "one line bad": (f"device {TWIN} pass {NVME}\nfrob\nend\n", "line 2: no such setting"),
    "too large": ("x" * 70000, "it is larger than 64 KiB"),
    "what this build cannot have": ("network gateway 10.0.0.1\nend\n", "10.0.0.1 is not inside"),
}


@pytest.mark.parametrize("text, reason", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_counts_as_a_whole_for_nothing(host: FakeHost, text: str, reason: str) -> None:
    host.write(FILE, text)
    said = boot(host)
    assert said.startswith("[FAIL] settings: what was set on this host does not count: ")
    assert reason in said and len(said.splitlines()) == 1
    assert counting(host) == []
    assert reason in (host.root / "run/hostwright/settings.refused").read_text()
    host.init("vfio", "start")
    assert host.driver_of(TWIN) == "nvme"
    for line in ("show", f"pass {TWIN}"):
        done = call(host, *line.split())
        assert done.returncode == 1
        assert reason in done.stderr and "hostwright-set reset" in done.stderr
    assert (host.root / FILE).read_text() == text
    change(host, "reset")
    assert boot(host) == ""
    assert not (host.root / "run/hostwright/settings.refused").exists()


def test_what_is_no_file_is_not_waited_for(host: FakeHost) -> None:
    (host.root / FILE).parent.mkdir(parents=True)
    os.mkfifo(host.root / FILE)
    assert "it is no regular file" in boot(host)
    (host.root / FILE).unlink()
    (host.root / FILE).symlink_to("/etc/passwd")
    assert "it is no regular file" in boot(host)


def test_a_data_partition_that_cannot_be_read_is_told(host: FakeHost) -> None:
    host.write("dev/hostwright/data", "")
    host.command("mount", "exit 32")
    assert host.init("settings", "start").stdout.endswith("the data partition cannot be read\n")


def test_the_file_is_read_in_its_place_once_that_is_mounted(host: FakeHost) -> None:
    change(host, f"pass {TWIN}")
    host.write("dev/hostwright/data", "")
    host.command("mount", "exit 32")
    host.command("mountpoint", f'[ "$2" = {host.root}/var ]')
    assert (
        host.init("settings", "start").stdout
        == f"[ OK ] settings: device {TWIN} pass {NVME}, set on this host\n"
    )
    assert counting(host) == kept(host)


def test_a_host_without_a_data_partition_boots_and_keeps_nothing(host: FakeHost) -> None:
    done = host.init("settings", "start")
    assert (done.returncode, done.stdout) == (0, "")
    host.write("run/hostwright/var/x", "")
    done = call(host, "autostart", "debian", "no")
    assert (done.returncode, kept(host)) == (1, [])
    assert "the data partition is missing or damaged" in done.stderr


def test_the_file_is_whole_before_it_has_its_name(host: FakeHost) -> None:
    change(host, "autostart debian no")
    place = host.root / FILE
    syncs = [call for call in host.calls() if call.startswith("sync")]
    assert syncs == [f"sync {place}.new", f"sync {place.parent}"]
    assert [one.name for one in place.parent.iterdir()] == ["settings"]


def test_a_disk_that_is_full_leaves_the_old_file(host: FakeHost) -> None:
    change(host, "autostart debian no")
    before = (host.root / FILE).read_bytes()
    host.command("sync", "exit 1")
    done = call(host, "pass", TWIN)
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)
    assert (host.root / FILE).read_bytes() == before


def test_the_build_knows_the_machine_that_the_host_is(host: FakeHost, machine: Machine) -> None:
    change(host, f"pass {TWIN}")
    change(host, f"guest debian device add {TWIN}")
    built = local.apply(machine, local.parse((host.root / FILE).read_bytes()))
    again = replace(built, devices=machine.devices, guests=machine.guests)
    assert again == machine
    assert [one.address for one in built.devices] == [NAMED, TWIN]
