"""What host.toml asks of a machine and its capture cannot give is refused, with file, line, key and remedy."""

import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostwright.base.errors import UserError
from hostwright.doctor import findings, refusal
from hostwright.machine import load
from hostwright.pci import capture as captures
from hostwright.pci.function import Kind
from hostwright.pci.inventory import Capture, Mount, PciFunction
from tests.fakes.computer import (
    BOARD,
    CARD,
    CPUINFO,
    DRIVE,
    FUNCTIONS,
    GIB,
    GOOD_PORT,
    ISA,
    NIC,
    SATA,
    SMBUS,
    SOUND,
    TWIN,
    bar,
    build,
    change,
    dmar,
    function,
    in_groups,
    rmrr,
    scope,
    with_texts,
)

BASE = build()
IDLE = with_texts(BASE, default_route="")
NODE = "id:8086:0c05"
SERIES = "6.12"


def table(address: str, id: str = "") -> str:
    return f'[[device]]\naddress = "{address}"\n' + (f'id = "{id}"\n' if id else "")


def guest(name: str, *devices: str, memory_mib: int = 1024, more: str = "") -> str:
    given = ", ".join(f'"{one}"' for one in devices)
    mac = f"52:54:00:00:00:{ord(name):02x}"
    return (
        f'[[guest]]\nname = "{name}"\nmemory_mib = {memory_mib}\nmac = "{mac}"\ndevices = [{given}]\n{more}'
    )


def override(*words: str) -> str:
    return f"[iommu]\nacs_override = [{', '.join(f'{chr(34)}{word}{chr(34)}' for word in words)}]\n"


def kernel(key: str, entry: str) -> str:
    return f'[kernel]\n{key} = ["{entry}"]\n'


def added(*functions: PciFunction) -> Capture:
    return replace(BASE, functions=(*FUNCTIONS, *functions))


PAIR = table(CARD) + table(SOUND)
LOOSE = change(BASE, SOUND, driver="")
NARROW = with_texts(BASE, cpuinfo=CPUINFO.replace("46 bits", "39 bits"))
VF = function("0000:02:02.0", Kind.ENDPOINT, "14e4:16a9", 0x020000, "0000:00:1c.0", physical=NIC)

VMD = "0000:00:0e.0"
VOLUMES = added(
    function(VMD, Kind.ROOT_COMPLEX_ENDPOINT, "8086:467f", 0x010400, driver="vmd"),
    function("10000:e1:00.0", Kind.ENDPOINT, "144d:a80a", 0x010802, owner=VMD, driver="nvme"),
)

