"""The same guest without the installer, made quickly for tests: dist/guest/<name>-fast.

    signed indexes --selection--> pins --fetch--> .deb files --dpkg--> system.tar, every package unpacked
    partition table --> disk.qcow2
    the installer's kernel and tools + guest/second-stage.sh --> QEMU: file systems, files, dpkg --configure, GRUB
        --check--> booted twice --> dist/guest/<name>-fast, and how its packages differ from those of dist/guest/<name>

No root rights are needed: the packages' own scripts run inside the emulated machine.
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, paths, times
from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.formats import cpio, gpt
from hostwright.formats.control import Stanza
from hostwright.formats.cpio import Entry
from hostwright.guest import check, compare, initrd, packages, preseed, unpacked
from hostwright.guest.install import follow
from hostwright.guest.plan import Outcome, Run, Voice
from hostwright.guest.preseed import SERIAL_CONSOLES
from hostwright.guest.watch import Stage
from hostwright.guest.workplace import Inputs, Options, find_accelerator, place, publish, record, workplace
from hostwright.image.ids import Ids, ids_for
from hostwright.machine.model import Guest, Machine
from hostwright.sandbox import sandbox, signature
from hostwright.sandbox.workshop import Workshop
from hostwright.source import fetch, index, mirrors
from hostwright.source.depot import Depot
from hostwright.vm import guest_argv
from hostwright.vm.login import generate_key

SECOND_STAGE = paths.GUEST / "second-stage.sh"

# As in the installer's recipe (preseed.cfg.j2), in MiB.
ESP_MIB = 128
# The partition type that the installer's parted gives a Linux file system.
LINUX_FILE_SYSTEM = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

# Seconds in emulation on a 2-core machine.
STAGES = (
    Stage("", "firmware and kernel", 20),
    Stage("unpack", "files", 30),
    Stage("prepare", "before the packages", 15),
    Stage("configure", "packages", 180),
    Stage("boot", "boot loader", 40),
    Stage("finish", "last steps", 15),
)
WORDS = (
    "init=/hostwright/second-stage",
    "console=tty0",
    "console=ttyS0,115200n8",
    "panic=-1",
    # Mitigations of processor faults only cost time in a machine that runs nothing else.
    "mitigations=off",
)
IN_TARGET = '#!/bin/sh\nexec chroot /target "$@"\n'
NO_SERVICES = "#!/bin/sh\nexit 101\n"


def make(machine: Machine, guest: Guest, inputs: Inputs, options: Options, voice: Voice) -> None:
    """Make and check `guest` without the installer; raises UserError, and then keeps an earlier guest unchanged."""
    voice.note("choosing the packages")
    shop = inputs.shop
    pins = packages.choose(read_indexes(guest, shop, options.offline), guest.install)
    fetch_pins(pins, shop, options.offline, voice.note)
    key = None if guest.install.ssh_keys else generate_key()
    with (
        workplace(f"{guest.name}-fast") as work,
        Depot(shop.served, shop.archives, offline=options.offline) as depot,
    ):
        voice.note("unpacking the packages")
        contents = Contents(pins, place(guest, inputs, key, work))
        prepare(machine, guest, contents, shop.logging_to(work / "medium.log"), work)
        accelerator, reason = find_accelerator(inputs, work)
        plan = Run(guest, work, inputs.tools, accelerator, options.vnc, {}, stages=STAGES)
        argv = guest_argv.plan_second_stage(guest, accelerator, options.vnc, WORDS, depot.port)
        outcome = follow(plan, argv, depot, voice)
        checked = check.check(plan, outcome.network, voice.note)
    record(guest, outcome, checked, f"{accelerator.value}: {reason}", work)
    write_differences(guest, outcome, work)
    publish(work)


def read_indexes(guest: Guest, shop: Workshop, offline: bool) -> list[Stanza]:
    """The paragraphs of Packages of the guest's components; the archive's signature is verified."""
    release = _read_release(shop, offline)
    return [
        stanza
        for component in preseed.components(guest.install)
        for stanza in _read_index(f"{component}/binary-amd64/Packages.xz", release, shop, offline)
    ]


def _read_release(shop: Workshop, offline: bool) -> str:
    """The text of the archive's InRelease: current, or from the cache when offline."""
    name = f"dists/{index.SUITE}/InRelease"
    kept = shop.cache / "indexes" / name
    if not offline:
        signed = fetch.fetch_bytes(name, shop.archives)
    elif found := next((place for place in (kept, shop.served / name) if place.exists()), None):
        signed = found.read_bytes()
    else:
        raise UserError("the cache has no index of the archive", "run once without offline=yes")
    release = signature.verify(signed, shop).decode()
    files.write(kept, signed)
    return release


