"""The disk's plans and the placing of its boot code, without writing one."""

import itertools
import json
import re
import struct
import uuid
from dataclasses import asdict, astuple
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.image import disk, grub
from hostwright.image.ids import ids_for
from hostwright.machine import load

NAME = "lab"
IDS, OTHER, DATA = (ids_for(NAME, slot) for slot in ("a", "b", "data"))
PLAN = disk.layout(NAME, esp_mib=64, root_mib=1024, data_mib=256)
BOOT = bytes(range(256)) + bytes(254) + b"\x55\xaa"


def core(sectors: int, segment: int = 0x820) -> bytes:
    """A core image as grub-mkimage leaves it, without the padding of its last sector."""
    first = bytes([0xEB]) + bytes(499) + struct.pack("<QHH", 1, sectors - 1, segment)
    return first + bytes([0x90]) * (512 * (sectors - 1) - 100)


def test_ids_are_the_ones_that_were_given_out() -> None:
    """A machine that was installed keeps its ids when the image is built anew."""
    given = {
        f"{name} {slot}": asdict(ids_for(name, slot))
        for name in ("lab", "proliant-t10")
        for slot in ("a", "b")
    }
    assert given == json.loads((paths.GOLDEN / "ids.json").read_text())


def test_no_two_ids_are_equal_and_another_name_changes_all() -> None:
    ids = [value for name in ("one", "two") for value in astuple(ids_for(name))]
    assert len(set(ids)) == 14


def test_a_slot_has_ids_of_its_own_on_the_same_disk() -> None:
    first, second = asdict(ids_for("one", "a")), asdict(ids_for("one", "b"))
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"root_partuuid", "root_uuid", "hash_seed"}


def test_every_id_has_the_form_that_its_tool_takes() -> None:
    *uuids, volume, seed = astuple(ids_for("content"))
    assert {uuid.UUID(one).version for one in (*uuids, seed)} == {5}
    assert re.fullmatch("[0-9A-F]{4}-[0-9A-F]{4}", volume)


@pytest.mark.parametrize(("esp_mib", "root_mib"), [(34, 256), (64, 1024), (4096, 1 << 20)])
def test_partitions_follow_each_other_and_leave_room_for_both_tables(esp_mib: int, root_mib: int) -> None:
    plan = disk.layout(NAME, esp_mib, root_mib, 256)
    assert plan.bios.offset == 1 << 20
    for part, behind in itertools.pairwise(plan.parts):
        assert behind.start == part.start + part.sectors
    assert plan.esp.sectors == esp_mib * 2048
    assert plan.root.sectors == plan.other.sectors == root_mib * 2048
    # The second table is 32 sectors of entries and one of header.
    assert plan.sectors - (plan.data.start + plan.data.sectors) >= 33


def test_two_slots_and_data_fit_a_disk_of_8_gb() -> None:
    lab = load.load(paths.TREE / "host.toml").disk
    assert disk.layout(NAME, lab.esp_mib, lab.root_mib, disk.LEAST_DATA_MIB).sectors * 512 < 8e9


def test_the_table_leaves_no_id_to_chance() -> None:
    assert disk.sfdisk_script(PLAN, IDS) == (
        "label: gpt\n"
        f"label-id: {IDS.disk_guid}\n"
        "unit: sectors\n"
        "\n"
        "start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649,"
        f' uuid={IDS.bios_partuuid}, name="bios-boot"\n'
        "start=4096, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B,"
        f' uuid={IDS.esp_partuuid}, name="esp"\n'
        "start=135168, size=2097152, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709,"
        f' uuid={IDS.root_partuuid}, name="root-a"\n'
        "start=2232320, size=2097152, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709,"
        f' uuid={OTHER.root_partuuid}, name="root-b"\n'
        "start=4329472, size=524288, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4,"
        f' uuid={DATA.root_partuuid}, name="data"\n'
    )


def test_grub_looks_for_the_esp_by_its_volume_id() -> None:
    assert grub.early_config(IDS) == (
        "search --no-floppy --fs-uuid --set=root 8C02-9C6B\nset prefix=($root)/grub\n"
    )


def test_the_environment_is_a_block_that_grub_can_write_to_in_place() -> None:
    """It has GRUB's size, and all that counts is in the first sector: a power cut leaves the old one or the new."""
    block = grub.environment(good="a", try_="b")
    assert block.startswith("# GRUB Environment Block\ngood=a\ntry_=b\n#")
    assert len(block) == 1024
    assert block.index("b\n#") < 512


