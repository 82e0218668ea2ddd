"""The host's disk: one file that is written to a drive as it is, and boots under UEFI and under BIOS.

    sector 0      boot.img of GRUB's i386-pc, and the protective MBR
    1 MiB         BIOS boot partition: core.img of i386-pc
    2 MiB         EFI system partition (FAT32): EFI/BOOT/BOOTX64.EFI, GRUB's x86_64-efi core
    + esp_mib     root (ext4): all of the root archive, with /boot/vmlinuz and /boot/grub/grub.cfg
    last MiB      the second GPT

Both cores find the root file system by its UUID and read grub.cfg there; every module is built into them.
Everything random in such a disk, from its GUID to the hash seed of its folders, derives from the machine's name, and no
root rights are needed: the tools write into the file, at an offset.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hostwright.base import files
from hostwright.base.errors import UserError
from hostwright.formats.gpt import (
    BIOS_BOOT,
    EFI_SYSTEM,
    LINUX_ROOT_X86_64,
    SECTOR,
    SECTORS_PER_MIB,
    Partition,
)
from hostwright.image.grub import PLATFORMS, early_config, patch_boot, patch_core, plan_core, plan_esp
from hostwright.image.ids import Ids, ids_for
from hostwright.machine.model import Machine
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop

# What ext4 keeps for itself in a small file system: journal, inodes, bitmaps.
TABLES_MIB = 48
# Named here and not taken from mke2fs.conf. Left out: metadata_csum_seed and orphan_file, which boot loaders and repair
# disks of a few years ago do not know.
EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize,metadata_csum"
)


@dataclass(frozen=True)
class Layout:
    """The partitions and the whole size, in sectors."""

    bios: Partition
    esp: Partition
    root: Partition
    sectors: int


def layout(esp_mib: int, root_mib: int, ids: Ids) -> Layout:
    """Where everything lies; all starts are multiples of 1 MiB."""
    esp_start, root_start = 2, 2 + esp_mib
    return Layout(
        _partition("bios-boot", BIOS_BOOT, ids.bios_partuuid, 1, 1),
        _partition("esp", EFI_SYSTEM, ids.esp_partuuid, esp_start, esp_mib),
        _partition("root", LINUX_ROOT_X86_64, ids.root_partuuid, root_start, root_mib),
        (root_start + root_mib + 1) * SECTORS_PER_MIB,
    )


def _partition(name: str, type_guid: str, partuuid: str, start_mib: int, size_mib: int) -> Partition:
    return Partition(name, type_guid, partuuid, start_mib * SECTORS_PER_MIB, size_mib * SECTORS_PER_MIB)


def sfdisk_script(plan: Layout, ids: Ids) -> str:
    """The partition table in sfdisk's own language, with no id left for it to draw."""
    lines = [
        f'start={part.start}, size={part.sectors}, type={part.type_guid}, uuid={part.partuuid}, name="{part.name}"'
        for part in (plan.bios, plan.esp, plan.root)
    ]
    return "\n".join(["label: gpt", f"label-id: {ids.disk_guid}", "unit: sectors", "", *lines]) + "\n"


def script(plan: Layout, ids: Ids) -> str:
    """The shell script that fills the folder /build: `disk` without its boot code, and the files that hold that.

    /build has early.cfg, table and root.tar, /input the staged tree of GRUB.
    """
    steps = [
        "set -eu",
        "cd /build",
        "export MKE2FS_CONFIG=/dev/null MTOOLSRC=/dev/null",
        f"truncate -s {plan.sectors * SECTOR} disk",
        "sfdisk --quiet --no-reread --no-tell-kernel --wipe never disk < table",
        *(_line(*plan_core(platform)) for platform in PLATFORMS),
        *(_line(*argv) for argv in plan_esp(plan.esp, ids)),
        _line(*plan_root(plan.root, ids)),
    ]
    return "\n".join(steps) + "\n"


def plan_root(root: Partition, ids: Ids) -> list[str]:
    """An ext4 file system with the content of root.tar, owners and modes as in the archive."""
    # The lazy ways would be chosen by what the running kernel offers. A second -E would override the first.
    extended = f"offset={root.offset},hash_seed={ids.hash_seed},lazy_itable_init=0,lazy_journal_init=0"
    return [
        "mke2fs", "-q", "-F",
        "-b", "4096", "-I", "256", "-i", "16384", "-m", "1",
        "-O", EXT4_FEATURES, "-E", extended,
        "-U", ids.root_uuid, "-L", "hostwright",
        "-d", "root.tar",
        "disk", f"{root.sectors // 2}k",
    ]  # fmt: skip


def _line(*argv: str) -> str:
    return " ".join(quote(word) for word in argv)


def check_room(root_mib: int, archive_bytes: int) -> None:
    """UserError when files of so many bytes do not fit into the root file system, with its own tables and journal."""
    need_mib = (archive_bytes >> 20) * 17 // 16 + TABLES_MIB
    if need_mib > root_mib:
        raise UserError(
            f"disk.root_mib = {root_mib}: the root file system needs {need_mib} MiB",
            f"set disk.root_mib in host.toml to {need_mib} or more; a guest with embed = true needs room for its disk",
        )


def write_image(machine: Machine, root_tar: Path, grub: Path, target: Path, shop: Workshop) -> None:
    """Write the disk of `machine` to `target`; `grub` is the staged tree of the package.

    A root archive that does not fit is a UserError that says how much it needs.
    """
    check_room(machine.disk.root_mib, root_tar.stat().st_size)
    ids = ids_for(machine.name)
    plan = layout(machine.disk.esp_mib, machine.disk.root_mib, ids)
    work = target.with_name(f".{target.name}.work")
    files.remove(work)
    work.mkdir(parents=True)
    _fill(work, root_tar, plan, ids)
    binds = (sandbox.Bind(work, "/build", writable=True), sandbox.Bind(grub, "/input"))
    shop.log.unlink(missing_ok=True)
    shop.run("writing the disk", sandbox.Job(shop.tools, ("sh", "-ex", "/build/script"), binds))
    _place_boot_code(work, grub, plan.bios)
    with files.replaced(target) as new:
        (work / "disk").rename(new)
    files.remove(work)


def _fill(work: Path, root_tar: Path, plan: Layout, ids: Ids) -> None:
    os.link(root_tar, work / "root.tar")
    (work / "early.cfg").write_text(early_config(ids))
    (work / "table").write_text(sfdisk_script(plan, ids))
    (work / "script").write_text(script(plan, ids))


def _place_boot_code(work: Path, grub: Path, bios: Partition) -> None:
    boot = (grub / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    core = (work / "core.i386-pc").read_bytes()
    with (work / "disk").open("r+b") as disk:
        disk.write(patch_boot(boot, bios.start))
        disk.seek(bios.offset)
        disk.write(patch_core(core, bios.start, bios.sectors))
