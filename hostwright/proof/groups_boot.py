"""The differential proof: topologies booted under a kernel, and its groups compared with the prediction.

    topologies --fill_machines--> machines, each booted once for every set of words --> Tally

The initramfs contains bash, coreutils, mount and modprobe of our own packages, init/groups.sh and
hostwright-capture. No disk is written, except for a capture.
"""

import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files as disk
from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.base.times import limit
from hostwright.formats import bzimage, cpio, deb
from hostwright.image import initramfs
from hostwright.pci import hierarchy
from hostwright.proof import generate, topologies
from hostwright.proof.groups_rows import (
    COLUMNS,
    END,
    INITRD,
    Found,
    Tally,
    Words,
    compare,
    plan_boot,
    read_console,
    replace_series,
)
from hostwright.proof.topologies import Placed, Topology
from hostwright.source import fetch, mirrors
from hostwright.vm import board, process
from hostwright.vm.board import Accelerator
from hostwright.vm.console import ConsoleError

# Seconds: ten times the length of a full machine's boot on two free cores.
BOOT_LIMIT_S = limit(600.0)
DISK, DISK_MIB = "disk.img", 16
PANIC = "Kernel panic - not syncing.*"

SCRIPTS = {
    "usr/lib/init.sh": Path(__file__).parent / "init" / "groups.sh",
    "usr/sbin/hostwright-capture": paths.ROOTFS / "usr/sbin/hostwright-capture",
}
_SYSTEM = initramfs.Contents(
    programs={
        "bash": ("bash",),
        "util-linux": ("mount", "dmesg"),
        "kmod": ("kmod",),
        "coreutils": ("cat", "dd", "head", "id", "mktemp", "od", "readlink", "rm", "sum", "sync", "tr", "wc"),
    },
    libraries=("glibc", "ncurses", "readline", "util-linux", "kmod", "zlib", "zstd", "xz"),
    scripts=SCRIPTS,
    links={"init": "usr/lib/init.sh", "usr/sbin/modprobe": "../bin/kmod", "usr/bin/modprobe": "kmod"},
)


@dataclass(frozen=True)
class Kernel:
    """The kernel to boot: its image, its series and its modules.

    `has_drivers`: it has the drivers that enable virtual functions, in the image or as modules.
    """

    image: Path
    series: str = "6.12"
    modules: Path | None = None
    has_override: bool = True
    has_drivers: bool = True


@dataclass(frozen=True)
class Emulated:
    """The common settings of every boot."""

    kernel: Kernel
    initrd: bytes
    tools: Path
    out: Path
    accelerator: Accelerator


def prepare(kernel: Kernel, tools: Path, out: Path) -> Emulated:
    """The initramfs for a kernel, and the way to run it; raises UserError if a package is not built."""
    out.mkdir(parents=True, exist_ok=True)
    accelerator, _ = process.find_accelerator(kernel.image, tools, out)
    return Emulated(kernel, make_initramfs(kernel), tools, out, accelerator)


