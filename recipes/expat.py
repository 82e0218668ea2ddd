"""expat: a parser of XML."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="expat",
    version="2.8.3",
    license="MIT",
    home="https://libexpat.github.io/",
    source=Source(
        "pool/main/e/expat/expat_2.8.3.orig.tar.gz",
        sha256="533659a16e0184035a99fd8e783f1ad61a887a7bf8586a8681740b9d7ed42389",
    ),
    needs=("glibc",),
    build=Configure(
        before=("cd expat", "autoreconf -i"),
        options=("--disable-static", "--without-docbook", "--without-examples", "--without-tests"),
    ),
    smoke=("/usr/bin/xmlwf", "-v"),
    files=("usr/lib/libexpat.so.1", "usr/bin/xmlwf"),
)
