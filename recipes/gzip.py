"""gzip: compression, for logs and archives."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="gzip",
    version="1.13",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/gzip/",
    source=Source(
        "pool/main/g/gzip/gzip_1.13.orig.tar.xz",
        sha256="7454eb6935db17c6655576c2e1b0fabefd38b4d0936e0f87f48cd062ce91a057",
    ),
    needs=("glibc",),
    build=Configure(make=("SUBDIRS=lib .",)),
    smoke=("/usr/bin/gzip", "--version"),
    files=("usr/bin/gzip", "usr/bin/zcat"),
)
