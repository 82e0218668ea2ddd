"""The installer medium: Debian's installer with every part that it would fetch, on a bootable ISO.

    guest/installer.lock --> netboot package --> linux, initrd --+
                         \\-> parts (.udeb) --------------------> one initrd, its modules indexed, in the cache
    package grub --> BOOTX64.EFI in a FAT image --> ISO 9660 (El Torito, and a GPT for USB sticks)

Nothing random and nothing of this machine goes in: times are SOURCE_DATE_EPOCH, ids derive from the content, and
what compresses and writes comes out of the build root. No root rights are needed.
"""

import json
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from shlex import quote

from hostwright import udeb
from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.formats import bzimage, cpio, deb, gpt
from hostwright.formats.cpio import Entry
from hostwright.image.templates import render_text
from hostwright.sandbox import buildroot, sandbox
from hostwright.source import fetch
from hostwright.source.pins import Pin, parse_lock
from hostwright.udeb import Template, Tree

# Changes when the medium changes while the lock does not.
FORMAT = "3"

NETBOOT = "debian-installer-13-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64"

LOG = paths.log_file("installer")

# It would fetch the parts anew, from an archive that may have moved on.
DOWNLOADER = "download-installer"
# hw-detect runs it before each search for hardware, over modules that have not changed.
DEPMOD = "usr/sbin/depmod"

# What modprobe reads; depmod writes the rest for people.
INDEXES = (
    "modules.alias.bin", "modules.builtin.alias.bin", "modules.builtin.bin", "modules.dep.bin", "modules.devname",
    "modules.softdep", "modules.symbols.bin", "modules.weakdep",
)  # fmt: skip

# What grub.cfg uses, and what one wants at GRUB's prompt when it does not boot.
GRUB_MODULES = (
    "normal", "part_gpt", "part_msdos", "iso9660", "fat", "search", "search_fs_file", "linux", "chain",
    "configfile", "test", "true", "echo", "help", "minicmd", "ls", "cat", "probe", "sleep", "terminal",
    "all_video", "efi_gop", "efifwsetup", "acpi", "halt", "reboot",
)  # fmt: skip

# 4 MiB, a FAT16: GRUB's core has less than one.
ESP_SECTORS = 8192
VOLUME = "HOSTWRIGHT"
_NAMESPACE = uuid.UUID("5f0d8c53-0c35-5e0b-8a5e-5a0f3f8a7c11")


