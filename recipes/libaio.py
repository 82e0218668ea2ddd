"""libaio: the kernel's older asynchronous input and output, for QEMU's disks."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="libaio",
    version="0.3.113",
    license="LGPL-2.1-or-later",
    home="https://pagure.io/libaio",
    source=Source(
        "pool/main/liba/libaio/libaio_0.3.113.orig.tar.gz",
        sha256="2c44d1c5fd0d43752287c9ae1eb9c023f04ef848ea8d4aafa46e9aedb678200b",
    ),
    needs=("glibc",),
    build=Make(after=('rm "$OUT/usr/lib/libaio.a"',)),
    files=("usr/lib/libaio.so.1",),
)
