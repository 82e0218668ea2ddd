"""smartmontools: what a drive knows about its own health."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="smartmontools",
    version="7.4",
    license="GPL-2.0-or-later",
    home="https://www.smartmontools.org/",
    source=Source(
        "pool/main/s/smartmontools/smartmontools_7.4.orig.tar.xz",
        sha256="0b509b802d7c34aa1d3ceba21bf57169fddcc76badff33655dbc5d09f48e3e56",
    ),
    needs=("glibc",),
    build=Configure(
        # Nothing else on the host is in C++ and would use the libraries.
        variables=("CXX=g++ -static-libstdc++ -static-libgcc",),
        options=words("smartmontools.options"),
    ),
    smoke=("/usr/sbin/smartctl", "--version"),
    files=("usr/sbin/smartctl", "usr/sbin/smartd"),
)
