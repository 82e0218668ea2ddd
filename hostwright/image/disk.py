"""The host's disk: one file that is written to a drive as it is, and boots under UEFI and under BIOS.

    sector 0      boot.img of GRUB's i386-pc, and the protective MBR
    1 MiB         BIOS boot partition: core.img of i386-pc
    2 MiB         EFI system partition (FAT32): GRUB's x86_64-efi core, and the menu and environment of both cores
    + esp_mib     slot A (ext4): all of the root archive, with /boot/vmlinuz and /boot/grub/grub.cfg
    + root_mib    slot B, empty: the first update writes it
    + root_mib    data (ext4): /var
    last MiB      the second GPT

Both cores find the EFI system partition by its volume id and read grub.cfg there; every module is built into them.
Everything random in such a disk, from its GUID to the hash seed of its folders, derives from the machine's name, and no
root rights are needed: the tools write into the file, at an offset.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.formats.gpt import (
    BIOS_BOOT,
    DATA_PART,
    EFI_SYSTEM,
    LINUX_DATA,
    LINUX_ROOT_X86_64,
    ROOTS,
    SECTOR,
    SECTORS_PER_MIB,
    Partition,
)
from hostwright.image.grub import (
    PLATFORMS,
    early_config,
    environment,
    patch_boot,
    patch_core,
    plan_core,
    plan_esp,
)
from hostwright.image.ids import DATA, FIRST_SLOT, SECOND_SLOT, Ids, ids_for
from hostwright.machine.model import Machine
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop

# What ext4 keeps for itself in a small file system: journal, inodes, bitmaps.
TABLES_MIB = 48
# The data partition of an image; on a disk it takes what is left. A file system that grows keeps its journal, so that
# this one has the journal of a large one.
LEAST_DATA_MIB = 256
DATA_JOURNAL_MIB = 64
# The menu on the EFI system partition, which hostwright-install takes from the host.
FIRST_MENU = paths.ROOTFS / "usr/share/hostwright/esp/grub.cfg"
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
    other: Partition
    data: Partition

    @property
    def parts(self) -> tuple[Partition, ...]:
        """All partitions, in the order of the disk."""
        return (self.bios, self.esp, self.root, self.other, self.data)

    @property
    def sectors(self) -> int:
        """The size of the whole disk, with the second GPT."""
        return self.data.start + self.data.sectors + SECTORS_PER_MIB


def layout(name: str, esp_mib: int, root_mib: int, data_mib: int) -> Layout:
    """Where everything lies on the disk of machine `name`; all starts are multiples of 1 MiB."""
    first, second, data = (ids_for(name, slot) for slot in (FIRST_SLOT, SECOND_SLOT, DATA))
    root_start = 2 + esp_mib
    other_start, data_start = root_start + root_mib, root_start + 2 * root_mib
    return Layout(
        _partition("bios-boot", BIOS_BOOT, first.bios_partuuid, 1, 1),
        _partition("esp", EFI_SYSTEM, first.esp_partuuid, 2, esp_mib),
        _partition(ROOTS[0], LINUX_ROOT_X86_64, first.root_partuuid, root_start, root_mib),
        _partition(ROOTS[1], LINUX_ROOT_X86_64, second.root_partuuid, other_start, root_mib),
        _partition(DATA_PART, LINUX_DATA, data.root_partuuid, data_start, data_mib),
    )


def _partition(name: str, type_guid: str, partuuid: str, start_mib: int, size_mib: int) -> Partition:
    return Partition(name, type_guid, partuuid, start_mib * SECTORS_PER_MIB, size_mib * SECTORS_PER_MIB)


def sfdisk_script(plan: Layout, ids: Ids) -> str:
    """The partition table in sfdisk's own language, with no id left for it to draw."""
    lines = [
        f'start={part.start}, size={part.sectors}, type={part.type_guid}, uuid={part.partuuid}, name="{part.name}"'
        for part in plan.parts
    ]
    return "\n".join(["label: gpt", f"label-id: {ids.disk_guid}", "unit: sectors", "", *lines]) + "\n"


