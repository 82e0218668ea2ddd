"""libslirp: a network in user space, for guests without a bridge."""

from hostwright.recipe import Meson, Recipe, Source

RECIPE = Recipe(
    name="libslirp",
    version="4.8.0",
    license="BSD-3-Clause AND MIT",
    home="https://gitlab.freedesktop.org/slirp/libslirp",
    source=Source(
        "pool/main/libs/libslirp/libslirp_4.8.0.orig.tar.bz2",
        sha256="1c2e3d30e41a055ed41f9d0b3234d0d143bc28f5ad84bb101413f830844df757",
    ),
    needs=("glibc", "glib"),
    build=Meson(),
    files=("usr/lib/libslirp.so.0",),
)
