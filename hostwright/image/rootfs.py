"""The root file system: staged packages, the kernel and the literal tree of rootfs/, as one tar archive.

    staged trees --wanted()--> entries
    rootfs/ (links, files, *.j2 rendered with host.toml) -> entries     all owned by root, one time stamp, sorted
    standard folders and links (FHS 3.0) -> entries

A path that two sources give is an error that names both.
"""

import difflib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from hostwright.base import canonical, files, paths
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.build import store
from hostwright.image import firmware, guest_files, host_values, listing, templates
from hostwright.machine.model import Guest, Machine
from hostwright.vm import guest_argv

# Folders with the modes that FHS and LFS chapter 7 give them; those that are mount points are empty.
FOLDERS = {
    "boot": 0o755, "boot/efi": 0o755, "dev": 0o755,
    "etc": 0o755, "mnt": 0o755, "proc": 0o755, "root": 0o700, "run": 0o755,
    "srv": 0o755, "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "usr/lib": 0o755, "usr/sbin": 0o755,
    # sshd refuses keys, and its own empty folder, where others could write.
    "root/.ssh": 0o700, "var/lib/sshd": 0o755, "var/lib/dhcpcd": 0o755,
    "var": 0o755, "var/cache": 0o755, "var/lib": 0o755, "var/lib/hostwright": 0o755, "var/log": 0o755,
    "var/spool": 0o755, "var/tmp": 0o1777, "lib64": 0o755,
}  # fmt: skip

# A file system of its own.
VAR = "var/"
# Read by hostwright-update on the host.
MANIFEST = "usr/share/hostwright/manifest"

LINKS = {"bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin"}

# The only files whose mode is not that of the working copy, where git keeps no more than the x bit.
MODES = {
    "boot/grub/grub.cfg": 0o600, "etc/shadow": 0o600, "etc/ssh/sshd_config": 0o600, "root/.ssh/authorized_keys": 0o600,
}  # fmt: skip

# What a running host does not need: headers, static libraries, start files, documentation, translations.
UNWANTED = (
    "usr/include/", "usr/share/doc/", "usr/share/info/", "usr/share/man/", "usr/share/locale/", "usr/share/i18n/",
    "usr/share/gtk-doc/", "usr/share/bash-completion/", "usr/share/aclocal/", "usr/lib/pkgconfig/",
    "usr/share/pkgconfig/", "usr/lib/cmake/", "usr/share/gettext/", "boot/config",
)  # fmt: skip
UNWANTED_ENDS = (".a", ".o", ".la", ".pc")

# Rendered last: it names the build by all the rest.
RELEASE = "etc/os-release.j2"

# Where tzdata keeps its zones.
ZONES = "usr/share/zoneinfo/"

# Built only for other packages; nothing of it runs on the host.
NOT_ON_HOST = ("linux-headers",)


@dataclass(frozen=True)
class Node:
    """One path of the root file system; `content` is a file on this machine or the bytes themselves."""

    path: str
    mode: int
    origin: str
    content: Path | bytes | None = None
    link: str = ""


def literal_files() -> list[Path]:
    """The files of rootfs/; a link is not followed."""
    return sorted(file for file in paths.ROOTFS.rglob("*") if file.is_file() and not file.is_symlink())


def literal_nodes() -> list[tuple[str, str]]:
    """Every path below rootfs/ with its link target or its mode in octal digits."""
    found = [(file.relative_to(paths.ROOTFS).as_posix(), file) for file in sorted(paths.ROOTFS.rglob("*"))]
    return [
        (path, f"-> {file.readlink()}" if file.is_symlink() else f"{_mode(path, file):o}")
        for path, file in found
    ]


def is_wanted(path: str) -> bool:
    """Whether a staged file belongs on the host."""
    return not (path.startswith(UNWANTED) or (path.endswith(UNWANTED_ENDS) and "/grub/" not in path))


