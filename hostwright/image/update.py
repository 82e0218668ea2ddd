"""An update of a running host, as one file: a tar of manifest, signature and the packed root file system.

    rootfs.tar --xz--> root.tar.xz --+
    host.toml, /etc/os-release ------+--> host.update --sign--> host.update.signed --> hostwright-update on the host

The unsigned file is the same for everybody, bit for bit. An update for a host whose build is known leaves out the files
that its slot has already. docs/living-host.md describes the form.
"""

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, run
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.image import disk, listing, rootfs
from hostwright.machine.model import Machine
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop

# A whole root file system, and one that leaves out what the slot of a certain build has.
WHOLE, PARTIAL = 1, 2
# What ssh-keygen(1) calls the purpose of a signature.
NAMESPACE = "hostwright-update"
MANIFEST, SIGNATURE, PAYLOAD = "manifest", "manifest.sig", "root.tar.xz"
RELEASE = "etc/os-release"
# Part of every update: the menu is written last, and the rest is read back against the list.
ALWAYS = (rootfs.MANIFEST, RELEASE, "boot/grub/grub.cfg")
# What a host writes anew in its slot, as hostwright-update knows it: it cannot be taken from there.
OWN = ("etc/resolv.conf", "etc/adjtime", "etc/mtab", "root/.bash_history", "root/.lesshst")
# One thread and a low level, always: the bits of a packed file depend on both.
PACK = ("xz", "--threads=1", "-2", "--check=sha256", "--keep", "--force", "/build/root.tar")


@dataclass(frozen=True)
class Base:
    """A slot that runs: its build, and the mode and sha256 of each file that is as it was written."""

    build: str
    files: Mapping[str, tuple[int, str]]


def render_manifest(
    machine: Machine, release: Mapping[str, str], root_bytes: int, payload: Path, base: Base | None = None
) -> str:
    """A key and its value a line, as hostwright-update reads them."""
    values = {
        "format": PARTIAL if base else WHOLE,
        "machine": machine.name,
        "version": release["VERSION_ID"],
        "build": release["BUILD_ID"],
        "root_mib": disk.needed_mib(root_bytes),
        "payload_bytes": payload.stat().st_size,
        "payload_sha256": files.digest(payload),
        **({"base": base.build} if base else {}),
    }
    return "".join(f"{key} {value}\n" for key, value in values.items())


def read_listing(root_tar: Path) -> listing.Listing:
    """The list of files in a root archive."""
    return listing.parse(_read(root_tar, rootfs.MANIFEST))


def _read(root_tar: Path, name: str) -> str:
    with tarfile.open(root_tar) as tar:
        source = tar.extractfile(name)
        return source.read().decode() if source else ""


def read_release(root_tar: Path) -> dict[str, str]:
    """The values of /etc/os-release in a root archive."""
    return parse_release(_read(root_tar, RELEASE))


def parse_release(text: str) -> dict[str, str]:
    """The values of an os-release(5) file."""
    return dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.M))


def write_update(
    machine: Machine, root_tar: Path, target: Path, shop: Workshop, base: Base | None = None
) -> None:
    """Write the unsigned update that brings a host of `machine`, from any build or from `base`, to `root_tar`."""
    work = target.with_name(f".{target.name}.work")
    files.remove(work)
    work.mkdir(parents=True)
    if base:
        thin(root_tar, base, work / "root.tar")
    else:
        (work / "root.tar").hardlink_to(root_tar)
    shop.log.unlink(missing_ok=True)
    shop.run(
        "packing the update",
        sandbox.Job(shop.tools, PACK, (sandbox.Bind(work, "/build", writable=True),)),
    )
    payload = work / PAYLOAD
    text = render_manifest(machine, read_release(root_tar), root_tar.stat().st_size, payload, base)
    with files.replaced(target) as new:
        write_tar(new, [(MANIFEST, text.encode()), (PAYLOAD, payload)])
    files.remove(work)


def thin(root_tar: Path, base: Base, target: Path) -> None:
    """Copy a root archive without the files that `base` has, with the same mode and content at the same path."""
    listed = read_listing(root_tar).files
    with tarfile.open(root_tar) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as sink:
        for member in source:
            known = listed.get(member.name)
            if known is None or member.name in (*ALWAYS, *OWN) or base.files.get(member.name) != known:
                sink.addfile(member, source.extractfile(member) if member.isreg() else None)


def write_tar(target: Path, members: Sequence[tuple[str, bytes | Path]]) -> None:
    """A tar of files that belong to root, all with the same time stamp, in the order given."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = 0o644, EPOCH
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.size = content.stat().st_size
                with content.open("rb") as source:
                    tar.addfile(member, source)


def sign(update: Path, key: Path, target: Path) -> None:
    """Write a signed copy of `update`, by a private key or by a public one whose private half an agent holds.

    Raises UserError with what ssh-keygen says.
    """
    work = target.with_name(f".{target.name}.work")
    files.remove(work)
    work.mkdir(parents=True)
    with tarfile.open(update) as tar:
        for name in (MANIFEST, PAYLOAD):
            _copy(tar, name, work / name)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(work / MANIFEST)]
    status, _, said = run.capture(argv)
    if status != 0:
        files.remove(work)
        raise UserError(
            f"{key}: ssh-keygen cannot sign with it: {said.strip()}",
            "name a private key, or a public key whose private half your ssh agent holds, as in key=~/.ssh/id_ed25519",
        )
    with files.replaced(target) as new:
        write_tar(new, [(name, work / name) for name in (MANIFEST, SIGNATURE, PAYLOAD)])
    files.remove(work)


def _copy(tar: tarfile.TarFile, name: str, target: Path) -> None:
    source = tar.extractfile(name)
    if source is None:
        raise UserError(f"the update has no {name}", "write it again: ./doit update-file")
    with source, target.open("wb") as sink:
        while block := source.read(1 << 20):
            sink.write(block)
