"""less: shows text page by page."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="less",
    version="668",
    license="GPL-3.0-or-later OR BSD-2-Clause",
    home="https://www.greenwoodsoftware.com/less/",
    source=Source(
        "pool/main/l/less/less_668.orig.tar.gz",
        sha256="2819f55564d86d542abbecafd82ff61e819a3eec967faa36cd3e68f1596a44b8",
    ),
    needs=("glibc", "ncurses"),
    build=Configure(options=("--with-regex=posix",)),
    smoke=("/usr/bin/less", "--version"),
    files=("usr/bin/less",),
)
