"""liburing: the kernel's io_uring, for QEMU's disks."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="liburing",
    version="2.9",
    license="LGPL-2.1-or-later OR MIT",
    home="https://github.com/axboe/liburing",
    source=Source(
        "pool/main/libu/liburing/liburing_2.9.orig.tar.gz",
        sha256="57e9b36e4ac1e46b8e0351dfb1694dc59638fc25e384b4ba36d87b800b16db1a",
    ),
    needs=("glibc",),
    build=Make(
        # Without libc it would have no stack protector.
        before=("./configure --prefix=/usr --use-libc",),
        targets=("library",),
        after=('rm "$OUT"/usr/lib/*.a && rm -r "$OUT/usr/man"',),
    ),
    files=("usr/lib/liburing.so.2",),
)
