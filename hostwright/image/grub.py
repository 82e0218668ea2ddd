"""GRUB on the disk: its core images, the EFI system partition, and the boot code of BIOS."""

import struct

from hostwright.formats.gpt import SECTOR, Partition
from hostwright.image.ids import Ids

# Offsets in boot.img: include/grub/i386/pc/boot.h of GRUB, GRUB_BOOT_MACHINE_*.
KERNEL_SECTOR = 0x5C
DRIVE_CHECK = 0x66
CODE_END = 0x1B8
NOP = b"\x90"

# The block list ends core.img's first sector: grub-core/boot/i386/pc/diskboot.S, struct grub_pc_bios_boot_blocklist.
BLOCK_LIST = struct.Struct("<QHH")
BLOCK_LIST_OFFSET = SECTOR - BLOCK_LIST.size
KERNEL_SEGMENT = 0x820

ENVIRONMENT_HEAD = "# GRUB Environment Block\n"
ENVIRONMENT_BYTES = 1024

# What grub.cfg uses, and what one wants at GRUB's prompt when it does not boot.
MODULES = (
    "normal", "part_gpt", "ext2", "fat", "search", "search_fs_uuid", "search_label", "linux", "chain",
    "configfile", "regexp", "test", "true", "echo", "help", "minicmd", "ls", "cat", "probe", "sleep", "loadenv",
    "serial", "terminal", "terminfo", "all_video", "acpi", "halt", "reboot",
    "password_pbkdf2",
)  # fmt: skip
PLATFORMS = {
    "i386-pc": ("biosdisk", *MODULES),
    "x86_64-efi": ("efi_gop", "efifwsetup", *MODULES),
}


def early_config(ids: Ids) -> str:
    """What both cores run before anything else; `normal` then reads $prefix/grub.cfg."""
    return f"search --no-floppy --fs-uuid --set=root {ids.esp_uuid}\nset prefix=($root)/grub\n"


def environment(**variables: str) -> str:
    """An environment block, which GRUB reads and writes in place (grub-core/lib/envblk.c of GRUB)."""
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    return f"{ENVIRONMENT_HEAD}{lines}".ljust(ENVIRONMENT_BYTES, "#")


def plan_core(platform: str) -> list[str]:
    """GRUB's core image with early.cfg and every module in it."""
    return [
        "/input/usr/bin/grub-mkimage",
        "--directory", f"/input/usr/lib/grub/{platform}",
        "--format", platform,
        "--config", "early.cfg",
        "--prefix", "/boot/grub",
        "--output", f"core.{platform}",
        *PLATFORMS[platform],
    ]  # fmt: skip


def plan_esp(esp: Partition, ids: Ids) -> list[list[str]]:
    """A FAT32 file system with the removable-media loader, the first menu and its environment.

    One sector is a cluster, as even the smallest ESP needs it.
    """
    drive = f"disk@@{esp.offset}"
    serial = ids.esp_uuid.replace("-", "")
    shape = ["-F", "-c", "1", "-h", "255", "-s", "63", "-T", str(esp.sectors), "-H", str(esp.start)]
    return [
        ["mformat", "-i", drive, *shape, "-N", serial, "-v", "ESP", "::"],
        ["mmd", "-i", drive, "::/EFI", "::/EFI/BOOT", "::/grub"],
        ["mcopy", "-i", drive, "core.x86_64-efi", "::/EFI/BOOT/BOOTX64.EFI"],
        ["mcopy", "-i", drive, "grub.cfg", "grubenv", "::/grub/"],
    ]


def patch_boot(boot: bytes, core_start: int) -> bytes:
    """The boot code of sector 0 with the number of the sector where core.img starts; what util/setup.c of GRUB does.

    The jump at DRIVE_CHECK trusts the drive number of the BIOS. With two NOPs in its place a number that cannot be
    a hard disk is read as the first one, as GRUB installs itself on hard disks.
    """
    if len(boot) != SECTOR or boot[-2:] != b"\x55\xaa":
        raise ValueError("boot.img is not a boot sector")
    code = bytearray(boot[:CODE_END])
    struct.pack_into("<Q", code, KERNEL_SECTOR, core_start)
    code[DRIVE_CHECK : DRIVE_CHECK + 2] = NOP * 2
    return bytes(code)


def patch_core(core: bytes, start: int, limit: int) -> bytes:
    """core.img padded to whole sectors, its block list saying that it lies in one piece from sector `start` on.

    `limit` is how many sectors there are for it.
    """
    core += bytes(-len(core) % SECTOR)
    sectors = len(core) // SECTOR
    _, _, segment = BLOCK_LIST.unpack_from(core, BLOCK_LIST_OFFSET)
    if segment != KERNEL_SEGMENT:
        raise ValueError("core.img does not begin with diskboot.img")
    if sectors > limit:
        raise ValueError(f"core.img has {sectors} sectors, its partition has {limit}")
    block_list = BLOCK_LIST.pack(start + 1, sectors - 1, segment)
    return core[:BLOCK_LIST_OFFSET] + block_list + core[SECTOR:]