def _read_index(name: str, release: str, shop: Workshop, offline: bool) -> list[Stanza]:
    digest = index.index_digest(release, name)
    folder = f"dists/{index.SUITE}/{name.rpartition('/')[0]}"
    pin = Pin(f"{folder}/by-hash/SHA256/{digest}", digest, name=name)
    fetch_pins([pin], shop, offline, lambda _: None)
    return index.read_index(fetch.local(digest).read_bytes(), release, name)


def fetch_pins(pins: Sequence[Pin], shop: Workshop, offline: bool, note: Callable[[str], None]) -> None:
    """Have every pinned file in the cache; files that an installer fetched are taken from the depot."""
    missing = [pin for pin in pins if not fetch.is_here(pin.sha256) and not _adopt(pin, shop)]
    if not missing:
        return
    if offline:
        raise UserError(
            f"{len(missing)} packages are not in the cache, the first one {missing[0].name}",
            "run once without offline=yes",
        )
    total, done = sum(pin.size for pin in missing), [0]

    def progressed(count: int) -> None:
        done[0] += count
        note(f"fetching packages {times.bar(done[0], total)}")

    fetch.fetch_all(missing, shop.archives, progressed)


def _adopt(pin: Pin, shop: Workshop) -> bool:
    kept = shop.served / pin.path
    if not kept.is_file() or files.digest(kept) != pin.sha256:
        return False
    fetch.local(pin.sha256).parent.mkdir(parents=True, exist_ok=True)
    os.link(kept, fetch.local(pin.sha256))
    return True


@dataclass(frozen=True)
class Contents:
    """What the system is made of: its packages, and the keys that may log in."""

    pins: Sequence[Pin]
    keys: tuple[str, ...]


def prepare(machine: Machine, guest: Guest, contents: Contents, shop: Workshop, work: Path) -> None:
    """The partitioned disk, the system as an archive, and kernel and initramfs of the second stage."""
    ids = ids_for(f"{machine.name}/{guest.name}")
    sources = preseed.sources_list(shop.archives[0], mirrors.find_security(), guest.install)
    # Until the last command puts the guest's own in its place, as in an install.
    archive = preseed.sources_list(f"http://{guest_argv.ARCHIVE}/debian", None, guest.install)
    own = own_files(guest, guest.install.timezone or machine.timezone, archive, ids)
    with (work / guest_argv.SYSTEM).open("wb") as sink:
        unpacked.write_system((fetch.local(pin.sha256) for pin in contents.pins), own, sink)
    write_disk(guest, ids, shop, work)
    boot = initrd.build_initrd(initrd.load_lock(), shop)
    shutil.copyfile(boot.kernel, work / guest_argv.KERNEL)
    # The kernel reads concatenated archives; each starts at a multiple of 4 bytes.
    packed = boot.initrd.read_bytes()
    answers = cpio.write(entries(guest, contents.keys, sources, ids))
    (work / guest_argv.INITRD).write_bytes(packed + bytes(-len(packed) % 4) + answers)


def write_disk(guest: Guest, ids: Ids, shop: Workshop, work: Path) -> None:
    """Make the guest's disk with its partition table and no file systems."""
    (work / "table").write_text(partition_table(ids))
    raw, target = f"{guest_argv.FOLDER}/disk.raw", f"{guest_argv.FOLDER}/{guest_argv.DISK}"
    steps = (
        ("truncate", "-s", f"{guest.disk_gib}G", raw),
        ("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", raw),
        ("qemu-img", "convert", "-q", "-O", "qcow2", raw, target),
    )
    script = "set -eu\n" + "".join(f"{shlex.join(argv)} <{guest_argv.FOLDER}/table\n" for argv in steps)
    job = sandbox.Job(
        shop.tools, ("sh", "-c", script), (sandbox.Bind(work, guest_argv.FOLDER, writable=True),)
    )
    shop.run("making the disk", job)
    for name in ("table", "disk.raw"):
        files.remove(work / name)


def partition_table(ids: Ids) -> str:
    """A GPT with an EFI system partition and the rest, as input for sfdisk(8)."""
    return (
        f"label: gpt\nlabel-id: {ids.disk_guid}\n\n"
        f"start=1MiB, size={ESP_MIB}MiB, type={gpt.EFI_SYSTEM}, uuid={ids.esp_partuuid}\n"
        f"type={LINUX_FILE_SYSTEM}, uuid={ids.root_partuuid}\n"
    )


