"""inih: reads INI files, for mkfs.xfs."""

from hostwright.recipe import Meson, Recipe, Source

RECIPE = Recipe(
    name="inih",
    version="59",
    license="BSD-3-Clause",
    home="https://github.com/benhoyt/inih",
    source=Source(
        "pool/main/libi/libinih/libinih_59.orig.tar.gz",
        sha256="062279922805f5e9a369551a08d5ddb506140fe50774183ffdbb7c22bb97e3f4",
    ),
    needs=("glibc",),
    # The reader is the interface for C++.
    build=Meson(options=("-Dwith_INIReader=false",)),
    files=("usr/lib/libinih.so.0",),
)
