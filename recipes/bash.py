"""bash: the shell of people and of the boot scripts."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="bash",
    version="5.2.37",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/bash/",
    source=Source(
        "pool/main/b/bash/bash_5.2.37.orig.tar.xz",
        sha256="370704c9c859f4060b7df19055e43bb9b5fa09d887699cf6ba87885c5485d36a",
    ),
    needs=("glibc", "ncurses", "readline"),
    build=Configure(
        # Its configure looks for them in the build root, which has no /proc; the host has them.
        variables=("bash_cv_dev_fd=standard", "bash_cv_dev_stdin=present"),
        options=("--without-bash-malloc", "--with-installed-readline", "--with-curses", "--disable-nls"),
        targets=("bash",),
        # `make install` would build the loadable builtins too.
        install=(),
        after=('install -D -m 755 -t "$OUT/usr/bin" bash && ln -s bash "$OUT/usr/bin/sh"',),
    ),
    smoke=("/usr/bin/bash", "--version"),
    files=("usr/bin/bash", "usr/bin/sh"),
)
