"""A capture: what a machine says about its PCI devices, and all else that decides what can be passed through.

    hostwright-capture's tar, a live /sys, another tool's copy of one --read_tree--> files --> Capture
    text of lspci -nn -vvvxxxx -----------------------------------> pci.lspci ---------------^

docs/groups.md describes the format. What a source does not carry is None or empty here, and `Capture.missing` says so.
"""

import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hostwright.base.address import is_address, is_root_bus
from hostwright.base.errors import UserError
from hostwright.pci import bounded, lspci, registers
from hostwright.pci.function import ROOT
from hostwright.pci.inventory import (
    HINT,
    Bar,
    Capture,
    Group,
    Mount,
    PciFunction,
    ReservedRegion,
    fill_parents,
    join_id,
    with_missing,
)
from hostwright.pci.sysfs import (
    CLASSES,
    DMI,
    LINKS,
    MARK,
    TABLES,
    read_folder,
)

FORMAT = "1"

# Bits of a line of `resource` (include/linux/ioport.h).
_IO, _MEMORY, _PREFETCH, _WIDE = 0x100, 0x200, 0x2000, 0x100000
_BARS = 6

# What the libraries say of a damaged archive.
# RuntimeError: a loop of links.
_BROKEN = (
    *(OSError, EOFError, ValueError, ArithmeticError, RuntimeError),
    *(tarfile.TarError, lzma.LZMAError, zlib.error),
)

Files = Mapping[str, bytes]


def load(source: Path | None = None) -> Capture:
    """The capture in a file or a folder; this machine where none is named. UserError for anything else."""
    place = source or Path("/sys")
    try:
        if place.is_dir():
            return read_files(read_folder(place), str(place))
        data = bounded.read_source(place)
        tar = bounded.open_tar(data)
        if tar is not None:
            return read_files(read_tar(tar, place), str(place))
    except _BROKEN as error:
        raise UserError(f"{place}: cannot be read as a capture: {error}", HINT) from None
    return lspci.read(data.decode(errors="replace"), str(place))


# Sources, as files by their path below the root.


def read_tar(tar: tarfile.TarFile, place: Path) -> dict[str, bytes]:
    """The files of a tar that a capture can be made of; `place` is for messages."""
    files: dict[str, bytes] = {}
    with tar:
        for number, member in enumerate(tar):
            if number > bounded.MAX_MEMBERS:
                raise bounded.too_large(place)
            _add_member(tar, member, files)
        if not _has_end(tar):
            raise UserError(f"{place}: the capture is cut off or damaged: its archive has no end", HINT)
    return files


def _has_end(tar: tarfile.TarFile) -> bool:
    """Whether zeros follow the last member (POSIX.1 pax, ustar): without them a shorter archive ends as a whole one."""
    file = tar.fileobj
    if not file:
        return False
    file.seek(tar.offset)
    return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _add_member(tar: tarfile.TarFile, member: tarfile.TarInfo, files: dict[str, bytes]) -> None:
    path = os.path.normpath(member.name).lstrip("/")
    if member.issym():
        if Path(path).name in LINKS:
            files[path] = Path(member.linkname).name.encode(errors="replace")
    elif member.isfile() and member.size <= bounded.MAX_FILE_BYTES:
        content = tar.extractfile(member)
        if content:
            files[path] = content.read()


# Files to a capture.


