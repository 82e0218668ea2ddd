"""libcap: a process's capabilities, for udev and ping."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="libcap",
    version="2.75",
    license="BSD-3-Clause OR GPL-2.0-only",
    home="https://sites.google.com/site/fullycapable/",
    source=Source(
        "pool/main/libc/libcap2/libcap2_2.75.orig.tar.xz",
        sha256="de4e7e064c9ba451d5234dd46e897d7c71c96a9ebf9a0c445bc04f4742d83632",
    ),
    needs=("glibc",),
    build=Make(
        before=("sed -i '/-C tests/d; /-C doc/d' Makefile",),
        variables=("prefix=/usr", "lib=lib", "PAM_CAP=no", "GOLANG=no", "RAISE_SETFCAP=no"),
        after=('rm "$OUT"/usr/lib/*.a',),
    ),
    smoke=("/usr/sbin/capsh", "--print"),
    files=("usr/lib/libcap.so.2", "usr/sbin/capsh"),
)
