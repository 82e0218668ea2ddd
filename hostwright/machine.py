"""host.toml: the one machine to build, read and checked before any work starts.

    host.toml -> load -> Machine -> kconfig, rootfs, image, qemu, proof

`SCHEMA` at the end is the whole grammar, `_RULES` holds what concerns more than one key, and
docs/host.toml.md is the table of the same keys for a reader.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from hostwright import values
from hostwright.answers import INSTALL, Install
from hostwright.base import canonical
from hostwright.schema import (
    BadValueError,
    Field,
    Section,
    boolean,
    explain,
    integer,
    line,
    nearest,
    one_of,
    parse,
    read,
    sections,
    sequence,
)

# The host's own share of its memory.
HOST_MEMORY_MIB = 512
# COMMAND_LINE_SIZE is 2048 on x86; root=, the consoles, the boot entry's own words and $extra need the rest.
MOST_COMMAND_LINE_BYTES = 1700


@dataclass(frozen=True)
class Iommu:
    """`acs_override`: words of pcie_acs_override=; `extra`: kernel words of boot entries with passthrough."""

    vendor: str
    acs_override: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    """A PCI function to pass through: `address` as dddd:bb:dd.f, `id` as vvvv:dddd, both in lower case."""

    address: str
    id: str | None
    label: str


@dataclass(frozen=True)
class KernelChoice:
    """`cmdline`: words of every boot entry; `options`: lines of .config; `modules`: lines of /etc/modules."""

    cmdline: tuple[str, ...]
    options: tuple[str, ...]
    modules: tuple[str, ...]
    microcode: Path | None


@dataclass(frozen=True)
class Access:
    """Who gets in as root: lines of authorized_keys, and a crypt(5) hash (None: the password is locked)."""

    ssh_keys: tuple[str, ...]
    root_password_hash: str | None


@dataclass(frozen=True)
class Network:
    """The bridge, the card in it (name or MAC), and the bridge's `address`: IPv4/prefix, `dhcp` or None."""

    bridge: str
    nic: str | None
    address: str | None
    gateway: str | None
    nameservers: tuple[str, ...]


@dataclass(frozen=True)
class Disk:
    """Sizes of the root and of the EFI system partition of host.img."""

    root_mib: int
    esp_mib: int


@dataclass(frozen=True)
class Guest:
    """A virtual machine; `devices` are addresses of `Machine.devices`. `autostart` guests all run at once."""

    name: str
    memory_mib: int
    vcpus: int
    disk_gib: int
    mac: str
    devices: tuple[str, ...]
    autostart: bool
    embed: bool
    install: Install


@dataclass(frozen=True)
class Machine:
    """All that host.toml says. `memory_mib` is the memory of the host, None when it is not stated.

    `capture` is what hostwright-capture wrote on the machine: what is passed through is checked against it.
    """

    name: str
    hostname: str
    timezone: str
    iommu: Iommu
    devices: tuple[Device, ...]
    kernel: KernelChoice
    access: Access
    network: Network
    disk: Disk
    guests: tuple[Guest, ...]
    memory_mib: int | None
    capture: Path | None = None


def load(path: Path) -> Machine:
    """The machine that the file at `path` describes; raises UserError for anything that is wrong with it."""
    content = read(path)
    raw = parse(path, content)
    try:
        machine: Machine = SCHEMA(raw)
        for rule in _RULES:
            rule(machine)
        return _find_capture(_find_scripts(_find_microcode(machine, path.parent), path.parent), path.parent)
    except BadValueError as error:
        raise explain(path, content, error) from None


def fingerprint(machine: Machine) -> str:
    """All that the host's image depends on, as text: equal for equal machines wherever their files lie.

    How a guest is installed is none of it, nor is what the machine was checked against.
    """
    microcode = machine.kernel.microcode
    digest = hashlib.sha256(microcode.read_bytes()).hexdigest() if microcode else ""
    guests = tuple(replace(guest, install=_ANY_INSTALL) for guest in machine.guests)
    kernel = replace(machine.kernel, microcode=None)
    return canonical.text(replace(machine, guests=guests, kernel=kernel, capture=None)) + digest


