"""Captures that were made to harm: one clear error each, in little time and memory."""

import bz2
import gzip
import lzma
import os
import resource
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.doctor import hostuse
from hostwright.pci import bounded, capture
from tests.unit.pci.test_capture import DECODED as LISTING

# Seconds and MiB on a very busy machine; each case took minutes on an idle one, or all memory.
MOST_S, MOST_MIB = 100.0, 600


def pax_of(size: int) -> bytes:
    """A tar that begins with a pax header of `size` bytes, and has a few of them."""
    header = tarfile.TarInfo("./PaxHeaders/x")
    header.type, header.size = tarfile.XHDTYPE, size
    return header.tobuf(tarfile.GNU_FORMAT) + bytes(8 << 20)


def bomb() -> bytes:
    """A gzip file of some MB that unpacks to 1 GiB of zeros."""
    return gzip.compress(bytes(1 << 26), 1) * 16


def fifo(place: Path) -> None:
    os.mkfifo(place)


def hole(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(20 << 30)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "device": (lambda place: place.symlink_to("/dev/zero"), "not a regular file"),
    "terminal": (lambda place: place.symlink_to("/dev/ptmx"), "not a regular file"),
    "fifo": (fifo, "not a regular file"),
    "hole": (hole, "too large for a capture"),
    "bomb": (lambda place: place.write_bytes(bomb()), "too large for a capture"),
    "pax header": (lambda place: place.write_bytes(gzip.compress(pax_of(12 << 30))), "c: "),
    "packed and cut": (
        lambda place: place.write_bytes(gzip.compress(bytes(9999))[:-20]),
        "ended before the end-of-stream",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_harmful_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    make, message = CASES[name]
    make(tmp_path / "c")
    before, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=message):
        capture.load(tmp_path / "c")
    assert time.monotonic() - before < MOST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < MOST_MIB << 10


def test_many_members_take_seconds(tmp_path: Path) -> None:
    header = tarfile.TarInfo("sys/0").tobuf()
    (tmp_path / "c").write_bytes(header * 99_000 + bytes(1024))
    before = time.monotonic()
    with pytest.raises(UserError, match="too large for a capture"):
        capture.load(tmp_path / "c")
    assert time.monotonic() - before < MOST_S


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    devices = tmp_path / "sys/bus/pci/devices"
    devices.mkdir(parents=True)
    (devices / "0000:00:00.0").symlink_to("0000:00:00.1")
    (devices / "0000:00:00.1").symlink_to("0000:00:00.0")
    with pytest.raises(UserError, match=r"cannot be read as a capture|no PCI device"):
        capture.load(tmp_path)


def test_a_size_of_many_digits_is_no_size(tmp_path: Path) -> None:
    text = LISTING.replace("[size=16G]", f"[size={'9' * 5000}]")
    assert text != LISTING
    (tmp_path / "c").write_text(text)
    assert capture.load(tmp_path / "c").functions


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: data])
def test_what_is_packed_is_read_as_it_is(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "c").write_bytes(pack(LISTING.encode()))
    (tmp_path / "plain").write_text(LISTING)
    packed, plain = capture.load(tmp_path / "c"), capture.load(tmp_path / "plain")
    assert packed.functions == plain.functions


def test_two_parts_in_one_file_are_both_read(tmp_path: Path) -> None:
    half = len(LISTING) // 2
    (tmp_path / "c").write_bytes(
        gzip.compress(LISTING[:half].encode()) + gzip.compress(LISTING[half:].encode())
    )
    assert bounded.read_source(tmp_path / "c").decode() == LISTING


def test_a_file_system_on_many_disks_takes_seconds() -> None:
    files = {"hostwright-capture": b"1", "mounted": b"nvme0n1\t/\n"}
    names = [f"0000:{number // 32:02x}:{number % 32:02x}.0" for number in range(1000)]
    for address in names:
        ids = {"vendor": b"0x8086", "device": b"0x1234", "class": b"0x010802"}
        files |= {f"sys/devices/pci0000:00/{address}/{key}": value for key, value in ids.items()}
    disks = [f"nvme{number}n1\t../{address}/nvme{number}n1\n" for number, address in enumerate(names)]
    uuid = "12345678-1234-1234-1234-123456789abc"
    files["sys/class/block"] = "".join(disks).encode()
    files["lower"] = "".join(f"{uuid}\tnvme{number}n1\n" for number in range(1000)).encode()
    before = time.monotonic()
    assert len(hostuse.find_uses(capture.read_files(files, "c"))) == 1000
    assert time.monotonic() - before < MOST_S