def script(name: str, plan: Layout) -> str:
    """The shell script that fills the folder /build: `disk` without its boot code, and the files that hold that.

    /build has early.cfg, grub.cfg, grubenv, table, root.tar and data.tar, /input the staged tree of GRUB.
    """
    ids, data = ids_for(name), ids_for(name, DATA)
    steps = [
        "set -eu",
        "cd /build",
        "export MKE2FS_CONFIG=/dev/null MTOOLSRC=/dev/null",
        f"truncate -s {plan.sectors * SECTOR} disk",
        "sfdisk --quiet --no-reread --no-tell-kernel --wipe never disk < table",
        *(_line(*plan_core(platform)) for platform in PLATFORMS),
        *(_line(*argv) for argv in plan_esp(plan.esp, ids)),
        _line(*plan_ext4(plan.root, ids, "hostwright", "root.tar")),
        _line(*plan_ext4(plan.data, data, "data", "data.tar", "-J", f"size={DATA_JOURNAL_MIB}")),
    ]
    return "\n".join(steps) + "\n"


def plan_ext4(part: Partition, ids: Ids, label: str, archive: str, *more: str) -> list[str]:
    """An ext4 file system with the content of an archive, owners and modes as in it."""
    # The lazy ways would be chosen by what the running kernel offers. A second -E would override the first.
    extended = f"offset={part.offset},hash_seed={ids.hash_seed},lazy_itable_init=0,lazy_journal_init=0"
    return [
        "mke2fs", "-q", "-F",
        "-b", "4096", "-I", "256", "-i", "16384", "-m", "1",
        "-O", EXT4_FEATURES, "-E", extended,
        *more,
        "-U", ids.root_uuid, "-L", label,
        "-d", archive,
        "disk", f"{part.sectors // 2}k",
    ]  # fmt: skip


def _line(*argv: str) -> str:
    return " ".join(quote(word) for word in argv)


def check_room(root_mib: int, archive_bytes: int) -> None:
    """UserError when files of so many bytes do not fit into the root file system, with its own tables and journal."""
    need_mib = needed_mib(archive_bytes)
    if need_mib > root_mib:
        raise UserError(
            f"disk.root_mib = {root_mib}: the root file system needs {need_mib} MiB",
            f"set disk.root_mib in host.toml to {need_mib} or more",
        )


def needed_mib(archive_bytes: int) -> int:
    """The size of a file system for an archive of so many bytes."""
    return (archive_bytes >> 20) * 17 // 16 + TABLES_MIB


def data_mib(archive_bytes: int) -> int:
    """The size of the data partition for an archive of so many bytes."""
    return max(LEAST_DATA_MIB, needed_mib(archive_bytes) + DATA_JOURNAL_MIB)


@dataclass(frozen=True)
class Archives:
    """What goes onto the disk: the root file system and what is below /var, both as tar, and GRUB's first menu."""

    root: Path
    data: Path
    first_menu: Path = FIRST_MENU


def plan_disk(machine: Machine, archives: Archives) -> Layout:
    """The disk for the archives. A root archive that does not fit is a UserError that says how much it needs."""
    check_room(machine.disk.root_mib, archives.root.stat().st_size)
    return layout(
        machine.name, machine.disk.esp_mib, machine.disk.root_mib, data_mib(archives.data.stat().st_size)
    )


def write_image(machine: Machine, archives: Archives, grub: Path, target: Path, shop: Workshop) -> None:
    """Write the disk of `machine` to `target`; `grub` is the staged tree of the package.

    A root archive that does not fit is a UserError that says how much it needs.
    """
    plan = plan_disk(machine, archives)
    work = target.with_name(f".{target.name}.work")
    files.remove(work)
    work.mkdir(parents=True)
    _fill(work, machine.name, archives, plan)
    binds = (sandbox.Bind(work, "/build", writable=True), sandbox.Bind(grub, "/input"))
    shop.log.unlink(missing_ok=True)
    shop.run("writing the disk", sandbox.Job(shop.tools, ("sh", "-ex", "/build/script"), binds))
    _place_boot_code(work, grub, plan.bios)
    with files.replaced(target) as new:
        (work / "disk").rename(new)
    files.remove(work)


def _fill(work: Path, name: str, archives: Archives, plan: Layout) -> None:
    os.link(archives.root, work / "root.tar")
    os.link(archives.data, work / "data.tar")
    shutil.copyfile(archives.first_menu, work / "grub.cfg")
    (work / "grubenv").write_text(environment(good=FIRST_SLOT))
    (work / "early.cfg").write_text(early_config(ids_for(name)))
    (work / "table").write_text(sfdisk_script(plan, ids_for(name)))
    (work / "script").write_text(script(name, plan))


def _place_boot_code(work: Path, grub: Path, bios: Partition) -> None:
    boot = (grub / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    core = (work / "core.i386-pc").read_bytes()
    with (work / "disk").open("r+b") as disk:
        disk.write(patch_boot(boot, bios.start))
        disk.seek(bios.offset)
        disk.write(patch_core(core, bios.start, bios.sectors))