def kernel_words(machine: Machine, passthrough: bool) -> tuple[str, ...]:
    """The kernel's command line as host.toml decides it; without `passthrough` only `kernel.cmdline` is left.

    An AMD IOMMU gets no word of its own: it is on by default and amd_iommu= has no `on`
    (Documentation/admin-guide/kernel-parameters.txt). root=, consoles and hostwright.* belong to grub.cfg.
    """
    if not passthrough:
        return machine.kernel.cmdline
    iommu = machine.iommu
    vendor = ("intel_iommu=on",) if iommu.vendor == "intel" else ()
    override = (f"pcie_acs_override={','.join(iommu.acs_override)}",) if iommu.acs_override else ()
    return ("iommu=pt", *vendor, *override, *iommu.extra, *machine.kernel.cmdline)


# Rules over more than one key.


def _check_repeats(machine: Machine) -> None:
    """No address, guest name or MAC twice."""
    for table, items, key in (
        ("device", machine.devices, "address"),
        ("guest", machine.guests, "name"),
        ("guest", machine.guests, "mac"),
    ):
        first: dict[object, int] = {}
        for index, item in enumerate(items):
            earlier = first.setdefault(getattr(item, key), index)
            if earlier != index:
                hint = f"give each {table} its own {key}, or remove one of the two"
                raise BadValueError(f"already the {key} of {table}[{earlier}]", hint, (table, index, key))


def _check_guest_devices(machine: Machine) -> None:
    """Guests get only devices of this machine, and of those that start by themselves no two get the same."""
    known = tuple(device.address for device in machine.devices)
    owner: dict[str, str] = {}
    for index, guest in enumerate(machine.guests):
        for place, address in enumerate(guest.devices):
            way = ("guest", index, "devices", place)
            if address not in known:
                hint = nearest(address, known) if known else "describe it in a [[device]] table"
                raise BadValueError("no [[device]] has this address", hint, way)
            if guest.autostart and owner.setdefault(address, guest.name) != guest.name:
                hint = "give it to one of them, or set autostart = false for all but one"
                raise BadValueError(f'guest "{owner[address]}" starts with this device already', hint, way)


def _check_memory(machine: Machine) -> None:
    """Each guest alone, and all that start by themselves together, leave the host its own share."""
    if machine.memory_mib is None:
        return
    free = machine.memory_mib - HOST_MEMORY_MIB
    used = 0
    for index, guest in enumerate(machine.guests):
        before = used if guest.autostart else 0
        if before + guest.memory_mib > free:
            what = f"does not fit: {free - before} of the host's {machine.memory_mib} MiB are left for it"
            hint = f"lower memory_mib of a guest; the host keeps {HOST_MEMORY_MIB} MiB for itself"
            raise BadValueError(what, hint, ("guest", index, "memory_mib"))
        used += guest.memory_mib if guest.autostart else 0


def _check_network(machine: Machine) -> None:
    net = machine.network
    if net.nic == net.bridge:
        raise BadValueError("is the bridge's name", "name the card that goes into it", ("network", "nic"))
    if net.address == "dhcp" and net.nic is None:
        raise BadValueError(
            "the bridge has no card to ask through", "set network.nic", ("network", "address")
        )
    if net.gateway is not None:
        _check_gateway(net.address, net.gateway)


def _check_gateway(address: str | None, gateway: str) -> None:
    way = ("network", "gateway")
    if address is None or address == "dhcp":
        raise BadValueError(
            "there is no fixed address to go with it", "set network.address to IPv4/prefix", way
        )
    interface = IPv4Interface(address)
    if IPv4Address(gateway) not in interface.network:
        raise BadValueError(f"is not inside {interface.network}", "give the router's address in it", way)
    if gateway == str(interface.ip):
        raise BadValueError("is the host's own address", "give the router's address", way)


def _check_command_line(machine: Machine) -> None:
    """The kernel cuts off what is too long and says nothing."""
    size = len(" ".join(kernel_words(machine, passthrough=True)))
    if size > MOST_COMMAND_LINE_BYTES:
        what = (
            f"{size} bytes of words, and the kernel takes {MOST_COMMAND_LINE_BYTES} besides the image's own"
        )
        hint = "shorten kernel.cmdline, iommu.extra or iommu.acs_override"
        raise BadValueError(what, hint, ("kernel", "cmdline"))


_RULES: tuple[Callable[[Machine], None], ...] = (
    _check_repeats,
    _check_guest_devices,
    _check_memory,
    _check_network,
    _check_command_line,
)