@dataclass(frozen=True)
class Boot:
    """The files of one medium in the cache."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "linux"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def templates(self) -> Path:
        return self.folder / "templates.json"


def lock_file() -> Path:
    """Where the pins of the medium stand."""
    return paths.GUEST / "installer.lock"


def load_lock() -> list[Pin]:
    """The pins of guest/installer.lock."""
    return parse_lock(lock_file().read_text(), "guest/installer.lock")


def key(pins: Sequence[Pin]) -> str:
    """What kernel and initrd depend on, as 16 hex digits."""
    words = [FORMAT, buildroot.key(buildroot.load_lock()), *sorted(pin.sha256 for pin in pins)]
    return sha256("\n".join(words).encode()).hexdigest()[:16]


def build_initrd(pins: Sequence[Pin], log: Path = LOG) -> Boot:
    """Kernel, initrd and templates of the medium, made unless the cache has them; the pins must be fetched.

    UserError if a part is for another kernel, or would replace another part's file.
    """
    boot = Boot(paths.cache() / "installer" / key(pins))
    with files.locked(boot.folder.with_suffix(".lock")):
        if not boot.folder.exists():
            with files.folder_replaced(boot.folder) as new:
                _fill(pins, Boot(new), log)
    return boot


def templates(pins: Sequence[Pin], log: Path = LOG) -> dict[str, Template]:
    """Every question that the installer on the medium can ask, by name."""
    known = json.loads(build_initrd(pins, log).templates.read_text())
    return {name: Template(**{**one, "choices": tuple(one["choices"])}) for name, one in known.items()}


def _fill(pins: Sequence[Pin], boot: Boot, log: Path) -> None:
    if missing := [pin.name for pin in pins if not fetch.is_here(pin.sha256)]:
        raise UserError(f"guest/installer.lock: {missing[0]} is not fetched", "run ./doit sources")
    kernel, tree = read_netboot(_netboot(pins))
    release = kernel_release(kernel)
    for pin in pins:
        if pin.name != NETBOOT:
            merge(tree, udeb.read_part(fetch.local(pin.sha256)), release)
    udeb.drop(tree, DOWNLOADER)
    del tree[DEPMOD]
    questions = {name: asdict(one) for name, one in sorted(udeb.find_templates(tree).items())}
    index_modules(tree, release, log)
    boot.kernel.write_bytes(kernel)
    boot.templates.write_text(json.dumps(questions, indent=1) + "\n")
    compress(cpio.write(tree.values()), boot.initrd, log)


def _netboot(pins: Sequence[Pin]) -> Path:
    for pin in pins:
        if pin.name == NETBOOT:
            return fetch.local(pin.sha256)
    raise UserError(f"guest/installer.lock pins no {NETBOOT}", "write it anew with ./doit lock")


def read_netboot(package: Path) -> tuple[bytes, Tree]:
    """The kernel of the netboot package, and the tree of its initrd."""
    found = {path: content for path, _, content in deb.read(package, "data", IMAGES)}
    try:
        kernel, initrd = found[f"{IMAGES}/linux"], found[f"{IMAGES}/initrd.gz"]
    except KeyError as error:
        raise UserError(f"{NETBOOT} has no {error}", "pin a package of Debian 13 with ./doit lock") from None
    return kernel, {entry.path: entry for entry in cpio.read(initrd)}


def kernel_release(kernel: bytes) -> str:
    """What `uname -r` says under a bzImage; UserError if it is none."""
    release = bzimage.find_release(kernel)
    if release is None:
        raise UserError("the installer's kernel is not a bzImage", "renew the pins with ./doit lock")
    return release


def merge(tree: Tree, part: udeb.Part, release: str) -> None:
    """Add a part to the tree; UserError if its modules are for a kernel other than `release`."""
    if others := udeb.module_releases(part.files) - {release}:
        raise UserError(
            f"guest/installer.lock: {part.name} has modules for Linux {min(others)}, but the installer runs {release}",
            "netboot package and parts with modules must be of one release: renew the pins with ./doit lock",
        )
    udeb.add(tree, part)


def index_modules(tree: Tree, release: str, log: Path) -> None:
    """Replace what modprobe reads by what depmod finds in the whole tree."""
    base = f"{udeb.MODULES}/{release}"
    with _workplace() as work:
        for path, entry in tree.items():
            if path.startswith(f"{base}/") and stat.S_ISREG(entry.mode):
                _write(work / path, entry.content)
        (work / "lib").symlink_to("usr/lib")
        _run("depmod", ("depmod", "-b", "/build", release), work, log)
        for name in INDEXES:
            path = f"{base}/{name}"
            tree[path] = Entry(path, stat.S_IFREG | 0o644, (work / path).read_bytes())


def compress(archive: bytes, target: Path, log: Path) -> None:
    """Write an initramfs compressed: zstd is what the kernel unpacks fastest, above all in emulation."""
    with _workplace() as work:
        (work / "plain").write_bytes(archive)
        # One thread: their number shapes the blocks. The modules are compressed already, more effort gains nothing.
        _run("zstd", ("zstd", "-9", "--single-thread", "-q", "plain", "-o", "packed"), work, log)
        files.write(target, (work / "packed").read_bytes())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextmanager
def _workplace() -> Iterator[Path]:
    """An empty folder that is gone afterwards."""
    paths.work().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.work(), prefix="installer.") as folder:
        yield Path(folder)


def _run(what: str, argv: tuple[str, ...], work: Path, log: Path, *binds: sandbox.Bind) -> None:
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    job = sandbox.Job(tools, argv, (sandbox.Bind(work, "/build", writable=True), *binds))
    sandbox.execute(what, job, tools, log)


def write_iso(
    target: Path,
    grub_tree: Path,
    answers: bytes | None,
    words: Sequence[str],
    log: Path,
    default: str = "video",
) -> None:
    """Write the bootable ISO to `target`; `grub_tree` is the staged tree of the package.

    `answers` is a cpio archive that the kernel unpacks over the installer (/preseed.cfg and what it calls), None for
    the medium that asks a person. `words` go to the kernel in addition; `default` is the entry that starts by itself.
    """
    boot = build_initrd(load_lock(), log)
    menu = render_menu(answers is not None, words, default)
    ids = ids_for(f"{boot.folder.name} {menu} {sha256(answers or b'').hexdigest()}")
    with _workplace() as work:
        os.link(boot.kernel, work / "linux")
        os.link(boot.initrd, work / "initrd")
        (work / "answers").write_bytes(answers or b"")
        (work / "grub.cfg").write_text(menu)
        (work / "early.cfg").write_text(early_config(ids))
        (work / "script").write_text(script(ids, answers is not None))
        grub = sandbox.Bind(grub_tree, "/input")
        _run("writing the installer medium", ("sh", "-ex", "/build/script"), work, log, grub)
        with files.replaced(target) as new:
            shutil.move(work / "iso", new)


@dataclass(frozen=True)
class Ids:
    """What tells one medium from another: the name of a file in its root, and the ids of its disk and its FAT."""

    mark: str
    disk_guid: str
    esp_serial: str


def ids_for(content: str) -> Ids:
    """The ids of the medium that `content` describes: equal content, equal ids."""
    digest = sha256(content.encode()).hexdigest()
    return Ids(f"hostwright-{digest[:16]}", str(uuid.uuid5(_NAMESPACE, content)), digest[:8].upper())


def render_menu(has_answers: bool, words: Sequence[str], default: str) -> str:
    """The medium's grub.cfg."""
    template = paths.GUEST / "grub.cfg.j2"
    values = {
        "has_answers": has_answers,
        "words": list(words),
        "default": default,
        "timeout": 1 if has_answers else 5,
    }
    return render_text(template.read_text(), "guest/grub.cfg.j2", values)


