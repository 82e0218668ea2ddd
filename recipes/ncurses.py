"""ncurses: terminal handling, with the few terminals that a server meets."""

from hostwright.recipe import Configure, Recipe, Source, words

# Its configure tries poll() on a terminal, and a build may have none: it is given the answer.
RECIPE = Recipe(
    name="ncurses",
    version="6.5+20250216",
    license="X11-distribute-modifications-variant",
    home="https://invisible-island.net/ncurses/",
    source=Source(
        "pool/main/n/ncurses/ncurses_6.5+20250216.orig.tar.gz",
        sha256="b37baafa436e7133bb12a185cb8f60e1599b1947e9f0181c76f3190acf28b6eb",
    ),
    needs=("glibc",),
    build=Configure(
        options=words("ncurses.options"),
        targets=("libs", "progs"),
        install=("install.libs", "install.includes", "install.progs"),
        before=("list=ansi,dumb,linux,screen,screen-256color,tmux,vt100,vt102,vt220,xterm,xterm-256color",),
        after=(
            'install -d "$OUT/usr/share" && ln -s libncursesw.so "$OUT/usr/lib/libncurses.so"',
            'LD_LIBRARY_PATH=lib progs/tic -x -o "$OUT/usr/share/terminfo" -e "$list" misc/terminfo.src',
        ),
    ),
    smoke=("/usr/bin/infocmp", "linux"),
    files=("usr/lib/libncursesw.so.6", "usr/bin/infocmp", "usr/share/terminfo/l/linux"),
)
