"""grub: the boot loader of the host image, for UEFI and for BIOS firmware."""

from hostwright.recipe import Grub, Recipe, Source, words

RECIPE = Recipe(
    name="grub",
    version="2.12",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/grub/",
    source=Source(
        "pool/main/g/grub2/grub2_2.12.orig.tar.xz",
        sha256="f3c97391f7c4eaa677a78e090c7e97e6dc47b16f655f04683ebd37bef7fe0faa",
    ),
    needs=("glibc",),
    # What the host's disk needs not: fonts, ZFS, device mapper, a 64-bit EFI emulated on BIOS.
    build=Grub(options=words("grub.options")),
    smoke=("/usr/bin/grub-script-check", "--version"),
    files=("usr/bin/grub-mkimage", "usr/lib/grub/i386-pc/boot.img", "usr/lib/grub/x86_64-efi/normal.mod"),
)