def early_config(ids: Ids) -> str:
    """What GRUB's core runs before anything else; `normal` then reads $prefix/grub.cfg.

    By a file's name, since the medium may be an optical disk, a USB stick, or its files copied to one.
    """
    return f"search --no-floppy --file --set=root /{ids.mark}\nset prefix=($root)/boot/grub\n"


def script(ids: Ids, has_answers: bool) -> str:
    """The shell script that makes `iso` of what lies in /build; /input is the staged tree of GRUB."""
    install = ["linux", "initrd", *(["answers"] if has_answers else [])]
    loader = "tree/EFI/BOOT/BOOTX64.EFI"
    steps = [
        ("set", "-eu"),
        ("cd", "/build"),
        ("export", "MTOOLSRC=/dev/null"),
        ("mkdir", "-p", "tree/boot/grub", "tree/install", "tree/EFI/BOOT"),
        plan_loader(loader),
        ("truncate", "-s", str(ESP_SECTORS * gpt.SECTOR), "esp"),
        *plan_esp(loader, ids),
        ("mv", *install, "tree/install"),
        ("mv", "grub.cfg", "tree/boot/grub"),
        ("touch", f"tree/{ids.mark}"),
        plan_iso(ids),
    ]
    return "".join(" ".join(quote(word) for word in argv) + "\n" for argv in steps)


def plan_loader(target: str) -> tuple[str, ...]:
    """GRUB's core image with early.cfg and every module in it."""
    return (
        "/input/usr/bin/grub-mkimage",
        "--directory", "/input/usr/lib/grub/x86_64-efi",
        "--format", "x86_64-efi",
        "--config", "early.cfg",
        "--prefix", "/boot/grub",
        "--output", target,
        *GRUB_MODULES,
    )  # fmt: skip


def plan_esp(loader: str, ids: Ids) -> tuple[tuple[str, ...], ...]:
    """A FAT file system with the removable-media loader: what El Torito boots, and a USB stick's EFI partition."""
    shape = ("-c", "1", "-h", "255", "-s", "63", "-T", str(ESP_SECTORS), "-H", "0")
    return (
        ("mformat", "-i", "esp", *shape, "-N", ids.esp_serial, "-v", VOLUME, "::"),
        ("mmd", "-i", "esp", "::/EFI", "::/EFI/BOOT"),
        ("mcopy", "-i", "esp", loader, "::/EFI/BOOT/BOOTX64.EFI"),
    )


def plan_iso(ids: Ids) -> tuple[str, ...]:
    """ISO 9660 with Rock Ridge, written by xorriso, xorrisofs(1); all times are SOURCE_DATE_EPOCH.

    The FAT image is there once: as the second partition of a GPT, and as El Torito's image for UEFI.
    """
    return (
        "xorriso", "-no_rc", "-as", "mkisofs", "-quiet",
        "-r", "-V", VOLUME,
        # The first partition is the file system itself, with its own start: a stick can be mounted by partition.
        "-partition_offset", "16",
        "-append_partition", "2", gpt.EFI_SYSTEM, "esp",
        "-appended_part_as_gpt",
        "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
        "--gpt_disk_guid", ids.disk_guid,
        # Without this a file keeps the time at which it was put into the folder.
        "--set_all_file_dates", f"={EPOCH}",
        "-o", "iso", "tree",
    )  # fmt: skip
