"""tmux: several consoles in one, that go on when the line is cut."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="tmux",
    version="3.5a",
    license="ISC",
    home="https://github.com/tmux/tmux/wiki",
    source=Source(
        "pool/main/t/tmux/tmux_3.5a.orig.tar.gz",
        sha256="16216bd0877170dfcc64157085ba9013610b12b082548c7c9542cc0103198951",
    ),
    # It does not start without a UTF-8 locale.
    needs=("glibc", "glibc-locales", "libevent", "ncurses"),
    build=Configure(
        # Its configure looks for /proc, which only the host has.
        variables=("CPPFLAGS=-DHAVE_PROC_PID",),
        options=("--disable-utf8proc", "--disable-systemd"),
    ),
    smoke=("/usr/bin/tmux", "-V"),
    files=("usr/bin/tmux",),
)
