"""diffutils: diff and cmp."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="diffutils",
    version="3.10",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/diffutils/",
    source=Source(
        "pool/main/d/diffutils/diffutils_3.10.orig.tar.xz",
        sha256="90e5e93cc724e4ebe12ede80df1634063c7a855692685919bfe60b556c9bd09e",
    ),
    needs=("glibc",),
    build=Configure(options=("--disable-nls",), make=("SUBDIRS=lib src",)),
    smoke=("/usr/bin/diff", "--version"),
    files=("usr/bin/diff", "usr/bin/cmp"),
)