# The capture, what host.toml says, the key that the refusal names, its rule, and words of its message.
REFUSED: dict[str, tuple[Capture, str, str, str, str]] = {
    "absent": (BASE, table("0000:09:00.0"), "device[0].address", "device-absent", "0000:09:00.0 is not in"),
    "absent, the second": (
        *(BASE, PAIR + table("01:00.7"), "device[2].address", "device-absent"),
        "0000:01:00.7",
    ),
    "other id": (BASE, table(TWIN, "144d:a809"), "device[0].id", "device-other-id", "144d:a808"),
    "absent, in another domain": (
        BASE,
        *(table("0001:01:00.0"), "device[0].address", "device-absent", "0001:01:00.0"),
    ),
    "other id of the second": (
        *(BASE, table(TWIN) + table(NIC, "8086:10d3"), "device[1].id", "device-other-id"),
        "14e4:165f",
    ),
    "root port": (BASE, table(GOOD_PORT), "device[0].address", "not-passable", "PCI bridge"),
    "ISA bridge": (BASE, table(ISA), "device[0].address", "not-passable", "ISA bridge"),
    "SMBus": (BASE, table(SMBUS), "device[0].address", "not-passable", "SMBus"),
    "memory controller": (
        added(function("0000:00:1f.5", Kind.CONVENTIONAL, "8086:1", 0x058000)),
        *(table("0000:00:1f.5"), "device[0].address", "not-passable", "class 0580"),
    ),
    "root file system": (BASE, table(DRIVE), "device[0].address", "holds-root", "/ on nvme0n1p2"),
    "root on a namespace of several controllers": (
        replace(
            BASE,
            classes={
                "block": {
                    "nvme0n1p2": "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2",
                    "nvme0c0n1": f"../../devices/pci0000:00/0000:00:1c.1/{DRIVE}/nvme/nvme0/nvme0c0n1",
                }
            },
        ),
        *(table(DRIVE), "device[0].address", "holds-root", "/ on nvme0n1p2"),
    ),
    "other file system": (
        with_texts(BASE, mounted="nvme0n1p2\t/\nnvme1n1\t/srv"),
        *(table(TWIN), "device[0].address", "holds-mount", "/srv on nvme1n1"),
    ),
    "swap": (
        with_texts(BASE, swaps="/dev/nvme1n1 partition 1 0 -2"),
        *(table(TWIN), "device[0].address", "holds-mount", "swap"),
    ),
    "root on an array": (
        with_texts(BASE, mounted="dm-0\t/", lower="dm-0\tnvme1n1"),
        *(table(TWIN), "device[0].address", "holds-root", "/ on dm-0"),
    ),
    "root on an array of arrays": (
        with_texts(BASE, mounted="dm-1\t/", lower="dm-1\tdm-0\ndm-0\tnvme1n1"),
        *(table(TWIN), "device[0].address", "holds-root", "/ on dm-1"),
    ),
    "other file system on an array": (
        with_texts(BASE, mounted="nvme0n1p2\t/\nmd0\t/srv", lower="md0\tnvme1n1"),
        *(table(TWIN), "device[0].address", "holds-mount", "/srv on md0"),
    ),
    "swap on an array": (
        with_texts(BASE, swaps="/dev/dm-0 partition 1 0 -2", lower="dm-0\tnvme1n1"),
        *(table(TWIN), "device[0].address", "holds-mount", "swap"),
    ),
    "root on USB": (
        replace(
            added(function("0000:00:14.0", Kind.ENDPOINT, "8086:8d31", 0x0C0330)),
            classes={"block": {"sda": "../../devices/pci0000:00/0000:00:14.0/usb1/1-1/block/sda"}},
            mounted=(Mount("sda", "/"),),
        ),
        *(table("0000:00:14.0"), "device[0].address", "holds-root", "/ on sda"),
    ),
    "default route": (BASE, table(NIC), "device[0].address", "holds-default-route", "eth0"),
    "default route through a bridge": (
        with_texts(BASE, default_route="br0", lower="br0\teth0"),
        *(table(NIC), "device[0].address", "holds-default-route", "br0"),
    ),
    "default route through a bond": (
        with_texts(BASE, default_route="bond0", lower="bond0\teth0"),
        *(table(NIC), "device[0].address", "holds-default-route", "bond0"),
    ),
    "default route through a VLAN of a bridge": (
        with_texts(BASE, default_route="vlan5", lower="vlan5\tbr0\nbr0\teth0"),
        *(table(NIC), "device[0].address", "holds-default-route", "vlan5"),
    ),
    "console": (
        replace(BASE, cmdline="ro quiet"),
        *(table(BOARD), "device[0].address", "holds-console", "fb0"),
    ),
    "console, and a screen in host.toml": (
        replace(BASE, cmdline="ro quiet"),
        *(kernel("cmdline", "console=tty1") + table(BOARD), "device[0].address", "holds-console", "fb0"),
    ),
    "virtual functions": (added(VF), table(NIC), "device[0].address", "vfs-enabled", "0000:02:02.0"),
    "virtual function with its physical one": (
        with_texts(added(VF), default_route="", mounted=""),
        *(table(VF.address), "device[0].address", "group-host-needs"),
        "the physical function of 0000:02:02.0",
    ),
    "device in the group of both": (
        with_texts(added(VF), default_route="", mounted=""),
        *(table(DRIVE) + table(VF.address), "device[0].address", "group-host-needs"),
        "the physical function of 0000:02:02.0",
    ),
    "behind VMD": (
        change(BASE, TWIN, owner="0000:00:0e.0"),
        *(table(TWIN), "device[0].address", "behind-vmd", "0000:00:0e.0"),
    ),
    "VMD with a mounted drive": (
        replace(
            VOLUMES,
            classes={
                "block": {"nvme7n1": f"../../devices/pci0000:00/{VMD}/pci10000:e1/10000:e1:00.0/nvme7n1"}
            },
            mounted=(Mount("nvme7n1", "/srv"),),
        ),
        *(table(VMD), "device[0].address", "holds-mount", "/srv on nvme7n1"),
    ),
    "no IOMMU": (replace(BASE, tables={}), table(TWIN), "device[0].address", "iommu-missing", "DMAR"),
    "other IOMMU": (
        BASE,
        '[iommu]\nvendor = "amd"\n' + table(TWIN),
        *("iommu.vendor", "iommu-other-vendor", "intel"),
    ),
    "no interrupt remapping": (
        with_texts(replace(BASE, tables={"DMAR": dmar(flags=0)}), dmesg=""),
        *(table(TWIN), "device[0].address", "no-interrupt-remapping", "table DMAR"),
    ),
    "RMRR": (
        replace(BASE, tables={"DMAR": dmar(rmrr(0x1000, 0x1FFF, scope(4, (0, 0))))}),
        *(table(TWIN), "device[0].address", "rmrr-direct", "0x1000-0x1fff"),
    ),
    "RMRR of a companion": (
        replace(BASE, tables={"DMAR": dmar(rmrr(0x1000, 0x1FFF, scope(0, (1, 0), (0, 1))))}),
        *(table(CARD), "device[0].address", "group-host-needs", "firmware keeps memory mapped"),
    ),
    "RMRR of a part of the chipset without a driver": (
        replace(
            change(change(BASE, ISA, driver=""), SMBUS, driver=""),
            tables={"DMAR": dmar(rmrr(0x1000, 0x1FFF, scope(0, (0x1F, 3))))},
        ),
        *(table(SATA), "device[0].address", "group-host-needs", "firmware keeps memory mapped"),
    ),
    "in no group": (
        change(in_groups(BASE), TWIN, group=None),
        *(table(TWIN), "device[0].address", "no-group", "in no IOMMU group"),
    ),
    "companion with a driver": (
        BASE,
        *(table(CARD), "device[0].address", "group-not-viable", "0000:01:00.1, bound to snd_hda_intel"),
    ),
    "companion with a driver, the other way": (
        *(BASE, table(SOUND), "device[0].address", "group-not-viable"),
        "bound to nouveau",
    ),
    "with the root file system": (
        IDLE,
        *(table(NIC), "device[0].address", "group-host-needs", "/ on nvme0n1p2"),
    ),
    "with it in spite of a word": (
        IDLE,
        *(override("multifunction") + table(NIC), "device[0].address", "group-host-needs", "0000:03:00.0"),
    ),
    "with it in spite of another id": (
        IDLE,
        *(override("id:8086:2f02") + table(NIC), "device[0].address", "group-host-needs", "nvme0n1p2"),
    ),
    "with the chipset": (BASE, table(SATA), "device[0].address", "group-host-needs", "ISA bridge"),
    "by the groups of the running kernel": (
        change(in_groups(BASE, (CARD, SOUND)), TWIN, is_whole=False),
        *(table(CARD), "device[0].address", "group-not-viable", "snd_hda_intel"),
    ),
    "two guests of one group": (
        BASE,
        PAIR + guest("a", CARD) + guest("b", SOUND),
        *("guest[0].devices[0]", "group-split", SOUND),
    ),
    "ids that take the root disk": (
        BASE,
        kernel("modules", "vfio-pci ids=144d:a808") + table(TWIN),
        *("kernel.modules[0]", "ids-take-others", "0000:03:00.0 (/ on nvme0n1p2)"),
    ),
    "ids that take the card of the default route": (
        BASE,
        kernel("modules", "vfio-pci ids=14e4:165f") + table(TWIN),
        *("kernel.modules[0]", "ids-take-others", "0000:02:00.0 (eth0)"),
    ),
    "ids with other options": (
        BASE,
        kernel("modules", "vfio_pci disable_vga=1 ids=10de:1,144D:A808") + table(TWIN),
        *("kernel.modules[0]", "ids-take-others", "ids=144D:A808"),
    ),
    "ids by subsystem": (
        change(BASE, DRIVE, subsystem="1028:2"),
        kernel("modules", "vfio-pci ids=144d:a808:1028:2"),
        *("kernel.modules[0]", "ids-take-others", DRIVE),
    ),
    "ids of any vendor by class": (
        BASE,
        kernel("modules", "vfio-pci ids=ffffffff:ffffffff:ffffffff:ffffffff:010802:ffffff") + table(TWIN),
        *("kernel.modules[0]", "ids-take-others", DRIVE),
    ),
    "ids for pci-stub": (
        BASE,
        kernel("cmdline", "pci-stub.ids=14e4:165f") + table(TWIN),
        *("kernel.cmdline[0]", "ids-take-others", "0000:02:00.0 (eth0)"),
    ),
    "ids in the words of the IOMMU": (
        BASE,
        '[iommu]\nextra = ["pci_stub.ids=102b:0534"]\n' + table(TWIN),
        *("iommu.extra[0]", "ids-take-others", BOARD),
    ),
    "BAR of a device": (
        change(NARROW, CARD, bars=(bar(1, 512 * GIB),)),
        PAIR + guest("a", CARD, SOUND),
        *("guest[0].devices", "bar-window", "512.02 GiB, and a guest has 256 GiB at most"),
    ),
    "BARs of two devices": (
        change(change(NARROW, CARD, bars=(bar(1, 256 * GIB),)), TWIN, bars=(bar(0, 16 * GIB),)),
        PAIR + table(TWIN) + guest("a", CARD, SOUND, TWIN),
        *("guest[0].devices", "bar-window", "272.02 GiB"),
    ),
    "memory of the guest": (
        BASE,
        table(TWIN) + guest("a", TWIN, memory_mib=32768),
        *("guest[0].memory_mib", "locked-memory", "32768 MiB are wanted and 32256 MiB"),
    ),
    "memory of two guests": (
        BASE,
        PAIR + table(TWIN) + guest("a", TWIN, memory_mib=20000) + guest("b", CARD, memory_mib=20000),
        *("guest[1].memory_mib", "locked-memory", "40000 MiB are wanted"),
    ),
}

