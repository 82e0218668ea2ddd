"""A guest is made without the installer, becomes what the installer would have made, and says where it fails."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import store
from hostwright.guest import compare, fast, packages, workplace
from hostwright.guest.install import follow
from hostwright.guest.plan import Run, Voice
from hostwright.machine import load
from hostwright.machine.model import Guest, Machine
from hostwright.sandbox.workshop import open_at
from hostwright.source.depot import Depot
from hostwright.vm import guest_argv
from hostwright.vm.board import Accelerator

LAB: Machine = load.load(paths.TREE / "host.toml")
GUEST: Guest = LAB.guests[0]
VOICE = Voice(lambda _: None, lambda _: None)
INSTALLED = paths.GUESTS / GUEST.name / "manifest.json"


@pytest.fixture
def inputs(tmp_path: Path) -> workplace.Inputs:
    return workplace.find_inputs(store.read_stamp("grub").tree, open_at(tmp_path / "medium.log"))


def test_a_guest_without_the_installer_is_checked_like_any_other(
    inputs: workplace.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "GUESTS", tmp_path)
    fast.make(LAB, GUEST, inputs, workplace.Options(), VOICE)
    made = tmp_path / f"{GUEST.name}-fast"
    manifest = json.loads((made / "manifest.json").read_text())
    assert set(manifest["check"]) == {"alone", "with-devices"}
    assert not [boot for boot, facts in manifest["check"].items() if facts["failed_units"]]
    assert GUEST.mac in manifest["network"].values()
    assert {"bash", "openssh-server", "grub-efi-amd64"} <= {name for name, _, _ in manifest["packages"]}
    assert (made / guest_argv.DISK).exists() and not (made / guest_argv.SYSTEM).exists()
    if INSTALLED.exists():
        differences = compare.find_differences(json.loads(INSTALLED.read_text()), manifest)
        assert [one for one in differences if not one.reason] == []


def broken(break_it: Callable[[Path], None], inputs: workplace.Inputs, work: Path) -> UserError:
    """What is told of a second stage whose files were spoilt before it starts."""
    pins = packages.choose(fast.read_indexes(GUEST, inputs.shop, False), GUEST.install)
    fast.fetch_pins(pins, inputs.shop, False, lambda _: None)
    contents = fast.Contents(pins, workplace.place(GUEST, inputs, None, work))
    fast.prepare(LAB, GUEST, contents, inputs.shop, work)
    break_it(work)
    vnc = guest_argv.Vnc()
    plan = Run(GUEST, work, inputs.tools, Accelerator.TCG, vnc, {}, stages=fast.STAGES)
    with Depot(work, (), offline=True) as depot, pytest.raises(UserError) as caught:
        argv = guest_argv.plan_second_stage(GUEST, Accelerator.TCG, vnc, fast.WORDS, depot.port)
        follow(plan, argv, depot, VOICE)
    return caught.value


def test_a_system_that_cannot_be_unpacked_is_told(inputs: workplace.Inputs, tmp_path: Path) -> None:
    error = broken(lambda work: os.truncate(work / guest_argv.SYSTEM, 100 << 20), inputs, tmp_path)
    assert "failed: unpacking the system (at: files" in error.message
    assert "tar: " in error.message
