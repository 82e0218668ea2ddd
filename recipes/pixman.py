"""pixman: works on pictures, for QEMU's VNC server."""

from hostwright.recipe import Meson, Recipe, Source, words

RECIPE = Recipe(
    name="pixman",
    version="0.44.0",
    license="MIT",
    home="https://pixman.org/",
    source=Source(
        "pool/main/p/pixman/pixman_0.44.0.orig.tar.gz",
        sha256="89a4c1e1e45e0b23dffe708202cb2eaffde0fe3727d7692b2e1739fec78a7dac",
    ),
    needs=("glibc",),
    build=Meson(options=words("pixman.options")),
    files=("usr/lib/libpixman-1.so.0",),
)
