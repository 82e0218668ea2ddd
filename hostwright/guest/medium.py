"""The installer medium: Debian's installer with every part that it would fetch, on a bootable ISO.

    guest/installer.lock --> netboot package --> linux, initrd --+
                         \\-> parts (.udeb) --------------------> one initrd, its modules indexed, in the cache
    package grub --> BOOTX64.EFI in a FAT image --> ISO 9660 (El Torito, and a GPT for USB sticks)

The result contains nothing random and nothing of this machine: times are SOURCE_DATE_EPOCH, ids derive from the
content, and the build root's tools compress and write. No root rights are needed.
"""

import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shlex import quote

from hostwright.base import files, paths
from hostwright.base.times import EPOCH
from hostwright.formats import gpt
from hostwright.guest.initrd import build_initrd, load_lock, run, workplace
from hostwright.image.templates import render_text
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop

# The modules for grub.cfg, and those that help at GRUB's prompt when a boot fails.
GRUB_MODULES = (
    "normal", "part_gpt", "part_msdos", "iso9660", "fat", "search", "search_fs_file", "linux", "chain",
    "configfile", "test", "true", "echo", "help", "minicmd", "ls", "cat", "probe", "sleep", "terminal",
    "all_video", "efi_gop", "efifwsetup", "acpi", "halt", "reboot",
)  # fmt: skip

# 4 MiB, a FAT16: GRUB's core is smaller than 1 MiB.
ESP_SECTORS = 8192
VOLUME = "HOSTWRIGHT"
_NAMESPACE = uuid.UUID("5f0d8c53-0c35-5e0b-8a5e-5a0f3f8a7c11")


@dataclass(frozen=True)
class Start:
    """How a medium starts: what answers for a person, further kernel words, the entry that starts without a key.

    `answers` is a cpio archive that the kernel unpacks over the installer (/preseed.cfg and its commands), or None for
    an interactive medium.
    """

    answers: bytes | None = None
    words: tuple[str, ...] = ()
    default: str = "video"


def write_iso(target: Path, start: Start, grub_tree: Path, shop: Workshop) -> None:
    """Write the bootable ISO to `target`; `grub_tree` is the staged tree of the package."""
    boot, answers = build_initrd(load_lock(), shop), start.answers
    menu = render_menu(answers is not None, start.words, start.default)
    ids = ids_for(f"{boot.folder.name} {menu} {sha256(answers or b'').hexdigest()}")
    with workplace() as work:
        os.link(boot.kernel, work / "linux")
        os.link(boot.initrd, work / "initrd")
        (work / "answers").write_bytes(answers or b"")
        (work / "grub.cfg").write_text(menu)
        (work / "early.cfg").write_text(early_config(ids))
        (work / "script").write_text(script(ids, answers is not None))
        grub = sandbox.Bind(grub_tree, "/input")
        run("writing the installer medium", ("sh", "-ex", "/build/script"), work, shop, grub)
        with files.replaced(target) as new:
            shutil.move(work / "iso", new)


@dataclass(frozen=True)
class Ids:
    """The ids that distinguish media: the name of a file in the root, and the ids of disk and FAT."""

    mark: str
    disk_guid: str
    esp_serial: str


def ids_for(content: str) -> Ids:
    """The ids of the medium that `content` describes: equal content gives equal ids."""
    digest = sha256(content.encode()).hexdigest()
    return Ids(f"hostwright-{digest[:16]}", str(uuid.uuid5(_NAMESPACE, content)), digest[:8].upper())


def render_menu(has_answers: bool, words: Sequence[str], default: str) -> str:
    """The medium's grub.cfg."""
    template = paths.GUEST / "grub.cfg.j2"
    values = {
        "has_answers": has_answers,
        "words": list(words),
        "default": default,
        "timeout": 1 if has_answers else 5,
    }
    return render_text(template.read_text(), "guest/grub.cfg.j2", values)


def early_config(ids: Ids) -> str:
    """The commands that GRUB's core runs first; `normal` then reads $prefix/grub.cfg.

    It finds the medium by a file's name: the medium may be an optical disk, a USB stick, or its files copied to one.
    """
    return f"search --no-floppy --file --set=root /{ids.mark}\nset prefix=($root)/boot/grub\n"


def script(ids: Ids, has_answers: bool) -> str:
    """The shell script that makes `iso` from the files in /build; /input is the staged tree of GRUB."""
    install = ["linux", "initrd", *(["answers"] if has_answers else [])]
    loader = "tree/EFI/BOOT/BOOTX64.EFI"
    steps = [
        ("set", "-eu"),
        ("cd", "/build"),
        ("export", "MTOOLSRC=/dev/null"),
        ("mkdir", "-p", "tree/boot/grub", "tree/install", "tree/EFI/BOOT"),
        plan_loader(loader),
        ("truncate", "-s", str(ESP_SECTORS * gpt.SECTOR), "esp"),
        *plan_esp(loader, ids),
        ("mv", *install, "tree/install"),
        ("mv", "grub.cfg", "tree/boot/grub"),
        ("touch", f"tree/{ids.mark}"),
        plan_iso(ids),
    ]
    return "".join(" ".join(quote(word) for word in argv) + "\n" for argv in steps)


def plan_loader(target: str) -> tuple[str, ...]:
    """GRUB's core image with early.cfg and every module (grub-mkimage(1))."""
    return (
        "/input/usr/bin/grub-mkimage",
        "--directory", "/input/usr/lib/grub/x86_64-efi",
        "--format", "x86_64-efi",
        "--config", "early.cfg",
        "--prefix", "/boot/grub",
        "--output", target,
        *GRUB_MODULES,
    )  # fmt: skip


def plan_esp(loader: str, ids: Ids) -> tuple[tuple[str, ...], ...]:
    """A FAT file system with the removable-media loader: El Torito's image, and a USB stick's EFI partition."""
    shape = ("-c", "1", "-h", "255", "-s", "63", "-T", str(ESP_SECTORS), "-H", "0")
    return (
        ("mformat", "-i", "esp", *shape, "-N", ids.esp_serial, "-v", VOLUME, "::"),
        ("mmd", "-i", "esp", "::/EFI", "::/EFI/BOOT"),
        ("mcopy", "-i", "esp", loader, "::/EFI/BOOT/BOOTX64.EFI"),
    )


def plan_iso(ids: Ids) -> tuple[str, ...]:
    """ISO 9660 with Rock Ridge, written by xorriso, xorrisofs(1); all times are SOURCE_DATE_EPOCH.

    The FAT image is stored once: as the second partition of a GPT, and as El Torito's image for UEFI.
    """
    return (
        "xorriso", "-no_rc", "-as", "mkisofs", "-quiet",
        "-r", "-V", VOLUME,
        # The first partition is the file system itself with its own start, so a stick's partition can be mounted.
        "-partition_offset", "16",
        "-append_partition", "2", gpt.EFI_SYSTEM, "esp",
        "-appended_part_as_gpt",
        "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
        "--gpt_disk_guid", ids.disk_guid,
        # Without this a file keeps the time at which it was added to the folder.
        "--set_all_file_dates", f"={EPOCH}",
        "-o", "iso", "tree",
    )  # fmt: skip
