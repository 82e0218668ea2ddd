"""findutils: find and xargs."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="findutils",
    version="4.10.0",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/findutils/",
    source=Source(
        "pool/main/f/findutils/findutils_4.10.0.orig.tar.xz",
        sha256="1387e0b67ff247d2abde998f90dfbf70c1491391a59ddfecb8ae698789f0a4f5",
    ),
    needs=("glibc",),
    build=Configure(
        # Neither locate nor gnulib's tests.
        before=("sed -i '/^SUBDIRS =/s/=.*/= gl lib find xargs/' Makefile.in",),
        options=("--disable-nls",),
    ),
    smoke=("/usr/bin/find", "--version"),
    files=("usr/bin/find", "usr/bin/xargs"),
)
