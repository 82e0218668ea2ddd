"""The image booted with something wrong on purpose: the proof must say what."""

import pytest

from hostwright.base import paths
from hostwright.formats import gpt
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import judge, verdict
from hostwright.proof.boot import find_inputs, kernel_release, start
from hostwright.proof.expect import LAB_WORDS
from hostwright.proof.verdict import Boot, Origin, Outcome
from hostwright.vm.board import Accelerator, Firmware


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@pytest.fixture(scope="module")
def broken(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Interrupt remapping switched off, and a misspelt override word, both from GRUB's prompt."""
    words = ("intremap=off", "pcie_acs_override=downstrem", *LAB_WORDS)
    boot = Boot("bios", Firmware.BIOS, "selfcheck", words)
    inputs = find_inputs(host, paths.HOST_IMAGE)
    return start(inputs, Accelerator.TCG, tmp_path_factory.mktemp("proof"), boot, lambda _: None)


def origin() -> Origin:
    return Origin(kernel_release(paths.KERNEL / "bzImage"), gpt.find(paths.HOST_IMAGE).partuuid)


def test_the_broken_host_comes_up_and_is_found_out(host: Machine, broken: Outcome) -> None:
    assert broken.error == ""
    rows = [row for row in judge.judge([broken], host, origin()) if row.boot == "bios"]
    assert {row.name for row in rows if not row.ok} == {"remapping", "verdict"}


def test_the_host_itself_knows(broken: Outcome) -> None:
    found = verdict.read_document(broken.document or {})
    assert found.failing == {"remapping", "override"}
    assert any('unknown word "downstrem"' in line for line in found.log)


def test_the_broken_host_still_powers_off(broken: Outcome) -> None:
    assert broken.status == 0
