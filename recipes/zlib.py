"""zlib: deflate compression, for kmod, pciutils and GRUB's tools."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="zlib",
    version="1.3.1",
    license="Zlib",
    home="https://zlib.net/",
    source=Source(
        "pool/main/z/zlib/zlib_1.3.dfsg+really1.3.1.orig.tar.gz",
        sha256="60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb",
    ),
    needs=("glibc",),
    build=Configure(after=('rm "$OUT/usr/lib/libz.a"',)),
    files=("usr/lib/libz.so.1",),
)