def _find_microcode(machine: Machine, folder: Path) -> Machine:
    """`machine` with the path of its microcode taken from `folder`, where there has to be such a file."""
    if machine.kernel.microcode is None:
        return machine
    path = folder / machine.kernel.microcode
    way = ("kernel", "microcode")
    try:
        if not path.is_file():
            hint = "give a path relative to this file, or leave the key out"
            raise BadValueError(f"there is no file {path}", hint, way)
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise BadValueError(f"cannot be read: {error.strerror}", "check the path", way) from None
    # Early microcode is an uncompressed cpio archive (Documentation/arch/x86/microcode.rst), newc or crc.
    if magic not in (b"070701", b"070702"):
        raise BadValueError(
            "not an uncompressed cpio archive", "give the early image, not the bare .bin", way
        )
    return replace(machine, kernel=replace(machine.kernel, microcode=path))


def _find_capture(machine: Machine, folder: Path) -> Machine:
    """`machine` with the path of its capture taken from `folder`, where there has to be such a file."""
    if machine.capture is None:
        return machine
    path = folder / machine.capture
    hint = "give a path relative to this file; hostwright-capture writes one on the machine"
    try:
        is_there = path.is_file()
    except OSError as error:
        raise BadValueError(f"cannot be read: {error.strerror}", hint, ("capture",)) from None
    if not is_there:
        raise BadValueError(f"there is no file {path}", hint, ("capture",))
    return replace(machine, capture=path)


def _find_scripts(machine: Machine, folder: Path) -> Machine:
    """`machine` with the paths of its guests' late commands taken from `folder`, where each has to be a file."""
    guests = tuple(_find_guest_scripts(guest, index, folder) for index, guest in enumerate(machine.guests))
    return replace(machine, guests=guests)


def _find_guest_scripts(guest: Guest, index: int, folder: Path) -> Guest:
    found = tuple(folder / script for script in guest.install.late_commands)
    for place, script in enumerate(found):
        if not script.is_file():
            way = ("guest", index, "install", "late_commands", place)
            raise BadValueError(f"there is no file {script}", "give a path relative to this file", way)
    return replace(guest, install=replace(guest.install, late_commands=found))


# The grammar.

_IOMMU = Section(
    Iommu,
    {
        "vendor": Field(one_of("intel", "amd"), 'vendor = "intel"', default="intel"),
        "acs_override": Field(values.acs_override, 'acs_override = ["downstream"]', default=[]),
        "extra": Field(sequence(values.extra_word), 'extra = ["intel_iommu=sm_on"]', default=[]),
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
        "cmdline": Field(sequence(values.cmdline_word), 'cmdline = ["quiet"]', default=[]),
        "options": Field(
            sequence(values.option, values.option_name), 'options = ["CONFIG_IGB=m"]', default=[]
        ),
        "modules": Field(sequence(values.module, values.module_name), 'modules = ["igb"]', default=[]),
        "microcode": Field(values.file_path, 'microcode = "intel-ucode.img"'),
    },
)
_ACCESS = Section(
    Access,
    {
        "ssh_keys": Field(
            sequence(values.ssh_key, values.ssh_key_data), 'ssh_keys = ["ssh-ed25519 AAAA..."]', default=[]
        ),
        "root_password_hash": Field(values.password_hash, 'root_password_hash = "$6$..."'),
    },
)
_NETWORK = Section(
    Network,
    {
        "bridge": Field(values.interface, 'bridge = "br0"', default="br0"),
        "nic": Field(values.card, 'nic = "eno1"'),
        "address": Field(values.host_address, 'address = "192.168.1.10/24"'),
        "gateway": Field(values.gateway, 'gateway = "192.168.1.1"'),
        "nameservers": Field(sequence(values.nameserver), 'nameservers = ["192.168.1.1"]', default=[]),
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
        "disk_gib": Field(integer(4, 1 << 16, "Debian needs 4 GiB"), "disk_gib = 20", default=8),
        "mac": Field(values.mac, 'mac = "52:54:00:12:34:56"', required=True),
        "devices": Field(sequence(values.address), 'devices = ["0000:82:00.0"]', default=[]),
        "autostart": Field(boolean, "autostart = false", default=True),
        "embed": Field(boolean, "embed = true", default=False),
        "install": Field(INSTALL, "a header [guest.install] in single brackets", default={}),
    },
)


# A guest as the host knows it.
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
        "network": Field(_NETWORK, "a header [network] in single brackets", default={}),
        "disk": Field(_DISK, "a header [disk] in single brackets", default={}),
        "guest": Field(sections(_GUEST), "a header [[guest]] in double brackets", default=[], into="guests"),
    },
)
