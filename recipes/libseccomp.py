"""libseccomp: filters for system calls, for QEMU's sandbox."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="libseccomp",
    version="2.6.0",
    license="LGPL-2.1-only",
    home="https://github.com/seccomp/libseccomp",
    source=Source(
        "pool/main/libs/libseccomp/libseccomp_2.6.0.orig.tar.gz",
        sha256="83b6085232d1588c379dc9b9cae47bb37407cf262e6e74993c61ba72d2a784dc",
    ),
    needs=("glibc",),
    # Without the program that translates names of system calls, for those who write filters.
    build=Configure(options=("--disable-static",), after=('rm -r "$OUT/usr/bin"',)),
    files=("usr/lib/libseccomp.so.2",),
)
