"""tar: packs and unpacks archives."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="tar",
    version="1.35",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/tar/",
    source=Source(
        "pool/main/t/tar/tar_1.35+dfsg.orig.tar.xz",
        sha256="9ae57e981c1e73c0eebc2b26c9b0c4497fe310ef1d516ea430efb5470b71f7a8",
    ),
    needs=("glibc",),
    build=Configure(
        # No rmt: archives on another machine's tape.
        before=("sed -i '/^SUBDIRS =/s/=.*/= gnu lib src/' Makefile.in",),
        options=("--disable-nls", "--without-posix-acls", "--without-selinux", "--without-xattrs"),
    ),
    smoke=("/usr/bin/tar", "--version"),
    files=("usr/bin/tar",),
)