def own_files(guest: Guest, timezone: str, sources: str, ids: Ids) -> list[unpacked.Node]:
    """The files that the installer writes besides the packages, with the same content."""
    return [
        unpacked.Node("etc/fstab", fstab(guest, ids)),
        unpacked.Node("etc/hostname", f"{guest.name}\n"),
        unpacked.Node("etc/hosts", HOSTS.format(name=guest.name)),
        unpacked.Node("etc/networks", NETWORKS),
        unpacked.Node("etc/resolv.conf", ""),
        unpacked.Node("etc/network/interfaces", INTERFACES),
        unpacked.Node("etc/localtime", goal=f"/usr/share/zoneinfo/{timezone}"),
        unpacked.Node("etc/apt/sources.list", sources),
        unpacked.Node("etc/apt/apt.conf.d/00InstallRecommends", 'APT::Install-Recommends "false";\n'),
        unpacked.Node("etc/kernel-img.conf", KERNEL_IMAGES),
        unpacked.Node("etc/initramfs-tools/conf.d/driver-policy", "MODULES=dep\n"),
        unpacked.Node("etc/initramfs-tools/conf.d/resume", "RESUME=none\n"),
        # Until the packages are configured: no service starts, and scripts find awk.
        unpacked.Node("usr/sbin/policy-rc.d", NO_SERVICES, 0o755),
        unpacked.Node("usr/bin/awk", goal="mawk"),
    ]


# netcfg's.
HOSTS = """\
127.0.0.1\tlocalhost
127.0.1.1\t{name}

# The following lines are desirable for IPv6 capable hosts
::1     localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""
NETWORKS = "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n\n"
INTERFACES = """\
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

# The loopback network interface
auto lo
iface lo inet loopback
"""
# base-installer's.
KERNEL_IMAGES = """\
# Kernel image management overrides
# See kernel-img.conf(5) for details
do_symlinks = yes
do_bootloader = no
do_initrd = yes
link_in_boot = no
"""
FSTAB_OPTIONS = {"ext4": "errors=remount-ro", "xfs": "defaults"}


def fstab(guest: Guest, ids: Ids) -> str:
    """fstab(5) of the guest."""
    kind = guest.install.filesystem
    check_pass = 0 if kind == "xfs" else 1
    return (
        "# <file system> <mount point> <type> <options> <dump> <pass>\n"
        f"UUID={ids.root_uuid} / {kind} {FSTAB_OPTIONS[kind]} 0 {check_pass}\n"
        f"UUID={ids.esp_uuid} /boot/efi vfat umask=0077 0 1\n"
    )


def selections(guest: Guest) -> str:
    """The packages' configuration questions with answers, in the form of debconf-set-selections(1)."""
    install = guest.install
    words = [word for word in (*SERIAL_CONSOLES, *install.cmdline) if word != "quiet"]
    boot = "grub-efi-amd64 grub2"
    lines = [
        f"locales locales/locales_to_be_generated multiselect {install.locale} UTF-8",
        f"locales locales/default_environment_locale select {install.locale}",
        f"{boot}/linux_cmdline string {' '.join(words)}",
        f"{boot}/linux_cmdline_default string quiet",
        f"{boot}/force_efi_extra_removable boolean true",
        *(line for line in install.preseed if not line.startswith("d-i ")),
    ]
    return "".join(f"{line}\n" for line in lines)


def entries(guest: Guest, keys: tuple[str, ...], sources: str, ids: Ids) -> list[Entry]:
    """The files laid over the installer's initramfs: the second stage, its input, and the install's last command."""
    shared = [
        entry for entry in preseed.entries(guest, "", keys, sources) if entry.path.startswith("hostwright/")
    ]
    texts = {
        "filesystem": guest.install.filesystem,
        "root_uuid": ids.root_uuid,
        "esp_serial": ids.esp_uuid.replace("-", ""),
        "password": guest.install.password_hash or "!",
        "selections": selections(guest),
        "watch": preseed.WATCH.read_text(),
    }
    plain = [Entry(f"hostwright/{name}", 0o100600, text.encode()) for name, text in texts.items()]
    stage = Entry("hostwright/second-stage", 0o100755, SECOND_STAGE.read_bytes())
    return [*shared, *plain, stage, Entry("usr/bin/in-target", 0o100755, IN_TARGET.encode())]


def write_differences(guest: Guest, outcome: Outcome, work: Path) -> None:
    """Write differences.txt if the guest of that name was also made by the installer."""
    installed = paths.GUESTS / guest.name / "manifest.json"
    if installed.exists():
        fast = {"packages": outcome.packages}
        files.write(work / "differences.txt", compare.compare(json.loads(installed.read_text()), fast))
