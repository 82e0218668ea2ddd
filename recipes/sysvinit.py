"""sysvinit: init, and the programs that halt and reboot."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="sysvinit",
    version="3.18",
    license="GPL-2.0-or-later",
    home="https://github.com/slicer69/sysvinit",
    source=Source(
        "pool/main/s/sysvinit/sysvinit_3.18.orig.tar.gz",
        sha256="be9fdd55f2c1d1469a1f9d69e9d6abf47a2c0003df987b72605c653e92e5bb14",
    ),
    needs=("glibc",),
    build=Make(
        variables=(
            *("-C", "src", "base_sbindir=/usr/sbin", "base_bindir=/usr/bin", "MAN1=", "MAN5=", "MAN8="),
            # The rest comes from util-linux, procps and e2fsprogs.
            *("SBIN=init halt shutdown runlevel killall5 fstab-decode bootlogd", "USRBIN=readbootlog"),
        ),
        # It would lower the level that the engine asks for.
        before=("sed -i 's/ -D_FORTIFY_SOURCE=2//' src/Makefile",),
        after=('rm -r "$OUT/usr/bin/pidof" "$OUT/usr/bin/lastb" "$OUT/etc"',),
    ),
    smoke=("/usr/sbin/init", "--version"),
    files=("usr/sbin/init", "usr/sbin/halt", "usr/sbin/reboot", "usr/sbin/shutdown"),
)
