"""iproute2: ip, bridge and ss."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="iproute2",
    version="6.1.0",
    license="GPL-2.0-or-later",
    home="https://wiki.linuxfoundation.org/networking/iproute2",
    source=Source(
        "pool/main/i/iproute2/iproute2_6.1.0.orig.tar.xz",
        sha256="5ce12a0fec6b212725ef218735941b2dab76244db7e72646a76021b0537b43ab",
    ),
    needs=("glibc",),
    build=Make(
        variables=("SUBDIRS=lib ip bridge misc", "SBINDIR=/usr/sbin", "KERNEL_INCLUDE=/sysroot/usr/include"),
        after=('rm -r "$OUT/usr/share" "$OUT/usr/include" "$OUT/var"',),
    ),
    smoke=("/usr/sbin/ip", "-V"),
    files=("usr/sbin/ip", "usr/sbin/bridge", "usr/sbin/ss"),
)
