"""hwdata: the names of PCI vendors and devices."""

from hostwright.recipe import Files, Recipe, Source

RECIPE = Recipe(
    name="hwdata",
    version="0.394",
    license="GPL-2.0-or-later OR XFree86-1.1",
    home="https://github.com/vcrhonek/hwdata",
    source=Source(
        "pool/main/h/hwdata/hwdata_0.394.orig.tar.gz",
        sha256="b7c3fd7214a3b7c49d2661db127a712dc11cffd1799f793947aa1cb20aaf3298",
    ),
    needs=(),
    build=Files(('install -D -m 644 -t "$OUT/usr/share/hwdata" pci.ids',)),
    files=("usr/share/hwdata/pci.ids",),
)
