"""A host that updates itself: the scenes of ./doit prove-update, under UEFI in CI, the others in ./doit test-long."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.sandbox.workshop import open_at
from hostwright.updates import scenes
from hostwright.updates.emulated import Visited
from hostwright.updates.scenes import Scene
from hostwright.vm.board import Firmware

LONG = {"panic", "hang", "wait"}
UEFI = [
    pytest.param(one, id=one.name, marks=[pytest.mark.long] if one.name in LONG else [])
    for one in scenes.chosen(Firmware.UEFI)
]


@contextmanager
def begun(folder: Path, firmware: Firmware) -> Iterator[Visited]:
    machine = load.load(paths.TREE / "host.toml")
    with scenes.begun(machine, firmware, folder, open_at(folder / "update.log")) as visited:
        yield visited


@pytest.fixture(scope="module")
def uefi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    with begun(tmp_path_factory.mktemp("uefi"), Firmware.UEFI) as visited:
        yield visited


@pytest.fixture(scope="module")
def bios(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    with begun(tmp_path_factory.mktemp("bios"), Firmware.BIOS) as visited:
        yield visited


@pytest.mark.parametrize("scene", UEFI)
def test_under_uefi(uefi: Visited, scene: Scene) -> None:
    row = scenes.play(uefi, scene, Firmware.UEFI)
    assert row.ok, row.evidence


@pytest.mark.long
@pytest.mark.parametrize("scene", scenes.chosen(Firmware.BIOS), ids=lambda scene: scene.name)
def test_under_bios(bios: Visited, scene: Scene) -> None:
    row = scenes.play(bios, scene, Firmware.BIOS)
    assert row.ok, row.evidence
