"""e2fsprogs: making, checking and resizing ext4."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="e2fsprogs",
    version="1.47.2",
    license="GPL-2.0-only AND LGPL-2.0-only AND BSD-3-Clause AND MIT",
    home="https://e2fsprogs.sourceforge.net/",
    source=Source(
        "pool/main/e/e2fsprogs/e2fsprogs_1.47.2.orig.tar.gz",
        sha256="6dcd67ff9d8b13274ba3f088e4318be4f5b71412cd863524423fc49d39a6371f",
    ),
    needs=("glibc", "util-linux"),
    build=Configure(
        options=words("e2fsprogs.options"),
        after=(
            'cd "$OUT/usr" && rm -r lib/*.a share bin/compile_et bin/mk_cmds',
            "rm sbin/e2scrub* ../etc/e2scrub.conf  # for LVM",
        ),
    ),
    smoke=("/usr/sbin/mke2fs", "-V"),
    files=("usr/sbin/mkfs.ext4", "usr/sbin/fsck.ext4", "usr/sbin/resize2fs", "usr/lib/libext2fs.so.2"),
)
