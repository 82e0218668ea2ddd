"""The installer's own packages: unpacks a `.udeb` into the tree of an initramfs, as udpkg does.

    .udeb --read_part()--> Part (control paragraph, scripts, files) --add()--> Tree
    Tree, var/lib/dpkg/info/*.templates --find_templates()--> {question: Template}

A part stays unpacked and unconfigured, like those of the netboot image: the main menu configures the parts that it
needs, in its order. Templates are only put in place, as with udpkg's --no-loadtemplate: at start
lib/debian-installer-startup.d/S20templates loads all of them into the database, before the preseed file is read.
Formats: deb-control(5), debconf-devel(7).
"""

import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hostwright.base.errors import UserError
from hostwright.formats import deb
from hostwright.formats.control import Stanza, dependencies, parse_stanzas
from hostwright.formats.cpio import FOLDER_MODE, Entry, parents

Tree = dict[str, Entry]

STATUS = "var/lib/dpkg/status"
INFO = "var/lib/dpkg/info"
MODULES = "usr/lib/modules"

# The members of control.tar that udpkg keeps (control itself becomes a paragraph of the status).
SCRIPTS = ("config", "isinstallable", "menutest", "postinst", "prerm", "templates")
RELATIONS = ("Provides", "Depends")

_CHOICE = re.compile(r"(?:\\.|[^,\\])+")


@dataclass(frozen=True)
class Part:
    """One installer package: its control paragraph, its scripts by name and its files."""

    control: Stanza
    scripts: dict[str, Entry]
    files: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """The package's name."""
        return self.control["Package"]


@dataclass(frozen=True)
class Template:
    """A question of the installer.

    `owner` is the package that contains it. `choices` are those of the template, in English; empty if the installer
    computes some of them at run time (`${...}`). `description` is the short one, as in a dialog's title.
    """

    owner: str
    type: str
    choices: tuple[str, ...] = ()
    default: str = ""
    description: str = ""


def read_part(file: Path) -> Part:
    """Read a `.udeb`; raises UserError if it is not one."""
    control: Stanza = {}
    scripts: dict[str, Entry] = {}
    for name, mode, content in deb.read(file, "control"):
        if name == "control":
            control = next(parse_stanzas(content.decode()))
        elif name in SCRIPTS:
            scripts[name] = Entry(name, mode, content)
    return Part(control, scripts, tuple(Entry(*found) for found in deb.read(file, "data")))


def add(tree: Tree, part: Part) -> None:
    """Unpack a part into the tree and record it; raises UserError if it would replace another part's file."""
    for entry in part.files:
        _place(tree, entry, part.name)
    for name, script in part.scripts.items():
        _place(tree, Entry(f"{INFO}/{part.name}.{name}", script.mode, script.content), part.name)
    _write_status(tree, [*_paragraphs(tree), paragraph(part.control)])


def drop(tree: Tree, name: str) -> None:
    """Remove a part from the status, with its scripts; raises UserError if it is not there."""
    left = [text for text in _paragraphs(tree) if not text.startswith(f"Package: {name}\n")]
    if len(left) == len(_paragraphs(tree)):
        raise UserError(f"the installer has no part {name} to remove", "renew the pins with ./doit lock")
    _write_status(tree, left)
    for script in SCRIPTS:
        tree.pop(f"{INFO}/{name}.{script}", None)


def installed(tree: Tree) -> list[Stanza]:
    """The paragraphs of all parts in the tree."""
    return [next(parse_stanzas(text)) for text in _paragraphs(tree)]


def provided(tree: Tree) -> frozenset[str]:
    """The names of all parts in the tree, and the names that they provide."""
    stanzas = installed(tree)
    virtual = (name for stanza in stanzas for [name] in dependencies(stanza, "Provides"))
    return frozenset([*(stanza["Package"] for stanza in stanzas), *virtual])


def _paragraphs(tree: Tree) -> list[str]:
    return [text + "\n" for text in tree[STATUS].content.decode().strip("\n").split("\n\n")]


def _write_status(tree: Tree, paragraphs: Iterable[str]) -> None:
    tree[STATUS] = replace(tree[STATUS], content="\n".join([*paragraphs, ""]).encode())


def _place(tree: Tree, entry: Entry, owner: str) -> None:
    path = resolve(tree, entry.path)
    there = tree.get(path)
    if there and entry.is_folder and not stat.S_ISREG(there.mode):
        return
    new = replace(entry, path=path)
    if there and there != new:
        raise UserError(
            f"{owner} contains /{path}, but another part of the installer has it with other content or mode",
            "remove one of the two from guest/installer.seeds",
        )
    for parent in parents(path):
        tree.setdefault(parent, Entry(parent, FOLDER_MODE))
    tree[path] = new


def resolve(tree: Tree, path: str) -> str:
    """The real path after following links among its folders, such as bin -> usr/bin."""
    for parent in parents(path):
        there = tree.get(parent)
        if there and there.is_link:
            goal = PurePosixPath("/", parent).parent / there.content.decode()
            rest = PurePosixPath(path).relative_to(parent)
            return resolve(tree, posixpath.normpath(goal / rest).lstrip("/"))
    return path


def paragraph(control: Stanza) -> str:
    """The status paragraph of an unpacked part, with the fields that the main menu reads."""
    lines = [
        f"Package: {control['Package']}",
        "Status: install ok unpacked",
        f"Version: {control['Version']}",
    ]
    lines += [f"{field}: {' '.join(control[field].split())}" for field in RELATIONS if control.get(field)]
    short, _, _ = control.get("Description", "").partition("\n")
    lines.append(f"Description: {short}")
    if number := control.get("Installer-Menu-Item"):
        lines.append(f"Installer-Menu-Item: {number}")
    return "\n".join(lines) + "\n"


def module_releases(entries: Iterable[Entry]) -> set[str]:
    """The kernel releases of the modules among `entries`."""
    paths = (PurePosixPath("usr", entry.path.removeprefix("usr/")) for entry in entries)
    return {path.parts[3] for path in paths if path.is_relative_to(MODULES) and len(path.parts) > 4}


def find_templates(tree: Tree) -> dict[str, Template]:
    """Every question of the installer, by name."""
    return {
        name: template
        for path in sorted(tree)
        if path.startswith(f"{INFO}/") and path.endswith(".templates")
        for name, template in _parse_templates(tree[path])
    }


def _parse_templates(file: Entry) -> Iterator[tuple[str, Template]]:
    owner = file.path.removeprefix(f"{INFO}/").removesuffix(".templates")
    for stanza in parse_stanzas(file.content.decode()):
        # If both exist, the C choices are stored and the others are shown.
        choices = stanza.get("Choices-C") or stanza.get("Choices", "")
        yield (
            stanza["Template"],
            Template(
                owner,
                stanza["Type"],
                tuple(_split(choices)),
                stanza.get("Default", ""),
                stanza.get("Description", "").split("\n")[0],
            ),
        )


def _split(choices: str) -> Iterator[str]:
    if "${" in choices:
        return
    for choice in _CHOICE.findall(choices):
        if text := re.sub(r"\\(.)", r"\1", choice.strip()):
            yield text
