"""One machine, two judges: `./doit doctor` on its capture and the scripts of the host on its /sys say the same.

tests/machines --> Capture --boot--> FakeHost --> capture.load + doctor  --> findings --> equal
                                             \\-> guest check, vfio start --> findings /
"""

import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.paths import ROOTFS
from hostwright.doctor import case as cases
from hostwright.doctor import device as devices
from hostwright.doctor import findings, hostuse, kinds, refusal, shared, window
from hostwright.doctor.case import Case
from hostwright.image.templates import render_text
from hostwright.machine.load import load
from hostwright.machine.model import Device, Machine
from hostwright.pci import capture, groups, hierarchy
from hostwright.pci.function import ROOT
from hostwright.pci.inventory import Capture, Group, PciFunction, ReservedRegion
from tests.fakes import computer, machines
from tests.fakes.host import FakeHost

GUEST = "usr/sbin/guest"
# What both judges say of a device, word for word the same finding.
SHARED = frozenset(
    (
        *(
            "not-passable",
            "vfs-enabled",
            "bar-window",
            "no-reset",
            "reset-bus-only",
            "twin-ids",
            "numa-node",
            "hugepages",
            "no-group",
        ),
    )
)
# What keeps the kernel from giving the group away. The doctor tells reasons apart that the host sees as one.
BARRING = frozenset(("group-not-viable", "group-host-needs", "rmrr-direct", "ivmd"))
BARRED = "the group is barred"
CARRYING = frozenset(("holds-root", "holds-mount", "holds-part", "holds-network", "holds-default-route"))
MSI = ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi")
QEMU = "#!/bin/sh\nexit 1\n"


def boot(found: Capture) -> Capture:
    """The machine as a kernel with the IOMMU on shows it: groups, what each keeps mapped, and ways to reset."""
    case = cases.open_case(found, groups.current_setting(found.cmdline, hierarchy.find_series(found.release)))
    functions = found.functions
    if not found.has_iommu and not case.machine.obstacles:
        predicted = case.predict(groups.current_words(found.cmdline)).groups
        numbers = {one: str(place) for place, group in enumerate(map(sorted, predicted)) for one in group}
        functions = tuple(replace(one, group=numbers.get(one.address)) for one in functions)
    known: dict[str, Group] = {}
    for number in {one.group for one in functions if one.group is not None}:
        known[number] = replace(found.groups.get(number) or Group(number), type="DMA")
        if not known[number].regions:
            kept = [
                one
                for member in functions
                if member.group == number
                for one in case.regions.get(member.address, ())
            ]
            known[number] = replace(known[number], regions=(*dict.fromkeys(kept), MSI))
    if all(one.resets is None for one in functions):
        ways = [find_resets(one, found) for one in functions]
        # A kernel that names none at all is one before 5.15.
        spare = () if any(ways) else ("pm",)
        functions = tuple(replace(one, resets=way or spare) for one, way in zip(functions, ways, strict=True))
    return replace(found, functions=functions, groups=known)


def find_resets(function: PciFunction, found: Capture) -> tuple[str, ...]:
    """What Linux names, were there no reset by power management; a bus is reset if it has one function."""
    if devices.has_flr(function):
        return ("flr",)
    is_alone = [one.bus for one in found.functions].count(function.bus) == 1
    return ("bus",) if function.parent and is_alone else ()


# The doctor.


def ask_doctor(found: Capture) -> dict[str, set[str]]:
    """The shared findings about each function of a capture."""
    setting = groups.current_setting(found.cmdline, hierarchy.find_series(found.release))
    case = cases.open_case(found, setting)
    return {one.address: judge(case, one) for one in found.functions}


def judge(case: Case, function: PciFunction) -> set[str]:
    if refused := {one.rule for one in kinds.find_kind(function)}:
        return refused & SHARED | {one.rule for one in case.findings} & {"hugepages"}
    plan = refusal.Wish(name_device(function.address, case), case, {function.address: function})
    said = {one.rule for one in (*devices.find_own(case, function), *case.findings)}
    said |= {one.finding.rule for one in refusal.find_refusals(plan)}
    return said & SHARED | ({BARRED} if said & BARRING else set())


