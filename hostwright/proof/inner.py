"""The guest inside the booted host: a disk with GRUB, our kernel, and an initramfs that reports the passed devices.

kernel + packages + inner_init.sh --> initramfs --+
package grub --> BOOTX64.EFI ---------------------+--> FAT --> disk.qcow2, which `guest start` boots
its console's text --read_console--> Report
"""

import re
from dataclasses import dataclass
from pathlib import Path
from shlex import join

from hostwright.image import initramfs
from hostwright.sandbox import sandbox
from hostwright.sandbox.sandbox import Bind, Job

DISK = "disk.qcow2"
# Bytes of the drive that are written from outside, and then read in the guest.
SAMPLE_BYTES = 16 << 20
BEGIN, END = "HOSTWRIGHT-INNER-BEGIN", "HOSTWRIGHT-INNER-END"

DISK_MIB = 96
_MODULES = ("fat", "search", "search_fs_file", "linux", "echo", "all_video", "efi_gop", "boot")
# GRUB's core runs only this. Every character on the serial line costs time in an emulator that is itself emulated.
_CONFIG = """\
search --no-floppy --file --set=root /hostwright-inner
linux /linux console=ttyS0,115200 panic=-1 no_timer_check quiet
initrd /initrd
boot
"""
SYSTEM = initramfs.Contents(
    programs={
        "bash": ("bash",),
        "util-linux": ("mount", "dmesg"),
        "pciutils": ("lspci",),
        "coreutils": ("head", "sha256sum", "sleep"),
    },
    libraries=("glibc", "ncurses", "readline", "util-linux", "kmod", "pciutils", "zlib", "zstd", "xz"),
    scripts={"usr/lib/init.sh": Path(__file__).parent / "init" / "inner.sh"},
    links={"init": "usr/lib/init.sh"},
)


@dataclass(frozen=True)
class Report:
    """The guest's report: lspci's text, and the sha256 of the drive's first SAMPLE_BYTES."""

    lspci: str
    digest: str


def read_console(text: str) -> Report | None:
    """The last complete report on a console; None if there is none."""
    found = re.findall(rf"(?s){BEGIN}\r?\n(.*?){END}", text)
    if not found:
        return None
    lspci, _, rest = found[-1].replace("\r", "").partition("sha256 ")
    return Report(lspci, rest.split()[0] if rest.split() else "")


def script() -> str:
    """The shell script that makes /build/DISK of linux, initrd, mark and early.cfg beside it; /input is GRUB's tree."""
    core = (
        "/input/usr/bin/grub-mkimage", "--directory", "/input/usr/lib/grub/x86_64-efi", "--format", "x86_64-efi",
        "--config", "early.cfg", "--prefix", "/", "--output", "core.efi", *_MODULES,
    )  # fmt: skip
    steps = (
        ("truncate", "-s", f"{DISK_MIB}M", "disk"),
        ("mformat", "-i", "disk", "-h", "64", "-s", "32", "-T", str(DISK_MIB << 11), "-v", "INNER", "::"),
        ("mmd", "-i", "disk", "::/EFI", "::/EFI/BOOT"),
        ("mcopy", "-i", "disk", "core.efi", "::/EFI/BOOT/BOOTX64.EFI"),
        ("mcopy", "-i", "disk", "linux", "initrd", "hostwright-inner", "::/"),
        ("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "disk", DISK),
    )
    return "\n".join(["set -e", "cd /build", "export MTOOLSRC=/dev/null", *map(join, (core, *steps))]) + "\n"


def make_disk(kernel: Path, grub: Path, tools: Path, work: Path) -> Path:
    """Make the disk in the empty folder `work`; `grub` is the staged tree of the package.

    Raises UserError if a package is not built.
    """
    (work / "linux").write_bytes(kernel.read_bytes())
    (work / "initrd").write_bytes(initramfs.make(SYSTEM))
    (work / "hostwright-inner").touch()
    (work / "early.cfg").write_text(_CONFIG)
    (work / "script").write_text(script())
    job = Job(tools, ("sh", "/build/script"), (Bind(work, "/build", writable=True), Bind(grub, "/input")))
    sandbox.execute("making the inner guest's disk", job, tools, work / "disk.log")
    return work / DISK
