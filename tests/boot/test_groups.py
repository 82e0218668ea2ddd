"""Topologies booted under our kernel: it makes the groups that are predicted, and its own capture says the same."""

from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.pci import capture, groups, hierarchy
from hostwright.proof import generate, groups_boot, groups_rows, topologies
from hostwright.proof.groups_boot import Emulated
from hostwright.proof.groups_rows import COLUMNS, Found, Words
from hostwright.sandbox import buildroot

SEED, RANDOM = 1, 8
WORDS = {words.name: words for words in COLUMNS}
# What T10's words must make the kernel say (patches/linux/6.12/0001-pci-acs-override.patch).
SAID = (
    'unknown word "downstrem" ignored',
    "there is no device id:1000:1000",
    "there is no device id:1026:1026",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    return groups_boot.prepare(groups_boot.our_kernel(), tools, tmp_path_factory.mktemp("groups"))


@pytest.fixture(scope="module")
def said(machine: Emulated) -> Found:
    """T1 to T10 under the words of T9 and T10."""
    placed = topologies.place(topologies.GOLDEN)
    words = WORDS["id"]
    return groups_boot.boot(machine, groups_rows.plan_boot(placed, words, machine.accelerator), words.name)


def test_random_topologies(machine: Emulated) -> None:
    chosen = [*topologies.GOLDEN, *generate.generate(SEED, RANDOM)]
    columns = [words for words in COLUMNS if words.name != "id"]
    tally = groups_boot.prove(machine.kernel, chosen, columns, machine.tools, machine.out)
    groups_rows.require_agreement(tally)
    assert sum(tally.compared.values()) == len(columns) * (len(topologies.GOLDEN) + RANDOM)


def test_named_ids(said: Found) -> None:
    placed = topologies.place(topologies.GOLDEN)
    assert groups_rows.compare(placed, WORDS["id"], said) == []


@pytest.mark.parametrize("words", SAID)
def test_words_without_effect_are_named_in_the_log(said: Found, words: str) -> None:
    assert words in said.text


def test_an_id_in_capitals_is_accepted(said: Found) -> None:
    placed = topologies.place(topologies.GOLDEN)
    pair = [
        one.function.address for one in placed if one.topology == "T10" and one.function.id == "1b36:000d"
    ]
    assert [said.overridden[address] for address in pair] == ["id", "id"]
    assert {frozenset({address}) for address in pair} <= said.groups


def test_the_machines_own_capture_says_the_same(machine: Emulated, tmp_path: Path) -> None:
    some = topologies.GOLDEN[:8]
    placed = topologies.place(some)
    tar = tmp_path / "capture.tar"
    tar.write_bytes(groups_boot.capture(machine, placed, Words("none")))
    found = hierarchy.describe(capture.load(tar))
    assert found.obstacles == ()
    assert [
        (one.address, one.id, one.kind, one.port, one.multifunction) for one in found.functions
    ] == sorted(
        (
            one.function.address,
            one.function.id,
            one.function.kind,
            one.function.port,
            one.function.multifunction,
        )
        for one in placed
    )
    report = groups.examine(found)
    assert report.differs == ()
    assert {one.address: one.group for one in found.capture.functions} == {
        address: str(number) for address, number in report.columns[0].numbers.items()
    }


def test_kernel_is_the_built_one(machine: Emulated) -> None:
    assert machine.kernel.image == paths.KERNEL / "bzImage"
