"""dosfstools: makes and checks FAT, the file system of the EFI partition."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="dosfstools",
    version="4.2",
    license="GPL-3.0-or-later",
    home="https://github.com/dosfstools/dosfstools",
    source=Source(
        "pool/main/d/dosfstools/dosfstools_4.2.orig.tar.gz",
        sha256="64926eebf90092dca21b14259a5301b7b98e7b1943e8a201c7d726084809b527",
    ),
    needs=("glibc",),
    build=Configure(options=("--enable-compat-symlinks",), make=("SUBDIRS=src",)),
    smoke=("/usr/sbin/mkfs.fat", "--help"),
    files=("usr/sbin/mkfs.fat", "usr/sbin/fsck.vfat"),
)
