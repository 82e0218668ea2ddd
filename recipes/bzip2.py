"""bzip2: compression, for the archives that users bring along."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="bzip2",
    version="1.0.8",
    license="bzip2-1.0.6",
    home="https://sourceware.org/bzip2/",
    source=Source(
        "pool/main/b/bzip2/bzip2_1.0.8.orig.tar.gz",
        sha256="ab5a03176ee106d3f0fa90e381da478ddae405918153cca248e682cd0c4a2269",
    ),
    needs=("glibc",),
    build=Make(
        # Its Makefile sets CFLAGS itself: -e lets ours win. The programs hold the library's code.
        variables=("-e",),
        targets=("bzip2", "bzip2recover"),
        install=(),
        after=(
            'install -D -m 755 -t "$OUT/usr/bin" bzip2 bzip2recover bzgrep bzmore bzdiff',
            'cd "$OUT/usr/bin" && ln -s bzip2 bunzip2 && ln -s bzip2 bzcat',
        ),
    ),
    smoke=("/usr/bin/bzip2", "--help"),
    files=("usr/bin/bzip2", "usr/bin/bunzip2", "usr/bin/bzcat"),
)