def read_files(files: Files, source: str) -> Capture:
    """The capture that these files are; UserError where they hold no PCI device or contradict their format."""
    files = _spread(files, source)
    prefix = _find_prefix(files)
    files = {path.removeprefix(prefix): content for path, content in files.items() if path.startswith(prefix)}
    version = _text(files, MARK)
    if version not in ("", FORMAT):
        raise UserError(
            f"{source}: a capture of format {version[:20]}", f"this Hostwright reads format {FORMAT}"
        )
    functions = [_read_function(path, files, source) for path in _find_devices(files)]
    if not functions:
        raise UserError(f"{source}: no PCI device in it", HINT)
    functions = fill_parents(sorted(_fill_resets(functions), key=lambda one: one.place))
    capture = Capture(
        source=source,
        functions=tuple(functions),
        groups=dict(_read_groups(files, source)),
        release=_text(files, "proc/sys/kernel/osrelease"),
        cmdline=_text(files, "proc/cmdline"),
        mounts=_text(files, "proc/mounts"),
        swaps=_text(files, "proc/swaps"),
        iomem=_text(files, "proc/iomem"),
        meminfo=_text(files, "proc/meminfo"),
        cpuinfo=_text(files, "proc/cpuinfo"),
        dmesg=_text(files, "dmesg"),
        mounted=read_mounted(_text(files, "mounted")),
        lower=read_lower(_text(files, "lower")),
        settings=_text(files, "settings"),
        default_routes=read_routes(_text(files, "proc/default_route")),
        tables={name: data for name in TABLES if (data := files.get(f"sys/firmware/acpi/tables/{name}"))},
        classes={name: _read_class(_text(files, f"sys/class/{name}")) for name in CLASSES},
        dmi={name: _text(files, f"sys/class/dmi/id/{name}") for name in DMI},
        missing=(),
    )
    return with_missing(capture)


def _spread(files: Files, source: str) -> dict[str, bytes]:
    """Each line NAME<tab>VALUE of a file `attributes` as a file of its own; lines of one name stay together."""
    spread: dict[str, bytes] = {}
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        if name != "attributes":
            spread[path] = content
            continue
        for line in content.decode(errors="replace").splitlines():
            key, tab, value = line.partition("\t")
            if not tab or "/" in key:
                raise UserError(f"{source}: {path}: {line[:60]!r} is not NAME<tab>VALUE", HINT)
            before = spread.get(f"{folder}/{key}")
            spread[f"{folder}/{key}"] = (before + b"\n" if before else b"") + value.encode()
    return spread


def _find_prefix(files: Files) -> str:
    """What stands before sys/ in the paths of a tool that packs its own folder."""
    found = (re.match(r"((?:.*?/)?)sys/(?:devices|bus/pci)/", path) for path in files)
    return min((match[1] for match in found if match), key=len, default="")


def _find_devices(files: Files) -> list[str]:
    """The folder of each device: of several for one address the one whose path names its bridges."""
    found: dict[str, str] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        address = folder.rpartition("/")[2]
        if name in ("vendor", "config", "class") and is_address(address):
            found[address] = max(found.get(address, ""), folder, key=lambda one: (len(one), one))
    return sorted(found.values())


def _read_function(path: str, files: Files, source: str) -> PciFunction:
    def text(name: str) -> str:
        return _text(files, f"{path}/{name}")

    def number(name: str, default: int | None = None) -> int | None:
        return _number(text(name), f"{source}: {path}/{name}", default)

    config = files.get(f"{path}/config", b"")[: registers.FULL_SIZE]
    address = path.rpartition("/")[2]
    own = (number("vendor", registers.read(config, 0, 2)), number("device", registers.read(config, 2, 2)))
    class_code = number("class", registers.read(config, 8, 4) and (registers.read(config, 8, 4) or 0) >> 8)
    if None in own or class_code is None:
        raise UserError(f"{source}: {path}: neither id nor class is given", HINT)
    parent, owner = _find_parent(path)
    physical = text("physfn")
    if is_silent := registers.is_silent(config) and not physical:
        config = b""
    return PciFunction(
        address=address,
        id=join_id(own),
        class_code=class_code & 0xFFFFFF,
        subsystem=join_id((number("subsystem_vendor"), number("subsystem_device"))),
        revision=number("revision"),
        driver=text("driver"),
        driver_override=text("driver_override").replace("(null)", ""),
        bars=tuple(_read_bars(text("resource"), f"{source}: {path}/resource")),
        config=config,
        is_whole=len(config) >= registers.PLAIN_SIZE,
        resets=tuple(text("reset_method").split()) if f"{path}/reset_method" in files else None,
        numa_node=number("numa_node"),
        group=text("iommu_group") or None,
        parent=parent,
        owner=owner,
        physical=physical,
        is_boot_vga=text("boot_vga") == "1",
        is_silent=is_silent,
    )


