"""The kernel and the programs of the host by other projects' yardsticks, as docs/security.md shows them."""

import io
import struct
import tarfile
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.sandbox import buildroot, sandbox
from hostwright.upkeep import checksec, hardening
from hostwright.upkeep.checksec import Program

LOG = paths.log_file("audit")
PROGRAM = "usr/bin/true"
# elf(5): where a 64-bit file says where its program headers are, how many, and the flags of one.
PHOFF, PHNUM, PHENTSIZE, GNU_STACK, RWX = 32, 56, 56, 0x6474E551, 7


@pytest.fixture
def in_bubblewrap() -> None:
    if sandbox.mode(buildroot.root(buildroot.load_lock()) / "tools") == "chroot":
        pytest.skip("checksec needs /proc, which a chroot does not have")


def test_every_recommendation_is_met_or_refused_with_a_reason() -> None:
    checks = hardening.check(paths.KERNEL / "config", LOG)
    assert hardening.faults(checks, hardening.refusals()) == []


def test_the_document_shows_the_checkers_own_result() -> None:
    checks = hardening.check(paths.RESOLVED_CONFIG, LOG)
    assert hardening.render(checks, hardening.refusals()) in (paths.TREE / "docs/security.md").read_text()


def test_a_weaker_kernel_is_noticed() -> None:
    config = paths.RESOLVED_CONFIG.read_text().replace("CONFIG_KFENCE=y", "# CONFIG_KFENCE is not set")
    weaker = paths.DIST / "weaker.config"
    weaker.write_text(config)
    try:
        assert any(
            line.startswith("KFENCE: ")
            for line in hardening.faults(hardening.check(weaker, LOG), hardening.refusals())
        )
    finally:
        weaker.unlink()


@pytest.mark.usefixtures("in_bubblewrap")
def test_every_program_is_hardened_or_has_a_reason() -> None:
    found, reasons = checksec.audit(LOG, lambda _: None), checksec.reasons()
    assert checksec.faults(found, reasons) == []
    assert checksec.render(found, reasons) in (paths.TREE / "docs/security.md").read_text()


def with_open_memory(program: bytes) -> bytes:
    """The same program with an executable stack, and its first loaded segment writable and executable."""
    weak = bytearray(program)
    (offset,), (count,) = struct.unpack_from("<Q", weak, PHOFF), struct.unpack_from("<H", weak, PHNUM)
    headers = range(offset, offset + count * PHENTSIZE, PHENTSIZE)
    kinds = {struct.unpack_from("<I", weak, at)[0]: at for at in reversed(headers)}
    for kind in (1, GNU_STACK):
        struct.pack_into("<I", weak, kinds[kind] + 4, RWX)
    return bytes(weak)


@pytest.mark.usefixtures("in_bubblewrap")
def test_a_weaker_program_is_noticed(tmp_path: Path) -> None:
    with tarfile.open(paths.DIST / "rootfs.tar") as tar:
        source = tar.extractfile(PROGRAM)
        assert source
        program = source.read()
    with tarfile.open(tmp_path / "tar", "w") as tar:
        for name, content in (("usr/bin/good", program), ("usr/bin/weak", with_open_memory(program))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert checksec.audit(LOG, lambda _: None, tmp_path / "tar") == [
        Program("usr/bin/good", frozenset()),
        Program("usr/bin/weak", frozenset({"nx", "wx"})),
    ]
