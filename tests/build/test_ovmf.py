"""The firmware that was built: it speaks, and it keeps its variables."""

import json
import lzma
import shutil
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from virt.firmware.varstore.edk2 import Edk2VarStore  # type: ignore[import-untyped]

from hostwright.base import paths, run
from hostwright.build import ovmf
from hostwright.sandbox import buildroot, sandbox
from hostwright.vm import board
from hostwright.vm.console import Console

# gLzmaCustomDecompressGuid of MdeModulePkg.
LZMA_SECTION = uuid.UUID("EE4E5898-3914-4259-9D6E-DC7BD79403CF").bytes_le
LIMIT_S = 120
SHELL_LIMIT_S = 60


@contextmanager
def machine(folder: Path) -> Iterator[Console]:
    """A machine without a disk: OVMF has nothing to start but its own shell."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    argv = (
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-M", "q35", "-accel", "tcg", "-m", "256",
        "-display", "none", "-serial", "stdio", "-no-reboot",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={board.FOLDER}/{board.CODE}",
        "-drive", f"if=pflash,unit=1,format=raw,file={board.FOLDER}/{board.VARS}",
    )  # fmt: skip
    job = sandbox.Job(tools, argv, (sandbox.Bind(folder, board.FOLDER, writable=True),), cwd=board.FOLDER)
    with sandbox.entered(job, tools) as command:
        child = run.open_pipe(command)
        assert child.stdout and child.stdin
        try:
            yield Console(child.stdout, child.stdin, folder.with_suffix(".log"))
        finally:
            run.close_pipe(child)


def variables(store: Path) -> dict[str, bytes]:
    return {
        str(name): bytes(variable.data) for name, variable in Edk2VarStore(str(store)).get_varlist().items()
    }


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The variable store after a boot to the shell and a `reset -s` typed there."""
    folder = tmp_path_factory.mktemp("ovmf") / "machine"
    folder.mkdir()
    for name in (board.CODE, board.VARS):
        shutil.copy(paths.OVMF / name, folder / name)
    with machine(folder) as console:
        console.wait_for("BdsDxe: starting Boot", LIMIT_S)
        console.wait_for("UEFI Interactive Shell", LIMIT_S)
        console.wait_for("Shell>", SHELL_LIMIT_S)
        console.settle()
        console.type_echoed("reset -s")
        console.send("\r")
        console.wait_for_end(SHELL_LIMIT_S)
    return folder / board.VARS


def test_both_flash_files_have_the_size_of_the_4_mib_layout() -> None:
    assert (paths.OVMF / "OVMF_CODE.fd").stat().st_size == ovmf.CODE_BYTES
    assert (paths.OVMF / "OVMF_VARS.fd").stat().st_size == ovmf.VARS_BYTES
    assert ovmf.CODE_BYTES + ovmf.VARS_BYTES == 4 << 20


def test_the_store_starts_out_empty() -> None:
    assert variables(paths.OVMF / "OVMF_VARS.fd") == {}


def test_the_firmware_speaks_and_keeps_its_boot_entries(booted: Path) -> None:
    found = variables(booted)
    assert {"BootOrder", "Boot0000", "ConOut"} <= found.keys()
    assert "EFI Internal Shell".encode("utf-16le") in b"".join(found.values())


def test_the_descriptor_names_the_files_as_they_lie_on_the_host() -> None:
    descriptor = json.loads((paths.OVMF / "60-ovmf-x86_64.json").read_text())
    flash = descriptor["mapping"]
    assert flash["executable"]["filename"] == "/usr/share/OVMF/OVMF_CODE.fd"
    assert flash["nvram-template"]["filename"] == "/usr/share/OVMF/OVMF_VARS.fd"
    assert (flash["device"], flash["mode"]) == ("flash", "split")
    assert not {"requires-smm", "secure-boot", "enrolled-keys"} & set(descriptor["features"])


def test_no_byte_tells_where_or_when_it_was_built() -> None:
    code = (paths.OVMF / "OVMF_CODE.fd").read_bytes()
    data = code + unpacked(code)
    assert "BdsDxe".encode("utf-16le") in data
    for word in ("/build", "RELEASE_GCC", str(Path.home()), time.strftime("%b %e %Y")):
        assert word.encode() not in data
        assert word.encode("utf-16le") not in data


def unpacked(code: bytes) -> bytes:
    """What is compressed in the firmware: the data of its LZMA section (PI specification, EFI_GUID_DEFINED_SECTION)."""
    guid = code.index(LZMA_SECTION)
    # The header grows by four bytes where three are too few for the size.
    start = guid - 8 if code[guid - 8 : guid - 5] == b"\xff\xff\xff" else guid - 4
    (data_offset,) = struct.unpack_from("<H", code, guid + 16)
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(code[start + data_offset :])
