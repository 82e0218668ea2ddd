"""The vocabulary of recipes: frozen values without logic, and `words`, which reads a long list from beside a recipe.

    Source --> Recipe <-- a build kind (Configure, Make, Meson, ...)

A recipe says what a package is; `build.kinds` knows how each kind is built. Whatever stands in a recipe
goes into the key of the built package, so a changed value rebuilds and a changed comment does not.
"""

from dataclasses import dataclass
from pathlib import Path

from hostwright.base.pin import Pin

_FOLDER = Path(__file__).parents[1] / "recipes"


def words(name: str) -> tuple[str, ...]:
    """The words of a file in recipes/, in its order: one a line; a line that begins with `#` is a comment."""
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    return tuple(line for line in map(str.strip, lines) if line and not line.startswith("#"))


# How a recipe spells the pin of a source archive.
Source = Pin


@dataclass(frozen=True)
class Configure:
    """GNU autotools: `./configure`, `make`, `make install`.

    `options` are added to `--prefix=/usr --sysconfdir=/etc --localstatedir=/var`; `variables` are passed to
    configure (cache values among them), `make` to every make call. `before` and `after` are shell lines run in the
    source tree before configure and after the install (with `$OUT` the staged tree).
    """

    options: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    install: tuple[str, ...] = ("install",)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Make:
    """A plain Makefile: `make VARIABLES TARGETS`, then `make VARIABLES DESTDIR=$OUT INSTALL`."""

    variables: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    install: tuple[str, ...] = ("install",)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meson:
    """meson setup, compile, install; `options` are added to prefix, libdir and buildtype."""

    options: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class MesonPart(Meson):
    """Of a Meson project only `targets`, as ninja names them; `after` installs them."""

    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """Nothing to compile: shell lines that place files of the source tree below `$OUT`."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class KernelHeaders:
    """`make headers` of the kernel, without the rest of it."""


@dataclass(frozen=True)
class Glibc:
    """glibc, configured as the book's chapter 8 does, with the loader's link in /lib64."""

    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grub:
    """GRUB for both firmware kinds: the tools once, the modules for `i386-pc` and `x86_64-efi`."""

    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Openssl:
    """OpenSSL: its own Configure, then the shared libraries and the program; `options` switch features off."""

    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edk2:
    """OVMF of edk2: RELEASE, 4 MB layout, X64."""

    defines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """The Linux kernel: its configuration comes from kconfig/ and host.toml, not from the recipe."""

    base: str = "x86_64_defconfig"


Build = Configure | Make | Meson | MesonPart | Files | KernelHeaders | Glibc | Grub | Openssl | Edk2 | Kernel


@dataclass(frozen=True)
class Recipe:
    """One package. `needs` are the packages whose staged trees make up `/sysroot` (their own needs included).

    `smoke` is an argv run in the booted host. `view` picks the build root: `target` sees no library but those in
    `/sysroot`; `tools` sees everything, for what only runs during builds. `setuid` are the paths that keep their
    set-user-id bit. `files` are paths that the package must stage, because others rely on them.
    """

    name: str
    version: str
    license: str
    home: str
    source: Source
    build: Build
    extra: tuple[Source, ...] = ()
    needs: tuple[str, ...] = ()
    smoke: tuple[str, ...] = ()
    view: str = "target"
    setuid: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
