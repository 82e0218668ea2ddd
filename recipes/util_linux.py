"""util-linux: mounting, disks, logins and processes."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="util-linux",
    version="2.41.5",
    license="GPL-2.0-or-later AND LGPL-2.1-or-later",
    home="https://github.com/util-linux/util-linux",
    source=Source(
        "pool/main/u/util-linux/util-linux_2.41.5.orig.tar.xz",
        sha256="f586e35d320ff537aab3ffeca37e9ecd482ccbe013590db4429a414d8aa6a728",
    ),
    needs=("glibc", "libxcrypt", "ncurses"),
    build=Configure(
        options=(
            *("--bindir=/usr/bin", "--sbindir=/usr/sbin", "--libdir=/usr/lib", "--disable-static"),
            *("--disable-nls", "--disable-asciidoc", "--disable-poman", "--disable-scriptutils"),
            *("--disable-bash-completion", "--disable-liblastlog2", "--disable-chfn-chsh", "--disable-login"),
            *("--disable-su", "--disable-runuser", "--disable-nologin", "--disable-minix"),
            *("--disable-cramfs", "--disable-bfs", "--disable-makeinstall-setuid"),
            *("--disable-use-tty-group", "--without-python", "--without-readline"),
        ),
    ),
    smoke=("/usr/bin/mount", "--version"),
    files=("usr/bin/mount", "usr/bin/lsblk", "usr/lib/libblkid.so.1", "usr/lib/libuuid.so.1"),
)
