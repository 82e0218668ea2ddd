"""xfsprogs: makes, checks and grows XFS file systems."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="xfsprogs",
    version="6.13.0",
    license="GPL-2.0-only AND LGPL-2.1-only",
    home="https://xfs.wiki.kernel.org/",
    source=Source(
        "pool/main/x/xfsprogs/xfsprogs_6.13.0.orig.tar.xz",
        sha256="0459933f93d94c82bc2789e7bd63742273d9d74207cdae67dc3032038da08337",
    ),
    needs=("glibc", "inih", "liburcu", "util-linux"),
    build=Configure(
        variables=("DEBUG=-DNDEBUG", "OPTIMIZER=-O2"),
        options=("--disable-gettext", "--disable-scrub", "--disable-lib64"),
        # Without what serves those who work on XFS itself.
        make=("TOOL_SUBDIRS=db fsck fsr growfs io mkfs repair spaceman",),
        # In Python.
        after=('rm "$OUT/usr/sbin/xfs_protofile"',),
    ),
    smoke=("/usr/sbin/mkfs.xfs", "-V"),
    files=("usr/sbin/mkfs.xfs", "usr/sbin/xfs_repair", "usr/sbin/xfs_growfs"),
)
