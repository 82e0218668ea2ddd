"""pcre2: Perl's regular expressions, for glib."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="pcre2",
    version="10.46",
    license="BSD-3-Clause WITH PCRE2-exception",
    home="https://github.com/PCRE2Project/pcre2",
    source=Source(
        "pool/main/p/pcre2/pcre2_10.46.orig.tar.gz",
        sha256="8d28d7f2c3b970c3a4bf3776bcbb5adfc923183ce74bc8df1ebaad8c1985bd07",
    ),
    needs=("glibc",),
    build=Configure(
        # The library for 8-bit text alone.
        options=("--disable-static",),
        make=("bin_PROGRAMS=", "noinst_PROGRAMS=", "lib_LTLIBRARIES=libpcre2-8.la"),
        after=('rm "$OUT/usr/bin/pcre2-config" "$OUT/usr/lib/pkgconfig/libpcre2-posix.pc"',),
    ),
    files=("usr/lib/libpcre2-8.so.0",),
)
