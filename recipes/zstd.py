"""zstd: the Zstandard library, for kernel modules."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="zstd",
    version="1.5.7",
    license="BSD-3-Clause OR GPL-2.0-only",
    home="https://facebook.github.io/zstd/",
    source=Source(
        "pool/main/libz/libzstd/libzstd_1.5.7+dfsg.orig.tar.xz",
        sha256="0c092ef267edce57ba7f3f2645c861f72eaf5e76273c6c3632869423464b90a5",
    ),
    needs=("glibc",),
    build=Make(
        variables=("-C", "lib", "PREFIX=/usr", "ZSTD_LEGACY_SUPPORT=0"),
        targets=("libzstd",),
        install=("install-pc", "install-shared", "install-includes"),
    ),
    files=("usr/lib/libzstd.so.1",),
)
