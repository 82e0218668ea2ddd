"""glibc: the C library that everything else on the host is built against."""

from hostwright.recipe import Glibc, Recipe, Source

RECIPE = Recipe(
    name="glibc",
    version="2.41",
    license="LGPL-2.1-or-later",
    home="https://www.gnu.org/software/libc/",
    source=Source(
        "pool/main/g/glibc/glibc_2.41.orig.tar.xz",
        sha256="f24aa441021121a79266f0d75242706cab8843a47901fefe74527491807f1998",
    ),
    needs=("linux-headers",),
    build=Glibc(),
    view="tools",
    smoke=("/usr/bin/getconf", "GNU_LIBC_VERSION"),
    files=("usr/lib/libc.so.6", "usr/lib/ld-linux-x86-64.so.2", "usr/bin/localedef", "usr/sbin/zic"),
)
