"""A small system that lives in memory, made of our own packages: programs, the libraries they need, scripts and links.

staged trees --Plan--> initramfs (cpio), for a machine that is booted to see one thing
"""

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hostwright.base.errors import UserError
from hostwright.build import store
from hostwright.formats import cpio, elf

# Mount points of what the kernel makes.
_FOLDERS = ("dev", "proc", "sys", "tmp")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib", "usr/bin/sh": "bash"}


@dataclass(frozen=True)
class Contents:
    """What is in it: programs in /usr/bin by package, the packages that may give libraries, scripts, further links."""

    programs: Mapping[str, tuple[str, ...]]
    libraries: tuple[str, ...]
    scripts: Mapping[str, Path]
    links: Mapping[str, str] = field(default_factory=dict)


def make(plan: Contents, extra: Iterable[cpio.Entry] = ()) -> bytes:
    """The archive, with the entries `extra`; UserError if a package is not built or a library is in none of them."""
    trees = {name: store.read_whole(name).tree for name in {*plan.programs, *plan.libraries}}
    files = {
        f"usr/bin/{program}": trees[name] / "usr/bin" / program
        for name, programs in plan.programs.items()
        for program in programs
    }
    files |= dict(_find_libraries(list(files.values()), [trees[name] for name in plan.libraries]))
    links = _LINKS | dict(plan.links)
    entries = {
        **{path: _program(path, file) for path, file in (files | dict(plan.scripts)).items()},
        **{path: cpio.Entry(path, stat.S_IFLNK | 0o777, goal.encode()) for path, goal in links.items()},
        **{entry.path: entry for entry in extra},
    }
    folders = {str(parent) for path in entries for parent in Path(path).parents} | set(_FOLDERS)
    made = [cpio.Entry(path, cpio.FOLDER_MODE) for path in sorted(folders - {"."} - entries.keys())]
    return cpio.write([*made, *(entries[path] for path in sorted(entries))])


def _program(path: str, file: Path) -> cpio.Entry:
    return cpio.Entry(path, stat.S_IFREG | 0o755, file.read_bytes())


def _find_libraries(programs: Sequence[Path], trees: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """What the loader needs for these programs, itself too, by its place in the root."""
    queue = list(programs)
    seen: set[str] = set()
    while queue:
        file = queue.pop()
        loader = elf.interpreter(file)
        names = [*elf.needed(file), *([Path(loader).name] if loader else [])]
        for name in [name for name in names if name not in seen]:
            seen.add(name)
            place, library = _find_library(name, trees)
            yield place, library
            queue.append(library)


def _find_library(name: str, trees: Sequence[Path]) -> tuple[str, Path]:
    for tree in trees:
        if (tree / "usr/lib" / name).exists():
            return f"usr/lib/{name}", (tree / "usr/lib" / name).resolve()
    raise UserError(f"no package has {name}", "build the host's packages: ./doit host")
