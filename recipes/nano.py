"""nano: a small editor."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="nano",
    version="8.4",
    license="GPL-3.0-or-later",
    home="https://www.nano-editor.org/",
    source=Source(
        "pool/main/n/nano/nano_8.4.orig.tar.xz",
        sha256="5ad29222bbd55624d87ea677928b3106a743114d6c6f9b41f36c97be2a8e628d",
    ),
    needs=("glibc", "ncurses"),
    build=Configure(
        before=("sed -i '/^SUBDIRS =/s/=.*/= lib src/' Makefile.in",),
        options=("--disable-nls", "--disable-libmagic", "--enable-utf8"),
    ),
    smoke=("/usr/bin/nano", "--version"),
    files=("usr/bin/nano",),
)
