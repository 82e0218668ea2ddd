"""What an ELF file declares: loader, libraries, hardening. The only module that imports pyelftools.

Sources: elf(5), the System V ABI's chapter on dynamic linking, ld(1) for `-z relro` and `-z now`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAGIC = b"\x7fELF"
_FLAGS_BIND_NOW = 0x8
_FLAGS_1_NOW = 0x1
_FLAGS_1_PIE = 0x08000000
_EXECUTABLE = 0x1
_WRITABLE = 0x2


def is_elf(path: Path) -> bool:
    """Whether a file starts with the ELF magic number; a link is not followed."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def is_loadable(path: Path) -> bool:
    """Whether the file is a program or a shared library, not an object file."""
    with _opened(path) as elf:
        return elf["e_type"] in ("ET_EXEC", "ET_DYN")


def interpreter(path: Path) -> str | None:
    """The loader that a program requests (PT_INTERP); None for a shared library."""
    with _opened(path) as elf:
        segment = _segment(elf, "PT_INTERP")
        return str(segment.get_interp_name()) if segment else None


def needed(path: Path) -> tuple[str, ...]:
    """The libraries that the loader must find (DT_NEEDED), in the file's order."""
    return tuple(_strings(path, "DT_NEEDED", "needed"))


def soname(path: Path) -> str | None:
    """The name by which programs request this library (DT_SONAME); None if it has none."""
    return next(iter(_strings(path, "DT_SONAME", "soname")), None)


def imports(path: Path) -> frozenset[str]:
    """The symbols that the loader must resolve in other files, without their versions."""
    with _opened(path) as elf:
        table = elf.get_section_by_name(".dynsym")
        symbols = table.iter_symbols() if table else ()
        return frozenset(one.name for one in symbols if one["st_shndx"] == "SHN_UNDEF" and one.name)


def runpaths(path: Path) -> tuple[str, ...]:
    """The folders that DT_RPATH and DT_RUNPATH add to the loader's search path."""
    return (*_strings(path, "DT_RPATH", "rpath"), *_strings(path, "DT_RUNPATH", "runpath"))


def is_pie(path: Path) -> bool:
    """Whether a program can be loaded at any address: ET_DYN, marked as a program by DF_1_PIE."""
    with _opened(path) as elf:
        return elf["e_type"] == "ET_DYN" and bool(_value(elf, "DT_FLAGS_1") & _FLAGS_1_PIE)


def is_fixed(path: Path) -> bool:
    """Whether a program runs at one address only (ET_EXEC), with or without a loader."""
    with _opened(path) as elf:
        return bool(elf["e_type"] == "ET_EXEC")


def has_full_relro(path: Path) -> bool:
    """Whether all relocations happen at start and are then read-only (`-z relro -z now`)."""
    with _opened(path) as elf:
        is_now = (
            _value(elf, "DT_FLAGS") & _FLAGS_BIND_NOW
            or _value(elf, "DT_FLAGS_1") & _FLAGS_1_NOW
            or _tags(elf, "DT_BIND_NOW")
        )
        return bool(is_now) and _segment(elf, "PT_GNU_RELRO") is not None


def has_executable_stack(path: Path) -> bool:
    """Whether the stack may hold code. Without PT_GNU_STACK it may."""
    with _opened(path) as elf:
        segment = _segment(elf, "PT_GNU_STACK")
        return segment is None or bool(segment["p_flags"] & _EXECUTABLE)


def has_writable_code(path: Path) -> bool:
    """Whether a segment is loaded writable and executable: what is written there can be run."""
    with _opened(path) as elf:
        both = _EXECUTABLE | _WRITABLE
        return any(segment["p_flags"] & both == both for segment in elf.iter_segments("PT_LOAD"))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        yield ELFFile(file)


def _segment(elf: Any, kind: str) -> Any:  # noqa: ANN401
    return next(elf.iter_segments(kind), None)


def _tags(elf: Any, name: str) -> list[Any]:  # noqa: ANN401
    dynamic = _segment(elf, "PT_DYNAMIC")
    return list(dynamic.iter_tags(name)) if dynamic else []


def _value(elf: Any, name: str) -> int:  # noqa: ANN401
    return next((int(tag.entry.d_val) for tag in _tags(elf, name)), 0)


def _strings(path: Path, name: str, attribute: str) -> list[str]:
    with _opened(path) as elf:
        return [str(getattr(tag, attribute)) for tag in _tags(elf, name)]
