"""The proof of the installed guest on a host that does not pass it its devices: no row is green.

A guest that is refused is not booted: an empty disk stands for the installed one.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import boot, lab, login_rows
from hostwright.proof.boot import alter, copy_image
from hostwright.proof.guest import prove
from hostwright.sandbox import buildroot, sandbox
from hostwright.vm import guest_argv, login
from tests.boot.machines import write_over

Json = dict[str, Any]


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@pytest.fixture(scope="module")
def image(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's image, which forgot what it was to pass."""
    folder = tmp_path_factory.mktemp("image")
    whole = boot.find_inputs(host, paths.HOST_IMAGE)
    copy_image(folder, whole, login.generate_key())
    (folder / "devices").write_text("")
    alter(folder, whole, write_over("/etc/hostwright/devices"))
    return folder / lab.IMAGE


@pytest.fixture(scope="module")
def guests(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    guest = login_rows.find_guest(host)
    assert guest
    place = tmp_path_factory.mktemp("guests") / guest.name
    place.mkdir()
    shutil.copy(paths.OVMF / "OVMF_VARS.fd", place / guest_argv.VARS)
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    argv = ("qemu-img", "create", "-q", "-f", "qcow2", guest_argv.DISK, "64M")
    sandbox.output(sandbox.Job(tools, argv, (sandbox.Bind(place, "/build", writable=True),)), tools)
    return place.parent


@pytest.fixture(scope="module")
def refusal(
    host: Machine, image: Path, guests: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[UserError, Json]:
    out = tmp_path_factory.mktemp("proof")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(paths, "GUESTS", guests)
        prove(host, image, out, lambda _: None)
    return caught.value, json.loads((out / "report.json").read_text())


def test_every_row_is_red(refusal: tuple[UserError, Json]) -> None:
    _, report = refusal
    assert report["verdict"] == "fail"
    rows = {row["name"]: row["ok"] for row in report["rows"]}
    assert set(rows) >= {"start", "guest-lspci", "guest-drivers", "guest-data"}
    assert not any(rows.values()), report["rows"]


def test_the_reason_is_the_driver(refusal: tuple[UserError, Json]) -> None:
    error, report = refusal
    started = next(row for row in report["rows"] if row["name"] == "start")
    assert "is not started: not-on-vfio" in started["evidence"], report["rows"]
    assert "7 of 7 expectations were not met" in error.message
