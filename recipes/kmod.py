"""kmod: modprobe, depmod and what belongs to kernel modules."""

from hostwright.recipe import Meson, Recipe, Source, words

RECIPE = Recipe(
    name="kmod",
    version="34.2",
    license="LGPL-2.1-or-later AND GPL-2.0-or-later",
    home="https://git.kernel.org/pub/scm/utils/kernel/kmod/kmod.git/about/",
    source=Source(
        "pool/main/k/kmod/kmod_34.2.orig.tar.xz",
        sha256="012d16e2099115486d8aa9f2c2a23d058d3d0cad83113a60512647d25d3869e8",
    ),
    needs=("glibc", "xz", "zlib", "zstd"),
    build=Meson(options=words("kmod.options")),
    smoke=("/usr/bin/kmod", "--version"),
    files=("usr/bin/kmod", "usr/sbin/modprobe", "usr/sbin/modinfo", "usr/lib/libkmod.so.2"),
)