def name_device(address: str, case: Case) -> Machine:
    """The lab machine, passing this device, with the override that the captured one has."""
    machine = load(paths.TREE / "host.toml")
    iommu = replace(machine.iommu, acs_override=groups.current_words(case.capture.cmdline))
    return replace(machine, iommu=iommu, devices=(Device(address, None, ""),), guests=())


# The host.


def arrange(host: FakeHost, found: Capture) -> None:
    """The machine with a guest for each device, whose QEMU, firmware and disk are there."""
    host.add_machine(found)
    template = ROOTFS / "usr/libexec/hostwright/findings.j2"
    rules = {"findings": tuple(findings.load().values())}
    host.write("usr/libexec/hostwright/findings", render_text(template.read_text(), template.name, rules))
    for name in ("usr/libexec/hostwright/guest-check", "usr/libexec/hostwright/guest-start", GUEST):
        shutil.copy2(ROOTFS / name, host.write(name, ""))
    host.write("usr/bin/qemu-system-x86_64", QEMU).chmod(0o755)
    host.write("dev/kvm", "")
    host.write("run/hostwright/accelerator", "kvm a kernel ran under it\n")
    for name in ("OVMF_CODE.fd", "OVMF_VARS.fd"):
        host.write(f"usr/share/OVMF/{name}", "")
    host.name_devices("".join(f"{one.address} {one.id}\n" for one in found.functions))
    for number, one in enumerate(found.functions):
        settings = f"memory_mib 512\nvcpus 1\nssh 2201\ndevice {one.address} {one.id} x\n"
        host.write(f"etc/hostwright/guests/g{number}/settings", settings)


def ask_host(host: FakeHost, found: Capture) -> dict[str, set[str]]:
    """The shared findings of `guest check` about each function."""
    calls = "".join(
        f"echo '= {one.address}'\nguest check g{number}\n" for number, one in enumerate(found.functions)
    )
    script = host.write("ask", f'guest() (. "$HOSTWRIGHT_ROOT/{GUEST}")\n{calls}')
    done = host.run(script.name)
    answers: dict[str, set[str]] = {}
    for part in done.stdout.split("= ")[1:]:
        address, _, text = part.partition("\n")
        said = set(re.findall(r"^(?:yellow|red|note) +(\S+)", text, re.M))
        answers[address] = said & SHARED | ({BARRED} if said & BARRING else set())
    return answers


BTRFS = "9a4f2c1e-0b7d-4e8a-a1c3-5d6e7f801234"
COMPUTER = boot(computer.build())
MADE_UP = {
    "computer": COMPUTER,
    "with-large-bars": computer.with_texts(
        computer.change(COMPUTER, computer.CARD, bars=(computer.bar(1, 512 * computer.GIB),)),
        cpuinfo=computer.CPUINFO.replace("46 bits", "39 bits"),
    ),
    "with-bridge-and-mapped-disk": computer.with_texts(
        COMPUTER, mounted="sda1\t/\ndm-0\t/srv", lower="dm-0\tnvme1n1\nbr0\teth0", default_route="br0"
    ),
    "with-bridge-without-a-route": computer.with_texts(COMPUTER, default_route="", lower="br0\teth0"),
    "with-btrfs-on-two-disks": computer.with_texts(
        COMPUTER, mounted="sda1\t/", lower=f"{BTRFS}\tsda1\n{BTRFS}\tnvme1n1"
    ),
}
NAMES = [*machines.find_names(), *MADE_UP]