def prove(
    kernel: Kernel,
    chosen: Sequence[Topology],
    columns: Sequence[Words],
    tools: Path,
    out: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Boot every topology under every set of words; console logs go to `out`.

    Raises UserError if a boot fails.
    """
    emulated = prepare(kernel, tools, out)
    tally = Tally()
    machines = topologies.fill_machines(chosen)
    for number, machine in enumerate(machines):
        placed = topologies.place(machine)
        for words in columns:
            progress(f"machine {number + 1} of {len(machines)}, {words.name}: {len(machine)} topologies")
            argv = plan_boot(placed, words, emulated.accelerator)
            found = boot(emulated, argv, f"{number}-{words.name}")
            tally.boots += 1
            tally.compared[words.name] = tally.compared.get(words.name, 0) + len(machine)
            tally.disagreements += compare(placed, words, found)
    return tally


def prove_random(
    kernel: Kernel,
    *,
    count: int,
    seed: int,
    tools: Path,
    out: Path,
    progress: Callable[[str], None],
) -> Tally:
    """`prove` for the named topologies and `count` random ones, under all words that the kernel supports."""
    chosen = [*topologies.GOLDEN, *generate.generate(seed, count, virtual=kernel.has_drivers)]
    columns = [words for words in COLUMNS if kernel.has_override or not words.override]
    return prove(
        kernel, chosen, [replace_series(words, kernel.series) for words in columns], tools, out, progress
    )


# One boot.


def boot(machine: Emulated, argv: tuple[str, ...], name: str) -> Found:
    """Boot once and read the result; raises UserError with the console's last lines if there is none."""
    with _booted(machine, argv, name) as (text, _):
        return read_console(text)


def capture(machine: Emulated, placed: Sequence[Placed], words: Words) -> bytes:
    """The tar that hostwright-capture writes in a machine with these functions, padded to the end of its disk."""
    argv = plan_boot(placed, words, machine.accelerator)
    place = argv.index("-append") + 1
    argv = (*argv[:place], f"{argv[place]} hostwright.capture", *argv[place + 1 :])
    drive = f"if=none,id=out,file={board.FOLDER}/{DISK},format=raw"
    argv = (*argv, "-drive", drive, "-device", "ide-hd,bus=ide.0,drive=out")
    with _booted(machine, argv, "capture") as (_, folder):
        return (folder / DISK).read_bytes()


@contextmanager
def _booted(machine: Emulated, argv: tuple[str, ...], name: str) -> Iterator[tuple[str, Path]]:
    """The console's text of a whole boot, and its folder, as long as the `with` block runs."""
    with process.folder(machine.out, name) as folder:
        shutil.copyfile(machine.kernel.image, folder / board.KERNEL)
        (folder / INITRD).write_bytes(machine.initrd)
        with (folder / DISK).open("wb") as file:
            file.truncate(DISK_MIB << 20)
        job = process.plan_job(argv, folder, machine.tools, machine.accelerator)
        with process.running(job, machine.out / f"{name}.log") as (console, _):
            try:
                console.wait_for(END, BOOT_LIMIT_S, stop=PANIC)
                console.wait_for_end(BOOT_LIMIT_S)
            except ConsoleError as error:
                raise UserError(f"boot {name}: {error.message}", f"see {machine.out / name}.log") from None
            text = console.text
        yield text, folder


# The initramfs.


def make_initramfs(kernel: Kernel) -> bytes:
    """An initramfs with everything that groups_init.sh needs; raises UserError if a package is not built."""
    return initramfs.make(_SYSTEM, _modules(kernel))


def _modules(kernel: Kernel) -> Iterator[cpio.Entry]:
    """igb and its dependencies, for virtual functions; empty if the kernel's modules are not given."""
    if not kernel.modules:
        return
    needs = dict(
        line.split(":", 1)
        for line in (kernel.modules / "modules.dep").read_text().splitlines()
        if ":" in line
    )
    igb = next((name for name in needs if Path(name).name.startswith("igb.ko")), None)
    wanted = [igb, *needs[igb].split()] if igb else []
    for name in [*wanted, "modules.dep", "modules.dep.bin", "modules.alias.bin", "modules.builtin.bin"]:
        path = f"usr/lib/modules/{kernel.modules.name}/{name}"
        if (kernel.modules / name).exists():
            yield cpio.Entry(path, stat.S_IFREG | 0o644, (kernel.modules / name).read_bytes())


# Which kernel.

# Debian 12's own: another series, which has no override.
DEBIAN_12 = Pin(
    "pool/main/l/linux-signed-amd64/linux-image-6.1.0-50-amd64_6.1.176-1_amd64.deb",
    "7b5597492a0a65aee61985a492e6bcc3f2cde830072a0e3b3d8c7e1b90279bd3",
    size=70305560,
    name="linux-image-6.1.0-50-amd64",
)


def find_kernel(series: str, folder: Path) -> Kernel:
    """The kernel of dist/ for no series or its own; otherwise a distribution's, with its image in `folder`.

    Raises UserError if there is none of that series.
    """
    if series in ("", "6.12"):
        return our_kernel()
    if series == "6.1":
        return debian_kernel(DEBIAN_12, series, folder)
    raise UserError(
        f"series={series}: there is no kernel of it to boot",
        "known are 6.1 and 6.12; build one of another series, as in docs/groups.md, and name it with kernel=bzImage",
    )


def our_kernel() -> Kernel:
    """The kernel of dist/ with its modules; raises UserError if it is not built."""
    image = paths.KERNEL / "bzImage"
    if not image.exists():
        raise UserError(f"{image} is not built", "run ./doit kernel")
    modules = next(iter((paths.KERNEL / "modules").glob("*")), None)
    return Kernel(image, modules=modules, has_drivers=modules is not None)


def other_kernel(image: Path, series: str = "") -> Kernel:
    """A bzImage that was built with the patch of its series and with kconfig/differential/groups.config.

    Raises UserError if the file is not a kernel, or if it is of another series than the requested one.
    """
    try:
        with image.open("rb") as file:
            release = bzimage.find_release(file.read(bzimage.HEAD))
    except OSError as error:
        raise UserError(f"kernel={image}: {error.strerror}", "name a bzImage") from None
    if release is None:
        raise UserError(f"kernel={image}: not a Linux kernel image", "name its arch/x86/boot/bzImage")
    found = hierarchy.find_series(release)
    if series not in ("", found):
        raise UserError(
            f"kernel={image}: {release} has the rules of {found}, not of {series}", "leave series= out"
        )
    return Kernel(image, found)


def debian_kernel(pin: Pin, series: str, folder: Path) -> Kernel:
    """The kernel of a Debian package, fetched if necessary, with its image in `folder`."""
    fetch.fetch_all([pin], mirrors.find_mirrors(), lambda _: None)
    image = folder / pin.name
    for _, _, content in deb.read(fetch.local(pin.sha256), "data", "boot/vmlinuz-"):
        disk.write(image, content)
    if not image.exists():
        raise UserError(
            f"{pin.name}: the package contains no kernel", "renew the pin in hostwright/proof/groups_boot.py"
        )
    return Kernel(image, series, has_override=False, has_drivers=False)
