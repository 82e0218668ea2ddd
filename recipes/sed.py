"""sed: the stream editor."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="sed",
    version="4.9",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/sed/",
    source=Source(
        "pool/main/s/sed/sed_4.9.orig.tar.xz",
        sha256="6e226b732e1cd739464ad6862bd1a1aba42d7982922da7a53519631d24975181",
    ),
    needs=("glibc",),
    build=Configure(
        options=("--disable-nls", "--disable-acl"),
        make=("SUBDIRS=.", "dist_man_MANS=", "MAKEINFO=true"),
    ),
    smoke=("/usr/bin/sed", "--version"),
    files=("usr/bin/sed",),
)
