"""How each kind of package is built: a recipe becomes the text of one shell script, and nothing else happens here.

    unpack -> patch -> (the kind's own steps) -> strip and tidy $OUT

The script runs in the sandbox with the source archives in /sources, patches in /patches, the needs in /sysroot and
the staged tree in /out. Fixed paths make the output independent of where it is built.
"""

from shlex import quote

from hostwright.build.kinds import plan
from hostwright.recipe import (
    Recipe,
)

# The compilers find headers, start files and libraries in /sysroot alone.
WRAPPERS = ("gcc", "cc", "c99", "cpp", "g++", "c++", "x86_64-linux-gnu-gcc")

PROLOGUE = """\
set -eu
export OUT=/out MAKEFLAGS="${MAKEFLAGS:-}" FORCE_UNSAFE_CONFIGURE=1
umask 022
cd /build
mkdir -p src obj bin
"""

UNPACK = "tar -xf /sources/{name} -C {folder} --strip-components=1 --no-same-owner --no-same-permissions"

# A time stamp from the archive is kept so that make does not regenerate what is already there.
PATCH = (
    'for one in /patches/*.patch; do [ -f "$one" ] || continue; '
    'patch -d src -p1 --fuzz=0 --no-backup-if-mismatch < "$one"; done'
)

SYSROOT = """\
for one in {names}; do printf '#!/bin/sh\\nexec /usr/bin/%s \
--sysroot=/sysroot "$@"\\n' "$one" > "bin/$one"; chmod 755 "bin/$one"; done
export PATH=/build/bin:$PATH
export PKG_CONFIG_SYSROOT_DIR=/sysroot PKG_CONFIG_LIBDIR=/sysroot/usr/lib/pkgconfig:/sysroot/usr/share/pkgconfig
"""

# What an owner may not write, strip may not either unless it is root.
EPILOGUE = """\
find "$OUT" -name '*.la' -delete
for one in doc info locale man; do rm -rf "$OUT/usr/share/$one"; done
find "$OUT" -type f ! -perm -200 -exec chmod u+w {} +
find "$OUT" -type f \\( -perm /111 -o -name '*.so*' \\) -print0 | xargs -0r file -N -F '::' \\
    | sed -n 's/:: *ELF.*\\(executable\\|shared object\\).*//p' | tr '\\n' '\\0' | xargs -0r strip --strip-unneeded
"""


def script(recipe: Recipe) -> str:
    """The shell script that builds `recipe` into /out."""
    steps = [PROLOGUE, *_unpack(recipe), PATCH, *_compilers(recipe), *plan(recipe.build), EPILOGUE]
    return "\n".join(step.rstrip("\n") for step in steps) + "\n"


def source_name(index: int) -> str:
    """The name of a recipe's source archive below /sources."""
    return f"source-{index}"


def _unpack(recipe: Recipe) -> list[str]:
    lines = [UNPACK.format(name=source_name(0), folder="src")]
    for index, extra in enumerate(recipe.extra, 1):
        folder = quote(f"src/{extra.into}")
        lines += [f"mkdir -p {folder}", UNPACK.format(name=source_name(index), folder=folder)]
    return [*lines, "chmod -R u+rwX src"]


def _compilers(recipe: Recipe) -> list[str]:
    return [SYSROOT.format(names=" ".join(WRAPPERS))] if recipe.view == "target" else []
