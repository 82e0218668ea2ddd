"""A region that firmware keeps mapped, in the table of a booted machine: kernel, capture and doctor find it."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.doctor import diagnose, regions
from hostwright.doctor.case import Diagnosis, open_case
from hostwright.formats import cpio
from hostwright.pci import capture
from hostwright.pci.inventory import Capture, ReservedRegion
from hostwright.pci.isolation import Setting
from hostwright.proof import groups_boot, topologies
from hostwright.proof.groups_boot import Emulated
from hostwright.proof.groups_rows import Words
from hostwright.sandbox import buildroot
from tests.fakes.machines import append_rmrr

TABLE = "kernel/firmware/acpi/DMAR.aml"
# Inside what every PC's memory map keeps for its firmware, where ProLiants have one too.
START, END = 0xF4000, 0xF4FFF
SOME = ("T1", "T3")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    return groups_boot.prepare(groups_boot.our_kernel(), tools, tmp_path_factory.mktemp("rmrr"))


def boot(machine: Emulated, tar: Path) -> Capture:
    chosen = [one for one in topologies.GOLDEN if one.name in SOME]
    tar.write_bytes(groups_boot.capture(machine, topologies.place(chosen), Words("none")))
    return capture.load(tar)


@pytest.fixture(scope="module")
def found(machine: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Booted as it is for its table, then with two devices behind ports that the table names."""
    folder = tmp_path_factory.mktemp("captures")
    plain = boot(machine, folder / "plain.tar")
    scopes = [scope(plain, one.address) for one in plain.functions if is_chosen(one.class_code)]
    table = append_rmrr(plain.tables["DMAR"], f"{START:x}-{END:x} {' '.join(scopes)}")
    early = cpio.write(cpio.with_parents([cpio.Entry(TABLE, stat.S_IFREG | 0o644, table)]).values())
    return boot(replace(machine, initrd=early + machine.initrd), folder / "kept.tar")


def is_chosen(class_code: int) -> bool:
    return class_code >> 8 == 0x0108 or class_code >> 16 == 0x03


def scope(machine: Capture, address: str) -> str:
    """The way from the root bus, as a table names a device."""
    function = machine.by_address[address]
    step = f"{function.place.device:02x}.{function.place.function}"
    return f"{scope(machine, function.parent)}/{step}" if function.parent else f"00:{step}"


def examine(machine: Capture, device: str) -> Diagnosis:
    return diagnose.examine(machine, Setting(), device)


def test_the_kernel_and_capture_tell_it(found: Capture) -> None:
    drive = next(one for one in found.functions if one.class_code >> 8 == 0x0108)
    display = next(one for one in found.functions if one.class_code >> 16 == 0x03)
    region = ReservedRegion(START, END, "direct")
    assert region in found.groups[drive.group or ""].regions
    assert replace(region, kind="direct-relaxable") in found.groups[display.group or ""].regions


def test_doctor_refuses_the_drive_and_lets_the_display_go(found: Capture) -> None:
    for one in found.functions:
        if is_chosen(one.class_code):
            chosen = examine(found, one.address).chosen
            rules = {finding.rule for finding in (chosen.findings if chosen else ())}
            is_drive = one.class_code >> 16 == 0x01
            assert ("rmrr-direct" in rules) == is_drive
            assert ("rmrr-relaxable" in rules) == (not is_drive)


def test_the_table_alone_tells_it_too(found: Capture) -> None:
    """As before the IOMMU is switched on."""
    off = replace(found, functions=tuple(replace(one, group=None) for one in found.functions), groups={})
    case = open_case(off, Setting())
    for one in off.functions:
        kinds = [region.kind for region in regions.find_regions(case, one) if region.start == START]
        wanted = ["direct" if one.class_code >> 16 == 0x01 else "direct-relaxable"]
        assert kinds == (wanted if is_chosen(one.class_code) else [])