# What is accepted, and the rules that it is warned of.
ACCEPTED: dict[str, tuple[Capture, str, str]] = {
    "nothing": (BASE, "", ""),
    "alone": (BASE, table(TWIN, "144d:a808"), ""),
    "card and sound": (BASE, PAIR + guest("a", CARD, SOUND), ""),
    "VMD with what is behind it": (VOLUMES, table(VMD) + guest("a", VMD), ""),
    "card alone": (LOOSE, table(CARD), "group-shared"),
    "card parted from a companion without a driver": (LOOSE, override("multifunction") + table(CARD), ""),
    "freed by an id": (IDLE, override(NODE) + table(NIC), ""),
    "freed by a word": (IDLE, override("downstream") + table(NIC), ""),
    "virtual function apart from its physical one": (
        with_texts(added(VF), default_route=""),
        *(override("downstream") + table(VF.address), "virtual-function"),
    ),
    "word without a device": (BASE, override("downstream"), "override-unneeded"),
    "word for nothing": (BASE, override("downstream") + PAIR, "override-unneeded"),
    "one word of two": (IDLE, override(NODE, "multifunction") + table(NIC), "override-unneeded"),
    "console with a serial one": (
        replace(BASE, cmdline="ro quiet"),
        kernel("cmdline", "console=ttyS1,115200") + table(BOARD),
        "",
    ),
    "guests of one group in turn": (
        BASE,
        PAIR + guest("a", CARD) + guest("b", SOUND, more="autostart = false\n"),
        "",
    ),
    "guests of two groups": (BASE, PAIR + table(TWIN) + guest("a", CARD, SOUND) + guest("b", TWIN), ""),
    "two guests, and a word that parts them": (
        BASE,
        override("multifunction") + PAIR + guest("a", CARD) + guest("b", SOUND),
        "",
    ),
    "ids of named devices alone": (BASE, kernel("modules", "vfio-pci ids=10de:1e37") + PAIR, ""),
    "other options": (BASE, kernel("modules", "vfio-pci disable_vga=1") + PAIR, ""),
    "ids of another class": (
        BASE,
        kernel("modules", "vfio-pci ids=144d:a808:ffffffff:ffffffff:030000:ffffff") + PAIR,
        "",
    ),
    "ids that are none": (BASE, kernel("modules", "vfio-pci ids=144d") + PAIR, ""),
    "window to be told": (change(NARROW, CARD, bars=(bar(1, 128 * GIB),)), PAIR, "bar-window-small"),
    "memory that is there": (BASE, table(TWIN) + guest("a", TWIN, memory_mib=32000), ""),
    "memory without devices": (BASE, guest("a", memory_mib=60000), ""),
    "facts are missing": (change(BASE, TWIN, is_whole=False), table(TWIN), "unknown-group"),
    "set on the host": (
        with_texts(BASE, settings=f"device {TWIN} keep\nguest a autostart yes\nend"),
        table(TWIN) + guest("a", TWIN),
        "set-on-host",
    ),
    "set on the host as here": (
        with_texts(BASE, settings=f"device {CARD} keep\nguest a autostart yes\nguest b autostart no\nend"),
        table(TWIN) + guest("a", TWIN),
        "",
    ),
    "settings that do not count": (with_texts(BASE, settings=f"device {TWIN} keep"), table(TWIN), ""),
    "root not told": (with_texts(BASE, mounted=""), table(TWIN), "unknown-use"),
}


