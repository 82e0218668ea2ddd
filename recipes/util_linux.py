"""util-linux: mounting, disks, logins and processes."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="util-linux",
    version="2.41.5",
    license="GPL-2.0-or-later AND LGPL-2.1-or-later",
    home="https://github.com/util-linux/util-linux",
    source=Source(
        "pool/main/u/util-linux/util-linux_2.41.5.orig.tar.xz",
        sha256="f586e35d320ff537aab3ffeca37e9ecd482ccbe013590db4429a414d8aa6a728",
    ),
    needs=("glibc", "libcap-ng", "libxcrypt", "ncurses"),
    build=Configure(options=words("util_linux.options")),
    smoke=("/usr/bin/mount", "--version"),
    files=("usr/bin/mount", "usr/bin/lsblk", "usr/lib/libblkid.so.1", "usr/lib/libuuid.so.1"),
)
