"""pciutils: lspci and setpci, to see a device and its IOMMU group."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="pciutils",
    version="3.13.0",
    license="GPL-2.0-or-later",
    home="https://mj.ucw.cz/sw/pciutils/",
    source=Source(
        "pool/main/p/pciutils/pciutils_3.13.0.orig.tar.gz",
        sha256="a03c88a0aab709b1697ca1753766f443e78297f84c7bcd80a82c1422edd7cb42",
    ),
    needs=("glibc", "kmod", "hwdata"),
    build=Make(
        before=('sed -i "s|^OPT=.*|OPT=$CFLAGS|" Makefile',),
        variables=(
            *("PREFIX=/usr", "SHAREDIR=/usr/share/hwdata", "SHARED=yes", "STRIP="),
            *("ZLIB=no", "DNS=no", "LIBKMOD=yes", "HWDB=no"),
        ),
        # The names come from hwdata, and no host fetches newer ones by itself.
        after=('rm -r "$OUT/usr/share" "$OUT/usr/sbin/update-pciids"',),
    ),
    smoke=("/usr/bin/lspci", "--version"),
    files=("usr/bin/lspci", "usr/sbin/setpci", "usr/lib/libpci.so.3"),
)
