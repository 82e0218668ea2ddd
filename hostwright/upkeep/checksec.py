"""`./doit audit`: every program and library of the host by the yardstick of checksec.

    dist/rootfs.tar --programs()--> a folder of ELF files --checksec in the sandbox--> a line each --parse()--> Program
    Program + audit/checksec.toml --> faults, or a table

A property that a program lacks has its reason in audit/checksec.toml. docs/security.md shows the table.
"""

import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hostwright.base import paths, texts
from hostwright.base.errors import UserError
from hostwright.formats import elf
from hostwright.machine import toml
from hostwright.sandbox import sandbox, workshop
from hostwright.sandbox.sandbox import Bind, Job
from hostwright.upkeep import hardening
from hostwright.vm import process

CHECKSEC = "checksec"
REFUSED = paths.AUDIT / "checksec.toml"
PROGRAM = f"/sources/usr/bin/{CHECKSEC}"
# The kernel's modules are its own, and it loads them by its own rules.
MODULES = "usr/lib/modules/"
TREE, LIST = "/build", "list"
COLUMNS = 11

# What is lacking, and how checksec calls it where it is there.
PROPERTIES = {
    "relro": ("Full RELRO",),
    "canary": ("Canary found",),
    "nx": ("NX enabled",),
    "pie": ("PIE enabled", "DSO"),
    "rpath": ("No RPATH",),
    "runpath": ("No RUNPATH",),
}
# A segment that is writable and executable: checksec does not look, `formats.elf` does.
WRITABLE_CODE = "wx"
FORTIFY = "fortify"
NAMES = (*PROPERTIES, FORTIFY, WRITABLE_CODE)

# Property, then pattern of paths, then reason.
Reasons = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Program:
    """A program or library by its path on the host, and the properties that it lacks."""

    path: str
    lacks: frozenset[str]


def programs(tar: Path, folder: Path) -> list[str]:
    """Unpack the programs and libraries of a root file system into `folder`; their paths."""
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.isfile() and not member.name.startswith(MODULES):
                _unpack(archive, member, folder / member.name)
    found = [path for path in folder.rglob("*") if elf.is_elf(path) and elf.is_loadable(path)]
    return sorted(str(path.relative_to(folder)) for path in found)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write an ELF file; any other is left out."""
    source = archive.extractfile(member)
    assert source
    if source.read(len(elf.MAGIC)) == elf.MAGIC:
        source.seek(0)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as sink:
            shutil.copyfileobj(source, sink)


def plan_check(root: Path, package: Path, folder: Path, work: Path) -> Job:
    """The job that checks the files of `work`/list below `folder`; its standard output has a line for each."""
    argv = (PROGRAM, "--format=csv", f"--listfile=/input/{LIST}")
    binds = (Bind(package, "/sources"), Bind(folder, TREE), Bind(work, "/input"))
    # Its shell reads from pipes by their names in /proc.
    return Job(root / "tools", argv, binds, proc=True)


def parse(text: str) -> list[Program]:
    """checksec's lines; raises UserError for one that is none."""
    return [_parse_line(line) for line in text.splitlines() if line.strip()]


def _parse_line(line: str) -> Program:
    cells = line.split(",", COLUMNS - 1)
    if len(cells) != COLUMNS or not cells[-1].startswith(f"{TREE}/") or not cells[-2].isdecimal():
        raise UserError(f"checksec wrote a line that is no result: {texts.show(line)}")
    lacks = {name for name, cell in zip(PROPERTIES, cells, strict=False) if cell not in PROPERTIES[name]}
    # What calls no function that could be checked has none that is.
    if cells[7] != "Yes" and int(cells[9]):
        lacks.add(FORTIFY)
    return Program(cells[-1].removeprefix(f"{TREE}/"), frozenset(lacks))


def reasons(file: Path = REFUSED) -> Reasons:
    """The reasons of audit/checksec.toml; UserError for a file that cannot be read or a property that is none."""
    parsed = toml.parse(file, texts.read_text(file))
    for name, table in parsed.items():
        if name not in NAMES or not isinstance(table, dict):
            raise UserError(f"{file}: {name}: not a property", f"the properties are {', '.join(NAMES)}")
    return {name: {str(k): str(v) for k, v in dict(table).items()} for name, table in parsed.items()}  # type: ignore[call-overload]


def faults(found: Sequence[Program], refused: Reasons) -> list[str]:
    """A line for each property that a program lacks without a reason, and for each reason that fits none."""
    lines, used = [], set[tuple[str, str]]()
    for program in found:
        for name in sorted(program.lacks):
            fits = [one for one in refused.get(name, {}) if fnmatchcase(program.path, one)]
            used |= {(name, one) for one in fits}
            lines += [] if fits else [f"{program.path}: lacks {name}; no reason is given"]
    unused = [(name, one) for name, table in refused.items() for one in table if (name, one) not in used]
    return [*lines, *(f"{one}: refused {name}, but {CHECKSEC} does not miss it" for name, one in unused)]


def render(found: Sequence[Program], refused: Reasons) -> str:
    """How many have each property, and the reasons of those that do not, as Markdown."""
    lacking = Counter(name for program in found for name in program.lacks)
    sums = ", ".join(f"{name} {len(found) - lacking[name]}" for name in NAMES)
    rows = [
        f"| {name} | `{pattern}` | {_count(found, name, pattern)} | {reason} |\n"
        for name, table in refused.items()
        for pattern, reason in table.items()
    ]
    head = f"{CHECKSEC}: {len(found)} programs and libraries; {sums}.\n\n"
    return "".join([head, "| lacks | where | files | why |\n|---|---|---|---|\n", *rows])


def _count(found: Iterable[Program], name: str, pattern: str) -> int:
    return sum(name in program.lacks and fnmatchcase(program.path, pattern) for program in found)


def audit(log: Path, progress: Callable[[str], None], tar: Path = paths.ROOTFS_TAR) -> list[Program]:
    """Run checksec on every program of the image; raises UserError if it cannot be fetched or run."""
    shop = workshop.open_at(log)
    if sandbox.mode(shop.tools) == "chroot":
        raise UserError(
            "checksec needs /proc, which a chroot does not have", "audit where namespaces are open"
        )
    package = hardening.auditor(CHECKSEC, shop.archives)
    paths.AUDITED.mkdir(parents=True, exist_ok=True)
    with process.folder(paths.AUDITED, "programs") as folder:
        names = programs(tar, folder)
        progress(f"checksec: {len(names)} programs and libraries")
        text = "".join(_check(shop, package, folder, names))
        found = parse(text)
        if len(found) != len(names):
            raise UserError(f"checksec judged {len(found)} of {len(names)} programs")
        return [_look_closer(program, folder) for program in found]


def _check(shop: workshop.Workshop, package: Path, folder: Path, names: Sequence[str]) -> list[str]:
    """checksec's lines, from as many jobs as there are processors."""
    count = min(os.cpu_count() or 1, len(names))
    parts = [names[start::count] for start in range(count)]

    def check(number: int) -> str:
        with process.folder(paths.AUDITED, f"checksec-{number}") as work:
            (work / LIST).write_text("".join(f"{TREE}/{name}\n" for name in parts[number]))
            return sandbox.output(plan_check(shop.root, package, folder, work), shop.tools).decode()

    with ThreadPoolExecutor(max(count, 1)) as pool:
        return list(pool.map(check, range(count)))


def _look_closer(program: Program, folder: Path) -> Program:
    """The same program, with what checksec does not look at."""
    if not elf.has_writable_code(folder / program.path):
        return program
    return Program(program.path, program.lacks | {WRITABLE_CODE})
