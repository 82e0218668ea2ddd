"""gawk: awk, for boot scripts and the self-check."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="gawk",
    version="5.2.1",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/gawk/",
    source=Source(
        "pool/main/g/gawk/gawk_5.2.1.orig.tar.xz",
        sha256="2337a0283b180ec1b9c727973a34781c6478b3ae9bcbdcca0a4dc49861d75a65",
    ),
    needs=("glibc",),
    build=Configure(
        # Persistent memory would need a fixed load address.
        options=(
            *("--disable-nls", "--disable-mpfr", "--disable-extensions", "--disable-pma"),
            "--without-readline",
        ),
        make=("SUBDIRS=support .",),
        install=(),
        after=('install -D -m 755 -t "$OUT/usr/bin" gawk && ln -s gawk "$OUT/usr/bin/awk"',),
    ),
    smoke=("/usr/bin/gawk", "--version"),
    files=("usr/bin/gawk", "usr/bin/awk"),
)
