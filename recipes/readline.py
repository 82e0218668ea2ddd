"""readline: line editing, for bash."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="readline",
    version="8.2",
    license="GPL-3.0-or-later",
    home="https://tiswww.case.edu/php/chet/readline/rltop.html",
    source=Source(
        "pool/main/r/readline/readline_8.2.orig.tar.gz",
        sha256="3feb7171f16a84ee82ca18a36d7b9be109a52c04f492a053331d7d1095007c35",
    ),
    needs=("glibc", "ncurses"),
    build=Configure(
        before=("sed -i 's/-Wl,-rpath,[^ ]*//' support/shobj-conf",),
        options=("--disable-static", "--with-curses", "--disable-install-examples"),
        # Without it the library would name no terminal library, and each of its users had to.
        make=("SHLIB_LIBS=-lncursesw",),
    ),
    files=("usr/lib/libreadline.so.8", "usr/lib/libhistory.so.8"),
)
