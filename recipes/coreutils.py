"""coreutils: the basic tools for files, text and processes."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="coreutils",
    version="9.7",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/coreutils/",
    source=Source(
        "pool/main/c/coreutils/coreutils_9.7.orig.tar.xz",
        sha256="e8bb26ad0293f9b5a1fc43fb42ba970e312c66ce92c1b0b16713d7500db251bf",
    ),
    needs=("glibc",),
    build=Configure(
        options=words("coreutils.options"),
        make=("SUBDIRS=.", "man1_MANS=", "MAKEINFO=true"),
    ),
    smoke=("/usr/bin/ls", "--version"),
    files=("usr/bin/ls", "usr/bin/cp", "usr/bin/stty", "usr/bin/hostname", "usr/bin/timeout"),
)