def plan(tmp_path: Path, found: Capture, content: str) -> refusal.Wish:
    file = tmp_path / "host.toml"
    (tmp_path / "machine.tar").write_bytes(b"")
    file.write_text(f'name = "x"\ncapture = "machine.tar"\n{content}')
    return refusal.open_plan(load.load(file), found, SERIES)


@pytest.mark.parametrize(("found", "content", "key", "rule", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: Capture,
    content: str,
    key: str,
    rule: str,
    words: str,
) -> None:
    file = tmp_path / "host.toml"
    (tmp_path / "machine.tar").write_bytes(b"")
    file.write_text(f'name = "x"\ncapture = "machine.tar"\n{content}')
    monkeypatch.setattr(captures, "load", lambda place: found)
    first = next(refusal.find_refusals(refusal.open_plan(load.load(file), found, SERIES)))
    assert first.finding.rule == rule
    with pytest.raises(UserError) as caught:
        refusal.check(file, SERIES)
    head, _, rest = caught.value.message.partition(": ")
    assert re.fullmatch(rf"{re.escape(str(file))}:\d+", head)
    assert rest.startswith(key)
    assert words in rest
    assert caught.value.hint


@pytest.mark.parametrize(("found", "content", "wanted"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_accepted(tmp_path: Path, found: Capture, content: str, wanted: str) -> None:
    given = plan(tmp_path, found, content)
    assert list(refusal.find_refusals(given)) == []
    assert {one.rule for one in refusal.find_warnings(given)} == set(wanted.split())


def test_what_is_wrong_with_a_named_companion_is_said_once(tmp_path: Path) -> None:
    given = plan(tmp_path, IDLE, table(NIC) + table(DRIVE))
    assert [one.finding.rule for one in refusal.find_refusals(given)] == ["holds-root"]


def test_there_are_enough_cases() -> None:
    assert len(REFUSED) + len(ACCEPTED) >= 50
    assert {rule for *_, rule, _ in REFUSED.values()} <= set(findings.load())


def test_a_word_that_is_not_needed_is_named(tmp_path: Path) -> None:
    given = plan(tmp_path, IDLE, override(NODE, "multifunction") + table(NIC))
    (warned,) = refusal.find_unneeded(given)
    assert "pcie_acs_override=multifunction:" in warned.text


def test_without_a_capture_nothing_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('name = "x"\n' + table("0000:09:00.0"))
    assert refusal.check(file, SERIES) == ()


def test_capture_of_the_script_beside_host_toml(tmp_path: Path) -> None:
    folder = "sys/devices/pci0000:00/0000:00:02.0/attributes"
    content = b"vendor\t0x1af4\ndevice\t0x1042\nclass\t0x010000\n"
    with tarfile.open(tmp_path / "machine.tar", "w") as tar:
        member = tarfile.TarInfo(folder)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    file = tmp_path / "host.toml"
    file.write_text('name = "x"\ncapture = "machine.tar"\n' + table("00:02.0", "1af4:1043"))
    with pytest.raises(UserError, match=r"host\.toml:5: device\[0\]\.id = .* is 1af4:1042, and 1af4:1043"):
        refusal.check(file, SERIES)


def test_a_capture_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "machine.tar").write_bytes(b"hello")
    file = tmp_path / "host.toml"
    file.write_text('name = "x"\ncapture = "machine.tar"\n')
    with pytest.raises(UserError, match=r"machine\.tar: neither a tar nor lspci's text"):
        refusal.check(file, SERIES)


@pytest.mark.parametrize("name", ["absent.tar", ".", "a" * 5000])
def test_a_capture_that_is_not_there(tmp_path: Path, name: str) -> None:
    file = tmp_path / "host.toml"
    file.write_text(f'name = "x"\ncapture = "{name}"\n')
    with pytest.raises(UserError, match=r"host\.toml:2: capture = ") as caught:
        load.load(file)
    assert "relative to this file" in caught.value.hint


def test_the_image_does_not_depend_on_the_capture(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    (tmp_path / "machine.tar").write_bytes(b"")
    file.write_text('name = "x"\ncapture = "machine.tar"\n')
    with_capture = load.fingerprint(load.load(file))
    file.write_text('name = "x"\n')
    assert load.fingerprint(load.load(file)) == with_capture


ADDRESSES = [one.address for one in FUNCTIONS] + ["0000:09:00.0"]
WORDS = st.lists(
    st.sampled_from(["downstream", "multifunction", NODE, "id:8086:2f02"]), unique=True, max_size=3
)
SOME = st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=5)


@given(SOME, WORDS, st.lists(SOME, max_size=2), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_wish_is_answered(
    tmp_path_factory: pytest.TempPathFactory,
    devices: list[str],
    words: list[str],
    guests: list[list[str]],
    is_on: bool,
) -> None:
    wanted = [[one for one in some if one in devices] for some in guests]
    taken = set(wanted[0]) if wanted else set()
    wanted[1:] = [[one for one in some if one not in taken] for some in wanted[1:]]
    content = override(*words) + "".join(map(table, devices))
    content += "".join(guest(name, *some) for name, some in zip("ab", wanted, strict=False))
    found = in_groups(BASE, (CARD, SOUND)) if is_on else BASE
    given_plan = plan(tmp_path_factory.getbasetemp(), found, content)
    refused = list(refusal.find_refusals(given_plan))
    assert all(one.finding.remedy for one in refused)
    assert any(one.finding.rule == "device-absent" for one in refused) is ("0000:09:00.0" in devices)
    assert any(one.finding.rule == "holds-root" for one in refused) is (DRIVE in devices)
    list(refusal.find_warnings(given_plan))
