"""The installer's kernel and initrd: Debian's netboot image with every part that it would have fetched."""

import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from hostwright.base import files, intact, paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import bzimage, cpio, deb
from hostwright.formats.cpio import Entry
from hostwright.guest import udeb
from hostwright.guest.udeb import Template, Tree
from hostwright.sandbox import sandbox
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch
from hostwright.source.pins import read_lock

# To be raised when the medium changes although the lock does not.
FORMAT = "3"

NETBOOT = "debian-installer-13-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64"

# It would fetch the parts again, from an archive that may have changed.
DOWNLOADER = "download-installer"
# hw-detect runs it before each search for hardware, over modules that have not changed.
DEPMOD = "usr/sbin/depmod"

# The files that modprobe reads; depmod's other files are for people.
INDEXES = (
    "modules.alias.bin", "modules.builtin.alias.bin", "modules.builtin.bin", "modules.dep.bin", "modules.devname",
    "modules.softdep", "modules.symbols.bin", "modules.weakdep",
)  # fmt: skip


@dataclass(frozen=True)
class Kit:
    """The files of one medium in the cache."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """The kernel, a bzImage."""
        return self.folder / "linux"

    @property
    def initrd(self) -> Path:
        """The compressed initramfs."""
        return self.folder / "initrd"

    @property
    def templates(self) -> Path:
        """The debconf questions of the medium."""
        return self.folder / "templates.json"

    @property
    def digests(self) -> Path:
        """The sha256 of each of the others, by its name."""
        return self.folder / "digests.json"

    def is_whole(self) -> bool:
        """Whether every file is what it was when it was made."""
        known = files.read_json(self.digests)
        made = (self.kernel, self.initrd, self.templates)
        return all(intact.is_intact(file, known.get(file.name, "")) for file in made)


def lock_file() -> Path:
    """The path of the medium's pins."""
    return paths.GUEST / "installer.lock"


def load_lock() -> list[Pin]:
    """The pins of guest/installer.lock."""
    return read_lock(lock_file())


def key(pins: Sequence[Pin], root_key: str) -> str:
    """A key of everything that kernel and initrd depend on: 16 hex digits."""
    words = [FORMAT, root_key, *sorted(pin.sha256 for pin in pins)]
    return sha256("\n".join(words).encode()).hexdigest()[:16]


def build_initrd(pins: Sequence[Pin], shop: Workshop) -> Kit:
    """Kernel, initrd and templates of the medium, made unless the cache has them; the pins must be fetched.

    Raises UserError if a part is for another kernel, or would replace another part's file.
    """
    boot = Kit(shop.cache / "installer" / key(pins, shop.key))
    with files.locked(boot.folder.with_suffix(".lock")):
        if boot.folder.exists() and not boot.is_whole():
            intact.set_aside(boot.folder)
        if not boot.folder.exists():
            with files.folder_replaced(boot.folder) as new:
                _fill(pins, Kit(new), shop)
    return boot


def templates(pins: Sequence[Pin], shop: Workshop) -> dict[str, Template]:
    """Every question that the installer on the medium can ask, by name."""
    known = json.loads(build_initrd(pins, shop).templates.read_text())
    return {name: Template(**{**one, "choices": tuple(one["choices"])}) for name, one in known.items()}


def _fill(pins: Sequence[Pin], boot: Kit, shop: Workshop) -> None:
    if missing := [pin.name for pin in pins if not fetch.is_here(pin.sha256)]:
        raise UserError(f"guest/installer.lock: {missing[0]} is not fetched", "run ./doit sources")
    kernel, tree = read_netboot(_netboot(pins))
    release = kernel_release(kernel)
    for pin in pins:
        if pin.name != NETBOOT:
            merge(tree, udeb.read_part(fetch.have(pin)), release)
    udeb.drop(tree, DOWNLOADER)
    del tree[DEPMOD]
    questions = {name: asdict(one) for name, one in sorted(udeb.find_templates(tree).items())}
    index_modules(tree, release, shop)
    boot.kernel.write_bytes(kernel)
    boot.templates.write_text(json.dumps(questions, indent=1) + "\n")
    compress(cpio.write(tree.values()), boot.initrd, shop)
    made = (boot.kernel, boot.initrd, boot.templates)
    boot.digests.write_text(json.dumps({file.name: files.digest(file) for file in made}) + "\n")


def _netboot(pins: Sequence[Pin]) -> Path:
    for pin in pins:
        if pin.name == NETBOOT:
            return fetch.have(pin)
    raise UserError(f"guest/installer.lock pins no {NETBOOT}", "write it again with ./doit lock")


def read_netboot(package: Path) -> tuple[bytes, Tree]:
    """The kernel of the netboot package, and the tree of its initrd."""
    found = {path: content for path, _, content in deb.read(package, "data", IMAGES)}
    try:
        kernel, initrd = found[f"{IMAGES}/linux"], found[f"{IMAGES}/initrd.gz"]
    except KeyError as error:
        raise UserError(f"{NETBOOT} has no {error}", "pin a package of Debian 13 with ./doit lock") from None
    return kernel, {entry.path: entry for entry in cpio.read(initrd)}


def kernel_release(kernel: bytes) -> str:
    """The release that `uname -r` shows under a bzImage; raises UserError if it is not one."""
    release = bzimage.find_release(kernel)
    if release is None:
        raise UserError("the installer's kernel is not a bzImage", "renew the pins with ./doit lock")
    return release


def merge(tree: Tree, part: udeb.Part, release: str) -> None:
    """Add a part to the tree; UserError if its modules are for a kernel other than `release`."""
    if others := udeb.module_releases(part.files) - {release}:
        raise UserError(
            f"guest/installer.lock: {part.name} has modules for Linux {min(others)}, but the installer runs {release}",
            "the netboot package and parts with modules must have the same release: renew the pins with ./doit lock",
        )
    udeb.add(tree, part)


def index_modules(tree: Tree, release: str, shop: Workshop) -> None:
    """Replace the files that modprobe reads by depmod's output for the whole tree."""
    base = f"{udeb.MODULES}/{release}"
    with workplace() as work:
        for path, entry in tree.items():
            if path.startswith(f"{base}/") and stat.S_ISREG(entry.mode):
                _write(work / path, entry.content)
        (work / "lib").symlink_to("usr/lib")
        run("depmod", ("depmod", "-b", "/build", release), work, shop)
        for name in INDEXES:
            path = f"{base}/{name}"
            tree[path] = Entry(path, stat.S_IFREG | 0o644, (work / path).read_bytes())


def compress(archive: bytes, target: Path, shop: Workshop) -> None:
    """Compress an initramfs with zstd, which the kernel unpacks fastest, above all in emulation."""
    with workplace() as work:
        (work / "plain").write_bytes(archive)
        # One thread: the thread count determines the blocks. A higher level gains nothing: the modules are compressed.
        run("zstd", ("zstd", "-9", "--single-thread", "-q", "plain", "-o", "packed"), work, shop)
        files.write(target, (work / "packed").read_bytes())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty temporary folder, removed at the end."""
    paths.work().mkdir(parents=True, exist_ok=True)
    folder = files.temporary_folder(paths.work(), "installer")
    try:
        yield folder
    finally:
        files.remove(folder)


def run(what: str, argv: tuple[str, ...], work: Path, shop: Workshop, *binds: sandbox.Bind) -> None:
    """Run a tool of the build root with `work` as /build; raises ProgramError if it fails."""
    job = sandbox.Job(shop.tools, argv, (sandbox.Bind(work, "/build", writable=True), *binds))
    shop.run(what, job)
