"""libevent: waits for many events at once, for tmux."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="libevent",
    version="2.1.12",
    license="BSD-3-Clause",
    home="https://libevent.org/",
    source=Source(
        "pool/main/libe/libevent/libevent_2.1.12-stable.orig.tar.gz",
        sha256="92e6de1be9ec176428fd2367677e61ceffc2ee1cb119035037a27d346b0403bb",
    ),
    needs=("glibc",),
    build=Configure(
        # The core alone.
        options=("--disable-static", "--disable-openssl", "--disable-samples", "--disable-libevent-regress"),
        make=("lib_LTLIBRARIES=libevent_core.la", "dist_bin_SCRIPTS="),
    ),
    files=("usr/lib/libevent_core-2.1.so.7",),
)
