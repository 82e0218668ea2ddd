"""psmisc: fuser, killall and pstree."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="psmisc",
    version="23.7",
    license="GPL-2.0-or-later",
    home="https://gitlab.com/psmisc/psmisc",
    source=Source(
        "pool/main/p/psmisc/psmisc_23.7.orig.tar.xz",
        sha256="58c55d9c1402474065adae669511c191de374b0871eec781239ab400b907c327",
    ),
    needs=("glibc", "ncurses"),
    # Its own hardening flags would lower the engine's.
    build=Configure(options=("--disable-nls", "--disable-harden-flags")),
    smoke=("/usr/bin/pstree", "--version"),
    files=("usr/bin/fuser", "usr/bin/killall", "usr/bin/pstree"),
)
