"""liburcu: data that threads read without locks, for xfs_repair."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="liburcu",
    version="0.13.2",
    license="LGPL-2.1-or-later AND MIT",
    home="https://liburcu.org/",
    source=Source(
        "pool/main/libu/liburcu/liburcu_0.13.2.orig.tar.bz2",
        sha256="1213fd9f1b0b74da7de2bb74335b76098db9738fec5d3cdc07c0c524f34fc032",
    ),
    needs=("glibc",),
    build=Configure(options=("--disable-static",), make=("SUBDIRS=include src",)),
    files=("usr/lib/liburcu.so.8",),
)
