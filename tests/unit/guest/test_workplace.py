"""The results of a finished guest: records of the install, one machine described twice, no incomplete folder."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.guest import workplace
from hostwright.guest.plan import Outcome
from hostwright.machine.load import load
from hostwright.machine.model import Guest
from hostwright.vm import guest_argv, pictures
from hostwright.vm.pictures import Frame, Shot

GUEST: Guest = load(paths.TREE / "host.toml").guests[0]
MAC = GUEST.mac
FACTS = {
    "kernel": "6.12.1",
    "boot_entry": "<debian>",
    "network": {"enp2s0": MAC},
    "login": True,
    "accepts_password": False,
    "failed_units": [],
    "seconds_to_userland": "33.1",
    "lspci": "00:00.0 Host bridge [0600]",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in its state after an install."""
    monkeypatch.setattr(paths, "GUESTS", tmp_path)
    monkeypatch.setattr(paths, "OVMF", tmp_path / "ovmf")
    (tmp_path / "ovmf").mkdir()
    (tmp_path / "ovmf" / guest_argv.CODE).write_text("firmware")
    folder = tmp_path / f".{GUEST.name}"
    folder.mkdir()
    for name in (guest_argv.DISK, guest_argv.VARS, guest_argv.MEDIUM, "qemu.log"):
        (folder / name).write_text(name)
    return folder


def outcome(folder: Path) -> Outcome:
    picture = folder / "one.png"
    pictures.write_png(Frame(2, 1, b"\x00\x00\xaa" * 2), picture)
    packages = (("zlib1g", "1:1.3", "amd64"), ("bash", "5.2", "amd64"))
    return Outcome(packages, {"enp2s0": MAC}, (Shot("boot", picture),), (picture,), 12.5)


def test_the_manifest_says_what_was_installed(work: Path) -> None:
    workplace.record(GUEST, outcome(work), {"alone": FACTS}, "tcg: no KVM", work)
    manifest = json.loads((work / "manifest.json").read_text())
    assert manifest["packages"] == [["bash", "5.2", "amd64"], ["zlib1g", "1:1.3", "amd64"]]
    assert manifest["network"] == {"enp2s0": MAC}
    assert (work / "install.png").stat().st_size
    assert (work / "install.webp").stat().st_size


def test_the_report_shows_the_check_and_takes_no_markup_from_the_guest(work: Path) -> None:
    workplace.record(GUEST, outcome(work), {"alone": FACTS}, "tcg: no KVM", work)
    page = (work / "report.html").read_text()
    assert "&lt;debian&gt;" in page and "<debian>" not in page
    assert "00:00.0 Host bridge" in page
    assert 'src="install.png"' in page


def test_libvirt_and_qemu_are_told_of_the_same_places(work: Path) -> None:
    workplace.record(GUEST, outcome(work), {}, "", work)
    devices = ElementTree.parse(work / "guest.xml").getroot().find("devices")
    assert devices is not None
    buses = {
        tag: int(str(devices.find(f"{tag}/address").get("bus")), 16)  # type: ignore[union-attr]
        for tag in ("disk", "interface", "rng", "hostdev")
    }
    argv = (work / "launch.args").read_text().splitlines()
    ports = {
        "disk": guest_argv.DISK_SLOT,
        "interface": guest_argv.NET_SLOT,
        "rng": guest_argv.RNG_SLOT,
        "hostdev": guest_argv.FIRST_PASSED_SLOT,
    }
    assert buses == {tag: guest_argv.bus(slot) for tag, slot in ports.items()}
    assert any(
        word.startswith("virtio-net-pci") and f"bus=port{guest_argv.NET_SLOT}," in word for word in argv
    )
    assert any(
        word.startswith("vfio-pci,host=0000:01:00.0") and f"bus=port{ports['hostdev']}" in word
        for word in argv
    )


def test_the_result_replaces_an_earlier_one_as_a_whole(work: Path) -> None:
    earlier = paths.GUESTS / GUEST.name
    earlier.mkdir()
    (earlier / "old").touch()
    workplace.publish(work)
    assert sorted(file.name for file in earlier.iterdir()) == sorted(
        [guest_argv.CODE, guest_argv.DISK, guest_argv.VARS]
    )
    assert sorted(file.name for file in paths.GUESTS.iterdir()) == [GUEST.name, "ovmf"]


def test_a_failed_install_leaves_no_disk(work: Path) -> None:
    with pytest.raises(UserError), workplace.workplace(GUEST.name) as place:
        assert place == work and not list(work.iterdir())
        for name in (guest_argv.DISK, guest_argv.VARS, guest_argv.SYSTEM, guest_argv.KERNEL, "qemu.log"):
            (work / name).write_text(name)
        raise UserError("the installer asks")
    assert [file.name for file in work.iterdir()] == ["qemu.log"]


def test_records_name_the_folder_that_the_guest_comes_to_lie_in(work: Path) -> None:
    fast = work.rename(paths.GUESTS / ".debian-fast")
    workplace.record(GUEST, outcome(fast), {"alone": FACTS}, "", fast)
    assert f"{paths.GUESTS}/debian-fast/{guest_argv.DISK}" in (fast / "guest.xml").read_text()
    workplace.publish(fast)
    assert (paths.GUESTS / "debian-fast" / guest_argv.DISK).exists()
