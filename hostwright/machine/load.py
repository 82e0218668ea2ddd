"""host.toml: the machine to build, read and checked before any work starts.

    host.toml -> load -> Machine -> kconfig, rootfs, image, qemu, proof

`SCHEMA` at the end is the whole grammar. `machine.rules` checks what concerns more than one key.
docs/host.toml.md documents the same keys.
"""

import errno
import hashlib
from dataclasses import replace
from pathlib import Path

from hostwright.base import canonical
from hostwright.machine import values, words
from hostwright.machine.firmware import firmware_name
from hostwright.machine.grammar import (
    BadValueError,
    Field,
    Section,
    Way,
    boolean,
    integer,
    line,
    one_of,
    sections,
    sequence,
)
from hostwright.machine.install import INSTALL, Install
from hostwright.machine.model import (
    DEFAULT_CPU_WEIGHT,
    Access,
    Device,
    Disk,
    Guest,
    Iommu,
    KernelChoice,
    Machine,
)
from hostwright.machine.network import BOND, BRIDGE, NETWORK
from hostwright.machine.rules import RULES
from hostwright.machine.storage import STORAGE
from hostwright.machine.toml import explain, parse, read


def load(path: Path) -> Machine:
    """The machine that the file at `path` describes; raises UserError for any mistake in it."""
    content = read(path)
    raw = parse(path, content)
    try:
        machine: Machine = SCHEMA(raw)
        for rule in RULES:
            rule(machine)
        return _find_capture(_find_scripts(_find_microcode(machine, path.parent), path.parent), path.parent)
    except BadValueError as error:
        raise explain(path, content, error) from None


def fingerprint(machine: Machine) -> str:
    """Everything that the host's image depends on, as text: equal for equal machines, wherever their files are.

    It excludes how a guest is installed, and the capture that the machine was checked against.
    """
    microcode = machine.kernel.microcode
    digest = hashlib.sha256(microcode.read_bytes()).hexdigest() if microcode else ""
    guests = tuple(replace(guest, install=_ANY_INSTALL) for guest in machine.guests)
    kernel = replace(machine.kernel, microcode=None)
    return canonical.text(replace(machine, guests=guests, kernel=kernel, capture=None)) + digest


def _find_microcode(machine: Machine, folder: Path) -> Machine:
    """`machine` with its microcode's path resolved against `folder`; raises UserError if there is no such file."""
    if machine.kernel.microcode is None:
        return machine
    way = ("kernel", "microcode")
    hint = "give a path relative to this file, or leave the key out"
    path = _find_file(folder / machine.kernel.microcode, hint, way)
    with path.open("rb") as file:
        magic = file.read(6)
    # Early microcode is an uncompressed cpio archive (Documentation/arch/x86/microcode.rst), newc or crc.
    if magic not in (b"070701", b"070702"):
        raise BadValueError(
            "not an uncompressed cpio archive", "give the early image, not the bare .bin", way
        )
    return replace(machine, kernel=replace(machine.kernel, microcode=path))


def _find_capture(machine: Machine, folder: Path) -> Machine:
    """`machine` with its capture's path resolved against `folder`; raises UserError if there is no such file."""
    if machine.capture is None:
        return machine
    hint = "give a path relative to this file; hostwright-capture writes one on the machine"
    return replace(machine, capture=_find_file(folder / machine.capture, hint, ("capture",)))


def _find_file(path: Path, hint: str, way: Way) -> Path:
    """`path`, if there is a file that can be read; raises BadValueError otherwise."""
    try:
        if not path.is_file():
            raise BadValueError(f"there is no file {path}", hint, way)
        path.open("rb").close()
    except OSError as error:
        is_long = error.errno == errno.ENAMETOOLONG
        remedy = f"check the path: {hint}" if is_long else "check the path and its permissions"
        raise BadValueError(f"cannot be read: {error.strerror}", remedy, way) from None
    return path


def _find_scripts(machine: Machine, folder: Path) -> Machine:
    """`machine` with its late commands' paths resolved against `folder`; raises UserError if a file is missing."""
    guests = tuple(_find_guest_scripts(guest, index, folder) for index, guest in enumerate(machine.guests))
    return replace(machine, guests=guests)


def _find_guest_scripts(guest: Guest, index: int, folder: Path) -> Guest:
    found = tuple(folder / script for script in guest.install.late_commands)
    for place, script in enumerate(found):
        way = ("guest", index, "install", "late_commands", place)
        try:
            _find_file(script, "give a path relative to this file", way).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise BadValueError("is not UTF-8 text", "give a script; it may fetch a program", way) from None
    return replace(guest, install=replace(guest.install, late_commands=found))


# The grammar.

