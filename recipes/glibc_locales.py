"""glibc-locales: C.UTF-8, the one locale besides the built-in C."""

from hostwright.recipe import Files, Recipe, Source

RECIPE = Recipe(
    name="glibc-locales",
    version="2.41",
    license="LGPL-2.1-or-later",
    home="https://www.gnu.org/software/libc/",
    source=Source(
        "pool/main/g/glibc/glibc_2.41.orig.tar.xz",
        sha256="f24aa441021121a79266f0d75242706cab8843a47901fefe74527491807f1998",
    ),
    needs=("glibc",),
    build=Files(
        (
            'mkdir -p "$OUT/usr/lib/locale"',
            "loader=/sysroot/usr/lib/ld-linux-x86-64.so.2 && export I18NPATH=$PWD/localedata",
            "$loader --library-path /sysroot/usr/lib /sysroot/usr/bin/localedef --no-archive "
            '-i C -f UTF-8 "$OUT/usr/lib/locale/C.utf8"',
        ),
    ),
    files=("usr/lib/locale/C.utf8/LC_CTYPE",),
)
