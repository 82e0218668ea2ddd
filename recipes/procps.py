"""procps: ps, top, free, sysctl and their kin."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="procps",
    version="4.0.4",
    license="GPL-2.0-or-later AND LGPL-2.0-or-later",
    home="https://gitlab.com/procps-ng/procps",
    source=Source(
        "pool/main/p/procps/procps_4.0.4.orig.tar.xz",
        sha256="22870d6feb2478adb617ce4f09a787addaf2d260c5a8aa7b17d889a962c5e42e",
    ),
    needs=("glibc", "ncurses"),
    build=Configure(
        # kill is util-linux's.
        options=("--disable-static", "--disable-nls", "--disable-kill", "--disable-numa"),
    ),
    smoke=("/usr/bin/ps", "--version"),
    files=("usr/bin/ps", "usr/bin/pidof", "usr/sbin/sysctl", "usr/lib/libproc2.so.0"),
)