_IOMMU = Section(
    Iommu,
    {
        "vendor": Field(one_of("intel", "amd"), 'vendor = "intel"', default="intel"),
        "acs_override": Field(values.acs_override, 'acs_override = ["downstream"]', default=[]),
        "extra": Field(sequence(words.extra_word), 'extra = ["intel_iommu=sm_on"]', default=[]),
    },
)
_DEVICE = Section(
    Device,
    {
        "address": Field(values.address, 'address = "0000:82:00.0"', required=True),
        "id": Field(values.device_id, 'id = "10de:1e37"'),
        "label": Field(line, 'label = "Tesla T10"', default="PCI device"),
    },
)
_KERNEL = Section(
    KernelChoice,
    {
        "cmdline": Field(sequence(words.cmdline_word), 'cmdline = ["quiet"]', default=[]),
        "options": Field(
            sequence(values.option, values.option_name), 'options = ["CONFIG_IGB=m"]', default=[]
        ),
        "modules": Field(sequence(words.module, words.module_name), 'modules = ["igb"]', default=[]),
        "microcode": Field(values.file_path, 'microcode = "intel-ucode.img"'),
        "firmware": Field(sequence(firmware_name), 'firmware = ["bnx2"]', default=[]),
    },
)
_ACCESS = Section(
    Access,
    {
        "ssh_keys": Field(
            sequence(values.ssh_key, values.ssh_key_data), 'ssh_keys = ["ssh-ed25519 AAAA..."]', default=[]
        ),
        "root_password_hash": Field(values.password_hash, 'root_password_hash = "$6$..."'),
        "grub_password": Field(values.grub_password, 'grub_password = "grub.pbkdf2.sha512.10000..."'),
        "update_keys": Field(
            sequence(values.ssh_key, values.ssh_key_data), 'update_keys = ["ssh-ed25519 AAAA..."]', default=[]
        ),
    },
)
_DISK = Section(
    Disk,
    {
        "root_mib": Field(
            integer(256, 1 << 20, "the host alone needs 256 MiB"), "root_mib = 1024", default=1024
        ),
        "esp_mib": Field(
            integer(34, 4096, "FAT32 starts at 65,525 clusters, 34 MiB"), "esp_mib = 64", default=64
        ),
    },
)
_GUEST = Section(
    Guest,
    {
        "name": Field(values.label, 'name = "debian"', required=True),
        "memory_mib": Field(integer(256, 1 << 26), "memory_mib = 4096", required=True),
        "vcpus": Field(integer(1, 255), "vcpus = 2", default=1),
        "cpus": Field(values.cpu_list, 'cpus = "2-5,8"'),
        "cpu_weight": Field(integer(1, 10_000), "cpu_weight = 200", default=DEFAULT_CPU_WEIGHT),
        "disk_gib": Field(integer(4, 1 << 16, "Debian needs 4 GiB"), "disk_gib = 20", default=8),
        "mac": Field(values.mac, 'mac = "52:54:00:12:34:56"', required=True),
        "bridge": Field(values.interface, 'bridge = "br0"'),
        "devices": Field(sequence(values.address), 'devices = ["0000:82:00.0"]', default=[]),
        "autostart": Field(boolean, "autostart = false", default=True),
        "embed": Field(boolean, "embed = true", default=False),
        "storage": Field(values.label, 'storage = "fast"'),
        "install": Field(INSTALL, "a header [guest.install] in single brackets", default={}),
    },
)


# A guest as the host runs it.
_ANY_INSTALL: Install = INSTALL({})


def _machine(*, name: str, hostname: str | None, **rest: object) -> Machine:
    return Machine(name=name, hostname=hostname or name, **rest)  # type: ignore[arg-type]


SCHEMA = Section(
    _machine,
    {
        "name": Field(values.label, 'name = "lab"', required=True),
        "hostname": Field(values.hostname, 'hostname = "lab.example.org"'),
        "timezone": Field(values.timezone, 'timezone = "Europe/Berlin"', default="UTC"),
        "memory_mib": Field(integer(1024, 1 << 26), "memory_mib = 65536"),
        "capture": Field(values.file_path, 'capture = "machine.tar"'),
        "iommu": Field(_IOMMU, "a header [iommu] in single brackets", default={}),
        "device": Field(
            sections(_DEVICE), "a header [[device]] in double brackets", default=[], into="devices"
        ),
        "kernel": Field(_KERNEL, "a header [kernel] in single brackets", default={}),
        "access": Field(_ACCESS, "a header [access] in single brackets", default={}),
        "network": Field(NETWORK, "a header [network] in single brackets", default={}),
        "bond": Field(sections(BOND), "a header [[bond]] in double brackets", default=[], into="bonds"),
        "bridge": Field(
            sections(BRIDGE), "a header [[bridge]] in double brackets", default=[], into="more_bridges"
        ),
        "disk": Field(_DISK, "a header [disk] in single brackets", default={}),
        "storage": Field(sections(STORAGE), "a header [[storage]] in double brackets", default=[]),
        "guest": Field(sections(_GUEST), "a header [[guest]] in double brackets", default=[], into="guests"),
    },
)