def _fill_resets(functions: Sequence[PciFunction]) -> Iterator[PciFunction]:
    """The kernel hides reset_method where there is none (drivers/pci/pci-sysfs.c), and before 5.15 from all."""
    has_any = any(one.resets is not None for one in functions)
    for one in functions:
        yield replace(one, resets=()) if has_any and one.resets is None else one


def _text(files: Files, path: str) -> str:
    return files.get(path, b"").decode(errors="replace").strip("\n\0 ")


def _number(text: str, where: str, default: int | None) -> int | None:
    if not text:
        return default
    try:
        found = int(text, 0)
    except ValueError:
        raise UserError(f"{where}: {text[:40]!r} is not a number", HINT) from None
    if abs(found) >> 32:
        raise UserError(f"{where}: {text[:40]!r} is too large", HINT)
    return found


def _find_parent(path: str) -> tuple[str | None, str]:
    """Bridge and owner, from a path such as pci0000:00/0000:00:1c.0/0000:02:00.0."""
    parts = path.split("/")[:-1]
    if parts and is_address(parts[-1]):
        parent: str | None = parts[-1]
    else:
        parent = ROOT if parts and is_root_bus(parts[-1]) else None
    roots = [place for place, part in enumerate(parts) if is_root_bus(part)]
    owner = parts[roots[-1] - 1] if roots and roots[-1] > 0 else ""
    return parent, owner if is_address(owner) else ""


def _read_bars(text: str, where: str) -> Iterator[Bar]:
    """Lines "START END FLAGS" of sysfs's `resource`, as far as they are base address registers."""
    for index, line in enumerate(text.splitlines()[:_BARS]):
        words = line.split()
        if len(words) != 3 or not all(re.fullmatch(r"0x[0-9a-f]{1,16}", word) for word in words):
            raise UserError(f"{where}: {line[:60]!r} is not START END FLAGS", HINT)
        start, end, flags = (int(word, 16) for word in words)
        if flags & (_IO | _MEMORY) and end > start:
            yield Bar(
                index, start, end - start + 1, not flags & _IO, bool(flags & _WIDE), bool(flags & _PREFETCH)
            )


def _read_groups(files: Files, source: str) -> Iterator[tuple[str, Group]]:
    numbers = {
        match[1] for path in files if (match := re.fullmatch(r"sys/kernel/iommu_groups/([^/]+)/.+", path))
    }
    for number in sorted(numbers):
        folder = f"sys/kernel/iommu_groups/{number}"
        lines = _text(files, f"{folder}/reserved_regions").splitlines()
        regions = tuple(_read_region(line, f"{source}: {folder}/reserved_regions") for line in lines)
        yield number, Group(number, _text(files, f"{folder}/type"), regions)


def _read_region(line: str, where: str) -> ReservedRegion:
    match = re.fullmatch(r"(0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16}) (\S+)", line.strip())
    if not match:
        raise UserError(f"{where}: {line[:60]!r} is not START END TYPE", HINT)
    return ReservedRegion(int(match[1], 16), int(match[2], 16), match[3])


def read_mounted(text: str) -> tuple[Mount, ...]:
    """Lines BLOCK<tab>MOUNT POINT."""
    pairs = (line.partition("\t") for line in text.splitlines())
    return tuple(Mount(block, point) for block, _, point in pairs)


def read_lower(text: str) -> dict[str, tuple[str, ...]]:
    """Lines UPPER<tab>LOWER, by the upper ones."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        upper, _, lower = line.partition("\t")
        found[upper] = (*found.get(upper, ()), lower)
    return found


def read_routes(text: str) -> tuple[str, ...]:
    """Interfaces, each once, in their order."""
    return tuple(dict.fromkeys(text.split()))


def _read_class(text: str) -> dict[str, str]:
    pairs = (line.partition("\t") for line in text.splitlines())
    return {name: goal for name, _, goal in pairs}
