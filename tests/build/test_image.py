"""The disk that was built, read back by the tools of the build root."""

import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from hostwright.base import files, paths
from hostwright.build import store
from hostwright.formats import gpt
from hostwright.image import ids
from hostwright.image.disk import Archives, Layout, plan_disk, write_image
from hostwright.machine import load
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.workshop import open_at

LAB = load.load(paths.TREE / "host.toml")
IDS = ids.ids_for(LAB.name)
ARCHIVES = Archives(paths.DIST / "rootfs.tar", paths.DIST / "data.tar")
ESP = f"dd if=/input/host.img of=/tmp/esp bs=1M skip=2 count={LAB.disk.esp_mib} status=none"


Shell = Callable[[str], str]


@cache
def plan() -> Layout:
    """The layout that the archives call for."""
    return plan_disk(LAB, ARCHIVES)


def at(part: gpt.Partition) -> str:
    """A file system of the image, as the tools of ext4 name it."""
    return f"/input/host.img?offset={part.offset}"


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """Runs a line of shell beside /input/host.img; /sysroot holds the GRUB of the host."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        os.link(paths.HOST_IMAGE, Path(folder) / "host.img")
        binds = (
            sandbox.Bind(Path(folder), "/input"),
            sandbox.Bind(store.read_stamp("grub").tree, "/sysroot"),
        )

        def run(line: str) -> str:
            job = sandbox.Job(tools, ("sh", "-euc", line), binds, cwd="/")
            return sandbox.output(job, tools).decode(errors="replace")

        yield run


def read(offset: int, size: int) -> bytes:
    with paths.HOST_IMAGE.open("rb") as disk:
        disk.seek(offset)
        return disk.read(size)


def test_the_partition_table_is_sound(shell: Shell) -> None:
    said = shell("sfdisk --verify /input/host.img 2>&1")
    assert "No errors detected" in said
    # With one of its two copies damaged sfdisk finds no error either.
    assert "corrupt" not in said


def test_partitions_and_ids_are_the_planned_ones(shell: Shell) -> None:
    table = json.loads(shell("sfdisk --json /input/host.img"))["partitiontable"]
    found = [(p["name"], p["type"], p["uuid"].lower(), p["start"], p["size"]) for p in table["partitions"]]
    assert found == [(p.name, p.type_guid, p.partuuid, p.start, p.sectors) for p in plan().parts]
    assert table["id"].lower() == IDS.disk_guid
    assert paths.HOST_IMAGE.stat().st_size == plan().sectors * gpt.SECTOR


def test_both_file_systems_are_clean(shell: Shell) -> None:
    assert "hostwright: " in shell(f"e2fsck -fn '{at(plan().root)}'")
    assert "data: " in shell(f"e2fsck -fn '{at(plan().data)}'")


def test_the_second_slot_is_empty() -> None:
    assert not any(read(plan().other.offset, 1 << 20))


def test_the_data_is_what_a_host_keeps_below_var(shell: Shell) -> None:
    listing = shell(f"debugfs -R 'ls -p /' '{at(plan().data)}' 2> /dev/null")
    assert {"lib", "log", "tmp", "run"} <= {line.split("/")[5] for line in listing.splitlines() if line}


def test_the_root_file_system_has_its_ids_and_nothing_that_grub_cannot_read(shell: Shell) -> None:
    header = shell(f"debugfs -R 'stats -h' '{at(plan().root)}' 2>&1")
    fields = dict(line.split(":", 1) for line in header.splitlines() if ":" in line)
    assert fields["Filesystem UUID"].strip() == IDS.root_uuid
    assert fields["Directory Hash Seed"].strip() == IDS.hash_seed
    assert not {"metadata_csum_seed", "orphan_file"} & set(fields["Filesystem features"].split())


def test_the_esp_is_clean_and_has_the_loader_that_firmware_looks_for(shell: Shell) -> None:
    shell(f"{ESP}; fsck.fat -n /tmp/esp")
    loader = shell(
        f"{ESP}; mtype -i /tmp/esp ::/EFI/BOOT/BOOTX64.EFI | head -c 2; blkid -p -o export /tmp/esp"
    )
    assert loader.startswith("MZ")
    assert f"\nUUID={IDS.esp_uuid}\n" in loader
    assert "\nVERSION=FAT32\n" in loader


def test_the_bios_is_led_to_the_core_in_its_partition() -> None:
    sector = read(0, gpt.SECTOR)
    assert sector[-2:] == b"\x55\xaa"
    assert struct.unpack_from("<Q", sector, 0x5C) == (plan().bios.start,)
    start, count, _ = struct.unpack_from("<QHH", read(plan().bios.offset, gpt.SECTOR), 500)
    assert start == plan().bios.start + 1
    assert 0 < count < plan().bios.sectors
    # kernel.img follows; after the last sector of the block list the partition is empty.
    assert any(read(plan().bios.offset + count * gpt.SECTOR, gpt.SECTOR))
    rest = plan().bios.sectors - count - 1
    assert not any(read(plan().bios.offset + (count + 1) * gpt.SECTOR, rest * gpt.SECTOR))


def test_grub_accepts_both_menus_on_the_disk(shell: Shell) -> None:
    shell(f"{ESP}; mtype -i /tmp/esp ::/grub/grub.cfg | /sysroot/usr/bin/grub-script-check")
    assert shell(f"{ESP}; mtype -i /tmp/esp ::/grub/grubenv").startswith(
        "# GRUB Environment Block\ngood=a\n#"
    )
    shell(
        f"debugfs -R 'cat /boot/grub/grub.cfg' '{at(plan().root)}' 2> /dev/null | /sysroot/usr/bin/grub-script-check"
    )


def test_owners_and_modes_are_those_of_the_archive(shell: Shell) -> None:
    listing = shell(f"debugfs -R 'stat /etc/shadow' '{at(plan().root)}' 2> /dev/null")
    assert "Mode:  0600" in listing
    assert "User:     0   Group:     0" in listing


def test_a_second_writing_gives_the_same_bits() -> None:
    grub = store.read_stamp("grub").tree
    with tempfile.TemporaryDirectory(dir=paths.DIST, prefix=".test-") as folder:
        again = Path(folder) / "again.img"
        write_image(LAB, ARCHIVES, grub, again, open_at(Path(folder) / "log"))
        assert sorted(file.name for file in Path(folder).iterdir()) == ["again.img", "log"]
        assert files.digest(again) == files.digest(paths.HOST_IMAGE)
