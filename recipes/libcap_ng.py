"""libcap-ng: another view of capabilities, for setpriv."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="libcap-ng",
    version="0.8.5",
    license="LGPL-2.1-or-later AND GPL-2.0-or-later",
    home="https://github.com/stevegrubb/libcap-ng",
    source=Source(
        "pool/main/libc/libcap-ng/libcap-ng_0.8.5.orig.tar.gz",
        sha256="e4be07fdd234f10b866433f224d183626003c65634ed0552b02e654a380244c2",
    ),
    needs=("glibc",),
    build=Configure(
        # The archive's tarball is upstream's tree without a configure.
        before=("touch NEWS", "autoreconf -fi"),
        options=("--disable-static", "--without-python3"),
        # The library alone.
        make=("-C", "src"),
    ),
    files=("usr/lib/libcap-ng.so.0",),
)
