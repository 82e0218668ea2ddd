"""Firmware by name: what of a package goes onto the host, the early microcode, and the terms that go with it."""

import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import cpio
from hostwright.image import firmware
from hostwright.machine import load
from hostwright.machine.firmware import FIRMWARE
from hostwright.machine.model import Machine
from tests.unit.formats.test_deb import entry, make_deb

FOLDER = "./usr/lib/firmware"
DOC = "./usr/share/doc"
CONTENTS = {
    "intel-microcode": {
        f"{FOLDER}/intel-ucode/06-3f-04": b"second",
        f"{FOLDER}/intel-ucode/06-3f-02.initramfs": b"first ",
        "./etc/default/intel-microcode": b"IUCODE_TOOL_INITRAMFS=auto",
        f"{DOC}/intel-microcode/license": b"redistribution and use in binary form",
    },
    "amd64-microcode": {
        f"{FOLDER}/amd-ucode/microcode_amd.bin": b"DMA",
        f"{FOLDER}/amd/amd_sev.sbin": b"sev",
    },
    "firmware-bnx2": {f"{FOLDER}/bnx2/bnx2-mips-06-6.2.3.fw": b"mips"},
    "firmware-realtek": {
        f"{FOLDER}/rtl_nic/rtl8168g-2.fw": b"nic",
        f"{FOLDER}/rtlwifi/rtl8192.bin": b"radio",
    },
    "firmware-intel-misc": {f"{FOLDER}/intel/ice/ddp/ice-1.3.41.0.pkg": b"ddp"},
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The packages as files, pinned by a lock."""
    made = {}
    for name, contents in CONTENTS.items():
        whole = {f"{DOC}/{name}/copyright": f"terms of {name}".encode(), **contents}
        entries = [entry(path) for path in whole]
        if name == "firmware-intel-misc":
            entries.append(entry(f"{FOLDER}/intel/ice/ddp/ice.pkg", tarfile.SYMTYPE, "ice-1.3.41.0.pkg"))
        made[name] = make_deb(tmp_path / name, entries, whole)
    pins = [Pin(f"pool/{name}.deb", "0" * 64, size=1, name=name, version="1") for name in made]
    monkeypatch.setattr(firmware, "load_lock", lambda: pins)
    monkeypatch.setattr("hostwright.source.fetch.have", lambda pin: made[pin.name])
    return made


def machine(*names: str) -> Machine:
    lab = load.load(paths.TREE / "host.toml")
    return replace(lab, kernel=replace(lab.kernel, firmware=names))


def files(*names: str) -> dict[str, bytes | str | None]:
    return {file.path: file.link or file.content for file in firmware.find_files(machine(*names))}


def test_nothing_is_taken_that_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[Pin]:
        raise AssertionError("the lock is not even read")

    monkeypatch.setattr(firmware, "load_lock", refuse)
    assert files() == {}


@pytest.mark.usefixtures("packages")
def test_a_driver_gets_its_files_and_the_terms_that_go_with_them() -> None:
    assert files("bnx2", "r8169") == {
        "usr/lib/firmware/bnx2/bnx2-mips-06-6.2.3.fw": b"mips",
        "usr/lib/firmware/rtl_nic/rtl8168g-2.fw": b"nic",
        "usr/share/hostwright/firmware/firmware-bnx2.copyright": b"terms of firmware-bnx2",
        "usr/share/hostwright/firmware/firmware-realtek.copyright": b"terms of firmware-realtek",
    }


@pytest.mark.usefixtures("packages")
def test_a_link_stays_one() -> None:
    assert files("ice")["usr/lib/firmware/intel/ice/ddp/ice.pkg"] == "ice-1.3.41.0.pkg"


@pytest.mark.usefixtures("packages")
def test_microcode_is_an_early_image_alone() -> None:
    """The names are those that the kernel looks for; a first archive that is packed would not be found."""
    found = files("intel-microcode", "amd64-microcode")
    image = found.pop("boot/microcode.img")
    assert found == {
        "usr/share/hostwright/firmware/amd64-microcode.copyright": b"terms of amd64-microcode",
        "usr/share/hostwright/firmware/intel-microcode.copyright": b"terms of intel-microcode",
        "usr/share/hostwright/firmware/intel-microcode.license": b"redistribution and use in binary form",
    }
    assert isinstance(image, bytes) and image.startswith(cpio.MAGIC)
    content = {one.path: one.content for one in cpio.read(image) if stat.S_ISREG(one.mode)}
    assert content == {
        "kernel/x86/microcode/AuthenticAMD.bin": b"DMA",
        "kernel/x86/microcode/GenuineIntel.bin": b"first second",
    }


def test_a_package_that_has_other_files_by_now_is_refused(packages: dict[str, Path]) -> None:
    make_deb(packages["firmware-bnx2"], [entry(f"{FOLDER}/other/x.fw")], {})
    with pytest.raises(UserError, match=r"firmware-bnx2 1 has nothing of bnx2/\*"):
        files("bnx2")


def test_a_package_without_terms_is_refused(packages: dict[str, Path]) -> None:
    path = f"{FOLDER}/bnx2/x.fw"
    make_deb(packages["firmware-bnx2"], [entry(path)], {path: b"mips"})
    with pytest.raises(UserError, match="firmware-bnx2 1 has no copyright file"):
        files("bnx2")


def test_the_lock_pins_every_package_once() -> None:
    names = [pin.name for pin in firmware.load_lock()]
    assert sorted(names) == sorted({part.package for part in FIRMWARE.values()})
    assert all(pin.path.startswith("pool/non-free-firmware/") for pin in firmware.load_lock())


def test_a_machine_with_microcode_by_name_has_an_early_image() -> None:
    assert machine("intel-microcode").kernel.has_early_image
    assert not machine("bnx2").kernel.has_early_image
