"""mdadm: assembles, makes and watches arrays of disks (Linux software RAID)."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="mdadm",
    version="4.4",
    license="GPL-2.0-or-later",
    home="https://github.com/md-raid-utilities/mdadm",
    source=Source(
        "pool/main/m/mdadm/mdadm_4.4.orig.tar.xz",
        sha256="68d4efd220474c0fda80e6c09d1909a3b3484592ba2815c0caa9e10437543022",
    ),
    needs=("glibc",),
    build=Make(
        # Its Makefile puts CFLAGS together from these two; the host has no libudev.
        before=('export CXFLAGS="$CFLAGS -DNO_LIBUDEV" CWFLAGS=-Wall',),
        variables=("CHECK_RUN_DIR=0", "BINDIR=/usr/sbin", "UDEVDIR=/usr/lib/udev"),
        # Without mdmon, which arrays in a board's own format need.
        targets=("mdadm",),
        install=("install-udev",),
        after=(
            'install -D -t "$OUT/usr/sbin" mdadm',
            # An array is assembled by the script `storage`, not disk by disk as they appear.
            'cd "$OUT/usr/lib/udev/rules.d" && rm 01-md-* 64-md-* 69-md-*',
        ),
    ),
    smoke=("/usr/sbin/mdadm", "--version"),
    files=("usr/sbin/mdadm", "usr/lib/udev/rules.d/63-md-raid-arrays.rules"),
)
