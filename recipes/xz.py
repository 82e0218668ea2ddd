"""xz: LZMA compression, for kernel modules."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="xz",
    version="5.8.1",
    license="0BSD AND LGPL-2.1-or-later",
    home="https://tukaani.org/xz/",
    source=Source(
        "pool/main/x/xz-utils/xz-utils_5.8.1.orig.tar.xz",
        sha256="0b54f79df85912504de0b14aec7971e3f964491af1812d83447005807513cd9e",
    ),
    needs=("glibc",),
    build=Configure(options=words("xz.options")),
    smoke=("/usr/bin/xz", "--version"),
    files=("usr/bin/xz", "usr/lib/liblzma.so.5"),
)
