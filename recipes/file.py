"""file: tells what kind of data a file holds."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="file",
    version="5.46",
    license="BSD-2-Clause-Darwin",
    home="https://www.darwinsys.com/file/",
    source=Source(
        "pool/main/f/file/file_5.46.orig.tar.gz",
        sha256="c9cc77c7c560c543135edc555af609d5619dbef011997e988ce40a3d75d86088",
    ),
    needs=("glibc",),
    build=Configure(
        options=words("file.options"),
        make=("SUBDIRS=src magic",),
    ),
    smoke=("/usr/bin/file", "/usr/bin/file"),
    files=("usr/bin/file", "usr/lib/libmagic.so.1", "usr/share/misc/magic.mgc"),
)
