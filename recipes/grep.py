"""grep: pattern search in text."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="grep",
    version="3.11",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/grep/",
    source=Source(
        "pool/main/g/grep/grep_3.11.orig.tar.xz",
        sha256="1db2aedde89d0dea42b16d9528f894c8d15dae4e190b59aecc78f5a951276eab",
    ),
    needs=("glibc",),
    build=Configure(options=("--disable-nls", "--disable-perl-regexp"), make=("SUBDIRS=lib src",)),
    smoke=("/usr/bin/grep", "--version"),
    files=("usr/bin/grep", "usr/bin/egrep"),
)
