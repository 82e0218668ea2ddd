"""The differential proof without its boots: the argv, the parsing, the comparison."""

from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import kconfig
from hostwright.pci import iommu
from hostwright.pci.function import Kind
from hostwright.pci.isolation import Setting
from hostwright.proof import generate, groups_boot, groups_rows, topologies
from hostwright.proof.groups_rows import COLUMNS, Found, Tally, Words
from hostwright.proof.topologies import GOLDEN, Node, Slot, Topology
from hostwright.vm.board import Accelerator

ALL = [*GOLDEN, *generate.generate(3, 200)]
WORDS = {words.name: words for words in COLUMNS}


def as_found(words: Words, *, spoil: str = "") -> Found:
    """A kernel's output for the predicted groups; the device that `spoil` names is outside its group."""
    placed = topologies.place(GOLDEN)
    predicted = iommu.predict([one.function for one in placed], words.override, words.setting)
    groups = {group - {spoil} for group in predicted.groups} | ({frozenset({spoil})} if spoil else set())
    ids = {one.function.address: one.function.id for one in placed}
    return Found(ids, frozenset(groups), predicted.overridden)


# Topologies.


def test_the_same_seed_gives_the_same_topologies() -> None:
    assert generate.generate(5, 30) == generate.generate(5, 30)
    assert generate.generate(5, 30) != [replace(one) for one in generate.generate(6, 30)]


@pytest.mark.parametrize("seed", range(6))
def test_every_machine_can_be_built(seed: int) -> None:
    machines = topologies.fill_machines(generate.generate(seed, 100))
    assert sum(map(len, machines)) == 100
    for machine in machines:
        placed = topologies.place(machine)
        addresses = [one.function.address for one in placed]
        assert len(set(addresses)) == len(addresses)
        seen = {""}
        for one in placed:
            assert one.function.port in seen, "a bridge comes before what is behind it"
            seen.add(one.function.address)
        ids = [option.partition(",id=")[2].partition(",")[0] for one in placed for option in one.options]
        named = [id for id in ids if id]
        assert len(set(named)) == len(named)


def test_what_is_asked_for_is_there() -> None:
    """The generator covers every kind of topology that the proof needs."""
    kinds = {
        one.function.kind for machine in topologies.fill_machines(ALL) for one in topologies.place(machine)
    }
    assert kinds >= {
        Kind.ROOT_PORT, Kind.UPSTREAM, Kind.DOWNSTREAM, Kind.PCI_BRIDGE, Kind.CONVENTIONAL, Kind.ENDPOINT,
        Kind.ROOT_COMPLEX_ENDPOINT,
    }  # fmt: skip
    placed = [one for machine in topologies.fill_machines(ALL) for one in topologies.place(machine)]
    assert any(one.vfs for one in placed)
    assert any(one.function.acs for one in placed)
    assert any(one.function.kind is Kind.UPSTREAM and one.function.multifunction for one in placed)
    assert max(one.function.place.bus for one in placed) > 30


def test_no_virtual_functions_where_nobody_drives_them() -> None:
    made = topologies.fill_machines(generate.generate(1, 200, virtual=False))
    assert not any(one.vfs for machine in made for one in topologies.place(machine))


def test_buses_are_numbered_depth_first() -> None:
    t6 = next(one for one in GOLDEN if one.name == "T6")
    placed = [one.function.address for one in topologies.place([t6]) if one.topology == "T6"]
    assert placed == [
        "0000:00:01.0", "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:02:01.0", "0000:04:00.0",
    ]  # fmt: skip


def test_virtual_functions_by_offset_and_stride() -> None:
    slot = Slot((topologies.port(Node(topologies.IGB, (), 2)),))
    found = {one.function.address: one.function for one in topologies.place([Topology("V", slot)])}
    assert found["0000:01:10.0"].id == found["0000:01:10.2"].id == "8086:10ca"
    assert not found["0000:01:10.0"].multifunction


# A boot.


def test_argv_has_every_device_once() -> None:
    placed = topologies.place(GOLDEN)
    argv = groups_rows.plan_boot(placed, WORDS["both"], Accelerator.TCG)
    devices = [argv[place + 1] for place, word in enumerate(argv) if word == "-device"]
    assert devices[0].startswith("intel-iommu")
    assert devices[1:] == [option for one in placed for option in one.options]
    assert "pcie_acs_override=downstream,multifunction" in argv[argv.index("-append") + 1].split()


def test_words_as_the_kernel_gets_them() -> None:
    words = Words("x", ("downstream",), Setting(config_acs="1@00:01.0", disable_acs_redir="00:02.0"))
    assert words.cmdline == (
        "pcie_acs_override=downstream",
        "pci=config_acs=1@00:01.0",
        "pci=disable_acs_redir=00:02.0",
    )
    slot = Slot((topologies.port(Node(topologies.IGB, (), 2)),))
    line = groups_rows.plan_cmdline(topologies.place([Topology("V", slot)]), WORDS["none"])
    assert line[-1] == "hostwright.vfs=0000:01:00.0=2"


CONSOLE = """\
[    0.1] pci 0000:99:00.0: early noise
HOSTWRIGHT-GROUPS-BEGIN
function 0000:00:00.0 8086:29c0 060000
function 0000:01:00.0 1b36:0010 010802
group 0 0000:00:00.0
group 1 0000:01:00.0
group 1 0000:00:01.0
pci 0000:00:01.0: ACS overridden by pcie_acs_override=downstream: taken as isolated
HOSTWRIGHT-GROUPS-END
group 7 0000:07:00.0
"""


