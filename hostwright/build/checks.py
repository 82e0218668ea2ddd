"""What a finished build may leave behind, checked before it goes into the store.

    recipe + staged tree + what its needs stage --problems()--> "path: what is wrong"

The promised files are there, set-user-id bits and libraries are those that the recipe declares, programs and
libraries are hardened, and no file names its build folder.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from hostwright.base.errors import UserError
from hostwright.formats import elf
from hostwright.recipe import Recipe

# The loader looks for libraries here.
LIBRARIES = PurePosixPath("usr/lib")

# A path of the sandbox, and not the end of a longer word: magic(5) knows of META-INF/com/android/build/.
_SANDBOX = re.compile(rb"(?:(?<![A-Za-z0-9_.+-])|(?<=-I)|(?<=-L))/(?:build|sysroot|out)/")
# As the ABI names the loader, and as glibc's own programs do.
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/usr/lib/ld-linux-x86-64.so.2")

# Files that need not be hardened: package, path, and the reason.
UNHARDENED = {
    ("grub", "usr/lib/grub/i386-pc/kernel.img"): "runs on the bare machine, where no loader relocates it",
}
# A search path that moves with the file.
_OWN_FOLDER = "$ORIGIN"
_SPECIAL = stat.S_ISUID | stat.S_ISGID


def check(recipe: Recipe, tree: Path, given: Iterable[str]) -> None:
    """Raise a UserError with every problem of a staged tree; `given` are the paths that the needs stage."""
    _refuse(recipe, sorted(problems(recipe, tree, given)))


def check_promise(recipe: Recipe, paths: Iterable[str]) -> None:
    """Raise a UserError if a package that was built before lacks a file that its recipe promises by now."""
    _refuse(recipe, missing_files(recipe, paths))


def _refuse(recipe: Recipe, found: Sequence[str]) -> None:
    if found:
        raise UserError(
            f"package {recipe.name}: " + "\n  ".join([f"{len(found)} of its files are wrong:", *found]),
            f"correct needs, setuid, files, flags or the build's lines in recipes/{recipe.name.replace('-', '_')}.py",
        )


def problems(recipe: Recipe, tree: Path, given: Iterable[str]) -> Iterator[str]:
    """Each problem of a staged tree, as `path: what is wrong`."""
    paths = [Path(folder, name).relative_to(tree) for folder, _, names in os.walk(tree) for name in names]
    staged = [*map(PurePosixPath, given), *map(PurePosixPath, paths)]
    libraries = {path.name for path in staged if path.is_relative_to(LIBRARIES)}
    yield from (
        f"{path}: declared in setuid, and not there" for path in recipe.setuid if Path(path) not in paths
    )
    yield from missing_files(recipe, map(str, paths))
    for path in paths:
        if stat.S_ISREG((tree / path).lstat().st_mode):
            yield from (f"{path}: {what}" for what in _file_problems(recipe, tree, path, libraries))


def missing_files(recipe: Recipe, paths: Iterable[str]) -> list[str]:
    """Each promise that the staged paths (files and links) break, as `path: what is wrong`."""
    staged = frozenset(paths)
    return [f"{path}: promised in files, and not staged" for path in recipe.files if path not in staged]


def _file_problems(recipe: Recipe, tree: Path, path: Path, libraries: set[str]) -> Iterator[str]:
    file = tree / path
    if file.stat().st_mode & _SPECIAL and str(path) not in recipe.setuid:
        yield "has a set-user-id or set-group-id bit that is not declared in setuid"
    if found := _SANDBOX.search(file.read_bytes()):
        yield f"holds a path of the sandbox, {found[0].decode()}"
    if elf.is_elf(file) and elf.is_loadable(file):
        missing = [name for name in elf.needed(file) if name not in libraries]
        yield from (f"needs {name}, which no package in needs gives" for name in missing)
        if (recipe.name, str(path)) not in UNHARDENED:
            yield from weaknesses(file)


def weaknesses(file: Path) -> list[str]:
    """What a program or shared library lacks of the hardening that the engine's flags give."""
    loader = elf.interpreter(file)
    is_program = elf.soname(file) is None and loader is not None
    found = {
        "is not position independent": elf.is_fixed(file) or (is_program and not elf.is_pie(file)),
        "has relocations that stay writable": not elf.has_full_relro(file),
        "has an executable stack": elf.has_executable_stack(file),
        "has a segment that is writable and executable": elf.has_writable_code(file),
        "has a search path of its own": bool({*elf.runpaths(file)} - {_OWN_FOLDER}),
        "requests another loader": is_program and loader not in LOADERS,
    }
    return [what for what, is_found in found.items() if is_found]