def package_nodes(built: store.Built) -> Iterator[Node]:
    """The paths that a package gives to the host."""
    for entry in built.entries():
        if not is_wanted(entry.path + "/" if entry.kind == "folder" else entry.path):
            continue
        content = built.tree / entry.path if entry.kind == "file" else None
        yield Node(entry.path, int(entry.mode, 8), f"package {built.name}", content, entry.link)


def standard_nodes() -> Iterator[Node]:
    """The folders and links that every host has."""
    for path, mode in FOLDERS.items():
        yield Node(path, mode, "standard folders")
    for path, goal in LINKS.items():
        yield Node(path, 0o777, "standard folders", link=goal)


def tree_nodes(tree: Path, values: dict[str, object]) -> Iterator[Node]:
    """The literal tree; a name that ends in .j2 is rendered with `values` and loses that ending."""
    for file in sorted(tree.rglob("*")):
        path = file.relative_to(tree).as_posix()
        origin = f"rootfs/{path}"
        if file.is_symlink():
            yield Node(path, 0o777, origin, link=os.readlink(file))  # noqa: PTH115
        elif path == RELEASE:
            continue
        elif file.is_dir():
            yield Node(path, FOLDERS.get(path, 0o755), origin)
        else:
            path = path.removesuffix(".j2")
            yield Node(path, _mode(path, file), origin, _content(file, origin, values))


def _mode(path: str, file: Path) -> int:
    return MODES.get(path, 0o755 if os.access(file, os.X_OK) else 0o644)


def _content(file: Path, origin: str, values: dict[str, object]) -> Path | bytes:
    if file.suffix != ".j2":
        return file
    return templates.render_text(file.read_text(), origin, values).encode()


def machine_nodes(machine: Machine) -> Iterator[Node]:
    """What host.toml brings as files: the time zone, how its guests are started, processor microcode."""
    yield Node("etc/localtime", 0o777, "host.toml timezone", link=f"../{ZONES}{machine.timezone}")
    for path, text in guest_files.render_host(machine):
        yield Node(path, 0o644, "host.toml [[guest]]", text.encode())
    for part in firmware.find_files(machine):
        mode = 0o777 if part.link else 0o644
        yield Node(part.path, mode, "host.toml [kernel] firmware", part.content, part.link)
    if machine.kernel.microcode:
        yield Node("boot/microcode.img", 0o644, "host.toml [kernel] microcode", machine.kernel.microcode)
    for guest in machine.guests:
        for file in embedded_files(guest):
            path = f"{guest_argv.HOST_FOLDER}/{guest.name}/{file.name}".lstrip("/")
            yield Node(path, 0o600, "host.toml [[guest]] embed", file)


def embedded_files(guest: Guest) -> list[Path]:
    """The disk and the variable store of an installed guest that goes onto the image."""
    return (
        [paths.GUESTS / guest.name / name for name in (guest_argv.DISK, guest_argv.VARS)]
        if guest.embed
        else []
    )


def merge(nodes: Iterable[Node]) -> list[Node]:
    """All nodes sorted by path, folders once, with their parents; two files at one path are a UserError."""
    merged: dict[str, Node] = {}
    for node in nodes:
        known = merged.get(node.path)
        if known is None or (_is_folder(known) and _is_folder(node)):
            merged.setdefault(node.path, node)
        else:
            raise UserError(
                f"/{node.path} comes from two places: {known.origin} and {node.origin}", "remove it from one"
            )
    for path in list(merged):
        for parent in Path(path).parents:
            name = parent.as_posix()
            if name != ".":
                merged.setdefault(name, Node(name, 0o755, "parent"))
    return [merged[path] for path in sorted(merged)]