def test_the_script_fills_the_partitions_where_the_table_has_them() -> None:
    lines = disk.script(NAME, PLAN).splitlines()
    assert f"truncate -s {(2 + 64 + 2 * 1024 + 256 + 1) << 20} disk" in lines
    assert [line.split()[2] for line in lines if line.startswith(("mformat", "mmd", "mcopy"))] == [
        "disk@@2097152"
    ] * 4
    root, data = [line for line in lines if line.startswith("mke2fs")]
    assert f"offset={66 << 20},hash_seed={IDS.hash_seed}" in root
    assert root.endswith("-d root.tar disk 1048576k")
    assert f"offset={2114 << 20},hash_seed={DATA.hash_seed}" in data
    assert data.endswith("-d data.tar disk 262144k")
    assert "-N 8C029C6B " in disk.script(NAME, PLAN)


def test_mke2fs_is_given_extended_options_once() -> None:
    """It silently forgets the first of two."""
    assert disk.plan_ext4(PLAN.root, IDS, "label", "tar").count("-E") == 1


@pytest.mark.parametrize("platform", ["i386-pc", "x86_64-efi"])
def test_a_core_has_all_that_grub_cfg_uses(platform: str) -> None:
    template = (paths.ROOTFS / "boot/grub/grub.cfg.j2").read_text() + disk.FIRST_MENU.read_text()
    argv = grub.plan_core(platform)
    assert argv[argv.index("--format") + 1] == platform
    assert set(re.findall(r"insmod (\w+)", template)) <= set(argv)
    commands = {"search": "search", "linux": "linux", "serial": "serial", "terminal_input": "terminal"}
    commands |= {"regexp": "regexp", "probe": "probe", "source": "configfile", "save_env": "loadenv"}
    assert {module for command, module in commands.items() if command in template} <= set(argv)


def test_boot_code_is_told_where_the_core_is_and_to_check_its_drive() -> None:
    patched = grub.patch_boot(BOOT, 2048)
    assert len(patched) == 0x1B8
    assert patched[0x5C:0x64] == (2048).to_bytes(8, "little")
    assert patched[0x66:0x68] == b"\x90\x90"
    rest = [at for at in range(0x1B8) if at not in {*range(0x5C, 0x64), 0x66, 0x67}]
    assert all(patched[at] == BOOT[at] for at in rest)


def test_the_core_says_that_it_lies_in_one_piece() -> None:
    patched = grub.patch_core(core(80), 2048, 2048)
    assert len(patched) == 80 * 512
    assert struct.unpack_from("<QHH", patched, 500) == (2049, 79, 0x820)
    assert patched[:500] == core(80)[:500]
    assert patched[512:-100] == core(80)[512:]


def test_a_core_that_fills_its_partition_is_taken_and_a_larger_one_is_not() -> None:
    assert grub.patch_core(core(80), 2048, 80)
    with pytest.raises(ValueError, match="80 sectors, its partition has 79"):
        grub.patch_core(core(80), 2048, 79)


@pytest.mark.parametrize("blob", [b"", BOOT[:-2], BOOT[:-2] + b"\0\0"])
def test_what_is_no_boot_sector_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="not a boot sector"):
        grub.patch_boot(blob, 2048)


def test_a_core_without_the_part_that_reads_the_rest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"diskboot\.img"):
        grub.patch_core(core(80, segment=0), 2048, 2048)


def test_early_config_and_table_reach_the_sandbox(tmp_path: Path) -> None:
    archives = disk.Archives(tmp_path / "root.tar", tmp_path / "data.tar")
    archives.root.write_bytes(b"root")
    archives.data.write_bytes(b"data")
    work = tmp_path / "work"
    work.mkdir()
    disk._fill(work, NAME, archives, PLAN)
    assert {file.name for file in work.iterdir()} == {
        *("data.tar", "early.cfg", "grub.cfg", "grubenv", "root.tar", "script", "table")
    }
    assert (work / "table").read_text() == disk.sfdisk_script(PLAN, IDS)


def test_an_archive_that_does_not_fit_is_refused_with_the_size_it_needs() -> None:
    disk.check_room(256, 150 << 20)
    with pytest.raises(
        UserError, match=r"disk\.root_mib = 1024: the root file system needs 1493 MiB"
    ) as raised:
        disk.check_room(1024, 1360 << 20)
    assert "1493" in raised.value.hint


def test_the_data_partition_of_an_image_holds_what_comes_along() -> None:
    assert disk.data_mib(0) == 256
    assert disk.data_mib(4 << 30) > 4096 + 64