def test_what_a_boot_says() -> None:
    found = groups_rows.read_console(CONSOLE)
    assert found.ids == {"0000:00:00.0": "8086:29c0", "0000:01:00.0": "1b36:0010"}
    assert found.groups == {frozenset({"0000:00:00.0"}), frozenset({"0000:01:00.0", "0000:00:01.0"})}
    assert found.overridden == {"0000:00:01.0": "downstream"}


# The verdict.


@pytest.mark.parametrize("words", COLUMNS, ids=lambda words: words.name)
def test_agreement(words: Words) -> None:
    assert groups_rows.compare(topologies.place(GOLDEN), words, as_found(words)) == []


def test_a_group_too_many_is_told_with_its_rule() -> None:
    words = WORDS["downstream"]
    (said,) = groups_rows.compare(topologies.place(GOLDEN), words, as_found(words, spoil="0000:06:00.1"))
    assert (said.topology, said.words) == ("T5", "downstream")
    lines = said.what.splitlines()
    assert lines[0] == "T5 with pcie_acs_override=downstream:"
    assert (
        "0000:06:00.1 1b36:0010 endpoint, one of several, behind 0000:00:05.0: none, it has no ACS"
        in said.what
    )
    assert lines[-2].startswith(
        "  predicted: 0000:00:05.0 | 0000:06:00.0 0000:06:00.1; overridden: 0000:00:05.0="
    )
    assert lines[-1].startswith("  kernel:    0000:00:05.0 | 0000:06:00.0 | 0000:06:00.1;")


def test_a_kernel_that_names_another_function_disagrees() -> None:
    words = WORDS["both"]
    found = replace(as_found(words), overridden={**as_found(words).overridden, "0000:00:01.0": "downstream"})
    (said,) = groups_rows.compare(topologies.place(GOLDEN), words, found)
    assert said.topology == "T1"


def test_a_machine_that_is_not_the_one_described() -> None:
    words = WORDS["none"]
    found = replace(as_found(words), ids={**as_found(words).ids, "0000:01:00.0": "1234:9999"})
    (said,) = groups_rows.compare(topologies.place(GOLDEN), words, found)
    assert said.what == "T1 with no words:\n  0000:01:00.0 is 1234:9999 and not 1234:1111"


def test_counts_and_the_end_of_a_proof() -> None:
    tally = Tally({"none": 10, "both": 10}, [], 2)
    assert groups_rows.render_tally(tally) == "20 of 20 agree in 2 boots (none 10, both 10)\n"
    groups_rows.require_agreement(tally)
    words = WORDS["none"]
    tally.disagreements += groups_rows.compare(
        topologies.place(GOLDEN), words, as_found(words, spoil="0000:06:00.1")
    )
    assert groups_rows.render_tally(tally).startswith("19 of 20 agree")
    with pytest.raises(UserError, match="1 topologies are not grouped as predicted"):
        groups_rows.require_agreement(tally)


# The initramfs.


def test_scripts_of_the_initramfs_are_there() -> None:
    assert all(file.is_file() for file in groups_boot.SCRIPTS.values())
    assert paths.ROOTFS in groups_boot.SCRIPTS["usr/sbin/hostwright-capture"].parents


def test_unknown_series() -> None:
    with pytest.raises(UserError, match=r"series=5\.4"):
        groups_boot.find_kernel("5.4", paths.DIST)


# A kernel that somebody else has built.


def make_image(folder: Path, version: str) -> Path:
    """The head of a bzImage: the fields that lead to its version, and the text after the header."""
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    image = folder / "bzImage"
    image.write_bytes(bytes(head[:0x300]) + version.encode() + b"\0 more")
    return image


@pytest.mark.parametrize("series", ["", "7.2"])
def test_an_image_tells_its_series(tmp_path: Path, series: str) -> None:
    image = make_image(tmp_path, "7.2.8 (me@here) #1 SMP")
    kernel = groups_boot.other_kernel(image, series)
    assert (kernel.image, kernel.series, kernel.has_override) == (image, "7.2", True)


def test_an_image_of_another_series(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"6\.12\.107-own has the rules of 6\.12, not of 7\.2"):
        groups_boot.other_kernel(make_image(tmp_path, "6.12.107-own (me@here) #1"), "7.2")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", bytes(0x202) + b"HdrS" + bytes(0x40)])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bzImage").write_bytes(content)
    with pytest.raises(UserError, match="not a Linux kernel image"):
        groups_boot.other_kernel(tmp_path / "bzImage")


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        groups_boot.other_kernel(tmp_path / "bzImage")


def test_the_small_kernel_has_what_the_proof_needs() -> None:
    fragment = paths.KCONFIG / "differential" / "groups.config"
    wanted = {one.symbol: one.wanted for one in kconfig.parse_fragment(fragment.name, fragment.read_text())}
    assert set(wanted.values()) == {"y"}, "it has no modules"
    assert {
        "CONFIG_PCI_ACS_OVERRIDE",
        "CONFIG_INTEL_IOMMU",
        "CONFIG_IGB",
        "CONFIG_BLK_DEV_NVME",
    } <= wanted.keys()
