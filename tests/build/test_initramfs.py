"""The small systems in memory, made of the packages that were built."""

from collections.abc import Callable

import pytest

from hostwright.base import paths
from hostwright.formats import cpio, elf
from hostwright.image import initramfs
from hostwright.proof import groups_boot, inner

ARCHIVES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "groups": (lambda: groups_boot.make_initramfs(groups_boot.Kernel(paths.TREE)), {"bash", "dmesg", "sum"}),
    "inner guest": (lambda: initramfs.make(inner.SYSTEM), {"bash", "lspci", "sha256sum"}),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_program_finds_its_loader_and_its_libraries(name: str) -> None:
    make, programs = ARCHIVES[name]
    entries = {one.path: one for one in cpio.read(make())}
    assert entries["init"].is_link
    assert {f"usr/bin/{program}" for program in programs} | {"dev", "tmp"} <= entries.keys()
    assert entries["usr/lib/ld-linux-x86-64.so.2"].content.startswith(elf.MAGIC)