@pytest.fixture(params=NAMES, scope="module")
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A machine of tests/machines or a made-up one, booted."""
    if request.param in MADE_UP:
        return MADE_UP[request.param]
    machine = machines.load(request.param)
    place = tmp_path_factory.mktemp("captures") / "machine.tar"
    return boot(capture.load(machines.write(machine, place)))


@pytest.fixture
def host(tmp_path: Path, captured: Capture) -> FakeHost:
    made = FakeHost(tmp_path / "root")
    arrange(made, captured)
    return made


def test_the_tree_says_what_the_capture_said(host: FakeHost, captured: Capture) -> None:
    """Both judges see the described machine."""
    read = capture.load(host.root / "sys")
    plain = [replace(one, numa_node=None, driver_override="") for one in read.functions]
    wanted = [
        replace(one, numa_node=None if one.numa_node == -1 else one.numa_node) for one in captured.functions
    ]
    assert [replace(one, numa_node=None, driver_override="") for one in wanted] == plain
    assert (read.groups, read.tables) == (captured.groups, captured.tables)
    assert {upper: set(parts) for upper, parts in read.lower.items()} == {
        upper: set(parts) for upper, parts in captured.lower.items()
    }
    assert read.default_routes == captured.default_routes
    assert {name: entries for name, entries in read.classes.items() if entries} == {
        name: entries for name, entries in captured.classes.items() if entries
    }


def test_both_judges_find_the_same(host: FakeHost, captured: Capture) -> None:
    read = capture.load(host.root / "sys")
    doctor, said = ask_doctor(read), ask_host(host, read)
    assert doctor.keys() == said.keys()
    assert {one: said[one] ^ doctor[one] for one in said if said[one] != doctor[one]} == {}


def test_both_judges_know_what_the_host_stands_on(host: FakeHost, captured: Capture) -> None:
    read = capture.load(host.root / "sys")
    uses = hostuse.find_uses(read)
    wanted = {
        one.address
        for one in read.functions
        if not list(kinds.find_kind(one)) and {use.rule for use in uses.get(one.address, ())} & CARRYING
    }
    with host:
        done = host.init("vfio", "start")
    said = re.findall(r"vfio: (\S+) is refused: \S+ carries", done.stdout + done.stderr)
    assert set(said) == wanted


# hostwright-set, on the same machine with no device passed yet.

SET = "usr/sbin/hostwright-set"
# What the script vfio says of each is one row there.
NEEDED = "the host needs it, or it has no group"
AS_NEEDED = CARRYING | {"no-group", "iommu-missing", "iommu-off", "host-needs"}
# About host.toml alone, or what a kernel that runs does not show.
ONLY_DOCTORS = frozenset(
    ("iommu-other-vendor", "override-ignored", "not-responding", "behind-vmd", "bar-window")
)


def ask_set(host: FakeHost, addresses: list[str]) -> dict[str, set[str]]:
    """The red rows of `hostwright-set check` about each function alone."""
    host.name_devices("")
    shutil.rmtree(host.root / "etc/hostwright/guests")
    for name in ("usr/libexec/hostwright/set-check", SET):
        shutil.copy2(ROOTFS / name, host.write(name, ""))
    calls = "".join(f"echo '= {one}'\nset_ check {one}\n" for one in addresses)
    script = host.write("ask", f'set_() (. "$HOSTWRIGHT_ROOT/{SET}") 2>&1\n{calls}')
    parts = (part.partition("\n") for part in host.run(script.name).stdout.split("= ")[1:])
    return {address: gather(re.findall(r"^red +(\S+)", text, re.M)) for address, _, text in parts}


def gather(rules: Iterable[str]) -> set[str]:
    """Rules, with those that both sides divide in another way as one."""
    said = set(rules) - ONLY_DOCTORS
    together = {NEEDED} if said & AS_NEEDED else set()
    # The host looks no further then.
    return together or {BARRED if one in BARRING else one for one in said}


def test_what_the_build_refuses_hostwright_set_refuses(host: FakeHost, captured: Capture) -> None:
    read = capture.load(host.root / "sys")
    setting = groups.current_setting(read.cmdline, hierarchy.find_series(read.release))
    case = cases.open_case(read, setting)
    wanted = [one for one in read.functions if kinds.is_wanted(one)]
    built = {}
    for one in wanted:
        plan = refusal.Wish(name_device(one.address, case), case, {one.address: one})
        built[one.address] = gather(found.finding.rule for found in refusal.find_refusals(plan))
    said = ask_set(host, [one.address for one in wanted])
    assert {one: (said[one], built[one]) for one in built if said[one] != built[one]} == {}


# What one script has a copy of: it is carried to machines that have no other file of the host.

CARRIED = ("block_parts", "net_parts", "btrfs_parts", "route_tables")
CAPTURE = ROOTFS / "usr/sbin/hostwright-capture"


@pytest.mark.parametrize("name", CARRIED)
def test_the_capture_has_the_tables_of_the_rules(name: str) -> None:
    assert re.findall(rf"\b{name}='(.*?)'", CAPTURE.read_text()) == [dict(shared.list_shell_rules())[name]]


def test_the_capture_finds_default_routes_as_vfio_does() -> None:
    scripts = (CAPTURE, ROOTFS / "etc/rc.d/init.d/vfio")
    one, other = (
        re.findall(r"^default_routes\(\) \(\n.*?^\)", each.read_text(), re.M | re.S) for each in scripts
    )
    assert one == other
    assert len(one) == 1


# The window of a guest.

GIB, MIB = computer.GIB, computer.MIB
CARDS = {
    "nothing": [()],
    "16 GiB and 32 MiB": [(16 * GIB, 32 * MIB)],
    "twice 16 GiB and 32 MiB": [(16 * GIB, 32 * MIB)] * 2,
    "a small card first": [(16 * MIB,), (16 * GIB, 32 * MIB), (4096,)],
    "eight of 128 GiB": [(128 * GIB, 32 * MIB, 16 * MIB)] * 8,
}


@pytest.mark.parametrize("sizes", CARDS.values(), ids=CARDS)
def test_both_measure_the_same_room(tmp_path: Path, sizes: list[tuple[int, ...]]) -> None:
    host = FakeHost(tmp_path / "root")
    bars = [[computer.bar(2 * place, size) for place, size in enumerate(card)] for card in sizes]
    names = [f"0000:{bus:02x}:00.0" for bus in range(1, len(sizes) + 1)]
    host.add_machine(
        Capture(
            "made up",
            tuple(
                PciFunction(name, "10de:1e37", 0x030000, bars=tuple(one), parent=ROOT)
                for name, one in zip(names, bars, strict=True)
            ),
        )
    )
    listed = "".join(f"{name} -\n" for name in names)
    assert ask_guest_check(host, f"devices='{listed}'\nmeasure_window\necho $window_mib") == [
        window.measure(bars) // MIB
    ]


@pytest.mark.parametrize("bits", [32, 36, 38, 39, 46, 52])
@pytest.mark.parametrize("flags", ["fpu vmx pdpe1gb", "fpu vmx"])
def test_both_know_the_same_windows(tmp_path: Path, bits: int, flags: str) -> None:
    host = FakeHost(tmp_path / "root")
    cpuinfo = f"flags\t\t: {flags}\naddress sizes\t: {bits} bits physical, 48 bits virtual\n"
    host.write("proc/cpuinfo", cpuinfo)
    found = window.find_window(cpuinfo)
    assert found
    said = ask_guest_check(host, "accelerator=kvm\nread_windows\necho $opened_mib $most_mib")
    assert said == [found.default // MIB, found.largest // MIB]


def ask_guest_check(host: FakeHost, lines: str) -> list[int]:
    """What lines of shell print that have the functions of guest-check."""
    shutil.copy2(ROOTFS / "usr/libexec/hostwright/guest-check", host.write("check", ""))
    script = host.write("ask", f'set -u\nroot=$HOSTWRIGHT_ROOT\n. "$root/check"\n{lines}\n')
    done = host.run(script.name)
    assert done.stderr == ""
    return [int(word) for word in done.stdout.split()]
