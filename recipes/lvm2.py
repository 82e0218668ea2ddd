"""lvm2: logical volumes on the disks of the host, in one program."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="lvm2",
    version="2.03.31",
    license="GPL-2.0-only AND LGPL-2.1-only AND BSD-2-Clause",
    home="https://sourceware.org/lvm2/",
    source=Source(
        "pool/main/l/lvm2/lvm2_2.03.31.orig.tar.xz",
        sha256="5541d15f739bc62263b551b1d8091ea8fc889a31ed20cdc58ff9f7192d8ecd4a",
    ),
    needs=("glibc", "libaio", "util-linux"),
    build=Configure(options=words("lvm2.options"), targets=("tools",), install=("tools.install",)),
    smoke=("/usr/sbin/lvm", "version"),
    files=("usr/sbin/lvm", "usr/sbin/vgchange", "usr/sbin/lvcreate", "usr/sbin/pvs"),
)
