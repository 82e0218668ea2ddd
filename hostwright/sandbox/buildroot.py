"""The pinned build root: Debian's compilers and tools, unpacked without dpkg.

    buildroot/lock --> downloads --> buildroot/<key>/tools   everything
                                 \\-> buildroot/<key>/target  no library's -dev package: only /sysroot is found

The two views share their files as hard links.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from hostwright.base import canonical, code, paths
from hostwright.base.files import folder_replaced, locked
from hostwright.base.pin import Pin
from hostwright.formats import deb
from hostwright.source import fetch
from hostwright.source.pins import read_lock

# gcc's own start files and headers; all other -dev packages would hide an undeclared dependency.
COMPILER_DEV = ("libgcc-14-dev", "libstdc++-14-dev")

# What package scripts would have made: alternatives, and the accounts that builds look up.
LINKS = {
    "usr/bin/aclocal": "aclocal-1.17",
    "usr/bin/automake": "automake-1.17",
    "usr/bin/awk": "gawk",
    "usr/bin/cc": "gcc",
    "usr/bin/c++": "g++",
    "usr/bin/c99": "gcc",
    "usr/bin/yacc": "bison",
    "usr/bin/which": "which.debianutils",
    "usr/bin/pkg-config": "pkgconf",
}
FILES = {
    "etc/passwd": "root:x:0:0:root:/build:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
FOLDERS = (
    "build",
    "out",
    "sysroot",
    "sources",
    "patches",
    "jobs",
    "input",
    "output",
    "proc",
    "dev",
    "tmp",
    "run",
    "root",
    "opt",
)


def load_lock() -> list[Pin]:
    """The pins of buildroot/lock."""
    return read_lock(paths.LOCK)


def key(pins: Sequence[Pin]) -> str:
    """What the unpacked build root depends on, as 16 hex digits."""
    files = sorted((pin.sha256, is_target_file(pin.name)) for pin in pins)
    unpacking = code.engine().module("formats.deb").digest
    return canonical.digest(files, LINKS, FILES, FOLDERS, unpacking)[:16]


def root(pins: Sequence[Pin]) -> Path:
    """The folder that holds both views."""
    return paths.cache() / "buildroot" / key(pins)


def is_target_file(package: str) -> bool:
    """Whether a package belongs to the `target` view."""
    return package in COMPILER_DEV or not (
        package.endswith("-dev") and package.startswith(("lib", "linux-", "uuid", "zlib"))
    )


def unpack(pins: Sequence[Pin]) -> Path:
    """Make both views unless they are there; the folder that holds them."""
    folder = root(pins)
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            with folder_replaced(folder) as new:
                _fill(pins, new)
    return folder


def _fill(pins: Sequence[Pin], folder: Path) -> None:
    # base-files brings the links /bin -> usr/bin and so on, which the others rely on.
    for pin in sorted(pins, key=lambda pin: (pin.name != "base-files", pin.name)):
        files = deb.unpack(fetch.have(pin), folder / "tools")
        if is_target_file(pin.name):
            _link(folder / "tools", folder / "target", files)
    for view in ("tools", "target"):
        _finish(folder / view)


def _link(source: Path, target: Path, files: Sequence[str]) -> None:
    """Place `files` of one view in the other as hard links."""
    for name in files:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        os.link(source / name, place, follow_symlinks=False)


def _finish(view: Path) -> None:
    for name, text in FILES.items():
        _fresh(view / name).write_text(text)
    for name, goal in LINKS.items():
        _fresh(view / name).symlink_to(goal)
    for name in FOLDERS:
        (view / name).mkdir(exist_ok=True)


def _fresh(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path