def check_timezone(zone: str, nodes: Iterable[Node]) -> None:
    """A zone that is no file of the root file system is a UserError; without one the C library takes UTC in silence."""
    known = [node.path.removeprefix(ZONES) for node in nodes if not _is_folder(node)]
    if zone not in known:
        near = difflib.get_close_matches(zone, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else 'write "UTC" or Area/City as in "Europe/Berlin"'
        raise UserError(f'host.toml: timezone = "{zone}": there is no such time zone', hint)


def _is_folder(node: Node) -> bool:
    return node.content is None and not node.link


def write_tar(nodes: Iterable[Node], sink: BinaryIO) -> None:
    """Write the archive: owner root, the same time stamp everywhere, in the order given."""
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for node in nodes:
            _add(tar, node)


def _add(tar: tarfile.TarFile, node: Node) -> None:
    member = tarfile.TarInfo(node.path)
    member.mode, member.mtime = node.mode, EPOCH
    if node.link:
        member.type, member.linkname = tarfile.SYMTYPE, node.link
        tar.addfile(member)
    elif isinstance(node.content, Path):
        with node.content.open("rb") as source:
            member.size = os.fstat(source.fileno()).st_size
            tar.addfile(member, source)
    elif node.content is not None:
        member.size = len(node.content)
        tar.addfile(member, io.BytesIO(node.content))
    else:
        member.type = tarfile.DIRTYPE
        tar.addfile(member)


def assemble(
    machine: Machine, packages: Iterable[store.Built], release: str, target: Path, data: Path
) -> None:
    """Write the root file system of `machine` to the tar archive `target`, and what is below /var to `data`.

    The root has the folders of /var too: a host without its data starts from them.
    """
    values = host_values.host_values(machine, release)
    nodes = [*standard_nodes(), *tree_nodes(paths.ROOTFS, values), *machine_nodes(machine)]
    for built in packages:
        nodes += package_nodes(built)
    check_timezone(machine.timezone, nodes)
    content = digested(merge(nodes))
    release_node = _name_release(values, content)
    nodes += (release_node, list_slot([*content, *digested([release_node])]))
    whole = merge(nodes)
    with target.open("wb") as sink:
        write_tar(filter(_is_in_slot, whole), sink)
    with data.open("wb") as sink:
        write_tar(data_nodes(whole), sink)


def data_nodes(nodes: Iterable[Node]) -> list[Node]:
    """What is below /var, by its path there."""
    return [replace(node, path=node.path.removeprefix(VAR)) for node in nodes if node.path.startswith(VAR)]


def digested(nodes: Iterable[Node]) -> list[tuple[Node, str]]:
    """Each node with the sha256 of its content; "" for a folder or a link."""
    return [(node, _digest(node)) for node in nodes]


def _digest(node: Node) -> str:
    if isinstance(node.content, Path):
        return files.digest(node.content)
    return hashlib.sha256(node.content).hexdigest() if node.content is not None else ""


def _name_release(values: dict[str, object], content: Iterable[tuple[Node, str]]) -> Node:
    """/etc/os-release, which names the build by the digest of everything else on the host."""
    named = {**values, "build_id": build_id(content)}
    text = templates.render_text((paths.ROOTFS / RELEASE).read_text(), f"rootfs/{RELEASE}", named)
    return Node(RELEASE.removesuffix(".j2"), 0o644, f"rootfs/{RELEASE}", text.encode())


def build_id(content: Iterable[tuple[Node, str]]) -> str:
    """What a root file system is called: 16 hex digits over paths, modes, links and contents."""
    return canonical.digest([(one.path, one.mode, one.link, digest) for one, digest in content])[:16]


def list_slot(content: Iterable[tuple[Node, str]]) -> Node:
    """What the host compares its slot with. What is below /var belongs to the data, also where a slot has it."""
    own = [(node, digest) for node, digest in content if not node.path.startswith(VAR)]
    listed = listing.Listing(
        {node.path: (node.mode, digest) for node, digest in own if node.content is not None},
        {node.path: node.link for node, _ in own if node.link},
    )
    return Node(MANIFEST, 0o644, "list of files", listing.render(listed).encode())


def _is_in_slot(node: Node) -> bool:
    return not (node.content is not None and node.path.startswith(VAR))
