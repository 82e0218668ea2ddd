"""host.toml: the one machine to build, read and checked before any work starts.

    host.toml -> load -> Machine -> kconfig, rootfs, image, qemu, proof

`SCHEMA` at the end is the whole grammar, `_RULES` holds what concerns more than one key, and
docs/host.toml.md is the table of the same keys for a reader.
"""

import hashlib
import re
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, ip_address
from pathlib import Path

from hostwright.schema import (
    BadValueError,
    Field,
    Section,
    boolean,
    explain,
    integer,
    line,
    matching,
    nearest,
    one_of,
    parse,
    read,
    sections,
    sequence,
    text,
)

# The host's own share of its memory.
HOST_MEMORY_MIB = 512
# As many as the kernel patch keeps.
MOST_OVERRIDE_IDS = 64
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
    """The bridge, the card in it, and the bridge's `address`: IPv4/prefix, `dhcp` or None (no address)."""

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


@dataclass(frozen=True)
class Machine:
    """All that host.toml says. `memory_mib` is the memory of the host, None when it is not stated."""

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


def load(path: Path) -> Machine:
    """The machine that the file at `path` describes; raises UserError for anything that is wrong with it."""
    content = read(path)
    raw = parse(path, content)
    try:
        machine: Machine = SCHEMA(raw)
        for rule in _RULES:
            rule(machine)
        return _find_microcode(machine, path.parent)
    except BadValueError as error:
        raise explain(path, content, error) from None


def fingerprint(machine: Machine) -> str:
    """All that describes a machine, as text: equal for equal machines wherever their files lie."""
    microcode = machine.kernel.microcode
    digest = hashlib.sha256(microcode.read_bytes()).hexdigest() if microcode else ""
    return repr(replace(machine, kernel=replace(machine.kernel, microcode=None))) + digest


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


# Names.

_label = matching(
    r"[a-z0-9](?:[a-z0-9-]{0,29}[a-z0-9])?",
    "must be 1 to 31 of a-z, 0-9 and -, with no - at either end",
    "it names files and machines: write something like lab-1",
)


def _hostname(raw: object) -> str:
    """RFC 1123 section 2.1, within the 64 bytes that Linux keeps (HOST_NAME_MAX)."""
    name = text(raw)
    labels = name.split(".")
    good = all(re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in labels)
    if not good or len(name) > 64:
        hint = "use labels of a-z, 0-9 and - joined by dots, no - at an end of a label, 64 characters at most"
        raise BadValueError("not a host name (RFC 1123)", hint)
    if re.fullmatch(r"[0-9]+", labels[-1]):
        raise BadValueError(
            "looks like an address, not a host name", "let the last label have a letter in it"
        )
    return name


_AREAS = (
    *("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic"),
    *("Australia", "Etc", "Europe", "Indian", "Pacific"),
)


def _timezone(raw: object) -> str:
    zone = text(raw)
    if zone == "UTC":
        return zone
    if not re.fullmatch(r"[A-Za-z]+(?:/[A-Z][A-Za-z0-9_+-]*){1,2}", zone):
        raise BadValueError("not a time zone name", 'write "UTC" or Area/City as in "Europe/Berlin"')
    area = zone.partition("/")[0]
    if area not in _AREAS:
        raise BadValueError(f'there is no time zone area "{area}"', nearest(area, _AREAS))
    return zone


# PCI.

_ADDRESS_HINT = 'write it as lspci -D shows it, "0000:82:00.0" or "82:00.0"'


def _address(raw: object) -> str:
    match = re.fullmatch(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])", text(raw).lower())
    if not match:
        raise BadValueError("not a PCI address", _ADDRESS_HINT)
    domain, bus, device, function = match.groups()
    if int(device, 16) > 0x1F:
        raise BadValueError(f"device number {device} is above 1f", _ADDRESS_HINT)
    if int(function, 16) > 7:
        raise BadValueError(f"function number {function} is above 7", _ADDRESS_HINT)
    return f"{domain or '0000'}:{bus}:{device}.{function}"


def _device_id(raw: object) -> str:
    number = text(raw).lower()
    if not re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", number):
        raise BadValueError("not a PCI id", 'write vendor:device as lspci -nn shows it: "10de:1e37"')
    return number


_OVERRIDE_WORDS = ("downstream", "multifunction")


def _override_word(raw: object) -> str:
    word = text(raw)
    if word in _OVERRIDE_WORDS:
        return word
    if not word.lower().startswith("id:"):
        hint = nearest(word, (*_OVERRIDE_WORDS, "id:vvvv:dddd"))
        raise BadValueError("no such override word", f"{hint}; one word an entry")
    if not re.fullmatch(r"id:[0-9a-f]{4}:[0-9a-f]{4}", word.lower()):
        raise BadValueError("not id:vvvv:dddd", 'write four hexadecimal digits each: "id:10de:1e37"')
    return word.lower()


def _acs_override(raw: object) -> tuple[str, ...]:
    words: tuple[str, ...] = sequence(_override_word)(raw)
    count = sum(word.startswith("id:") for word in words)
    if count > MOST_OVERRIDE_IDS:
        hint = f"the kernel keeps {MOST_OVERRIDE_IDS}: use downstream or multifunction instead"
        raise BadValueError(f"{count} ids are too many", hint)
    return words


# The kernel.

# Words that something else decides, by their beginning (after = or .) or as a whole, and what decides them.
_DECIDED_ELSEWHERE = {
    "root=": "leave it out: the image sets it from its own root partition",
    "ro": "leave it out: the image sets it",
    "rw": "leave it out: the image mounts its root itself",
    "initrd=": "set kernel.microcode; there is no other initrd",
    "iommu=": "leave it out: iommu=pt is set wherever devices are passed through",
    "intel_iommu=": "set iommu.vendor; its further settings go into iommu.extra",
    "amd_iommu=": "set iommu.vendor; its further settings go into iommu.extra",
    "pcie_acs_override=": "set iommu.acs_override",
    "vfio_pci.ids=": "name the device by address in a [[device]] table: an id takes every match",
    "hostwright.": "leave it out: the boot entries set it",
    "--": "leave it out: it would end the kernel's words",
}


def _kernel_word(raw: object) -> str:
    word = text(raw)
    # GRUB puts a backslash before quotes and backslashes on the way to the kernel (grub-core/lib/cmdline.c).
    if not re.fullmatch(r"[!-~]+", word) or re.search(r"[\\\"']", word):
        hint = "one word an entry: printable ASCII without spaces, quotes and backslashes"
        raise BadValueError("not a kernel command line word", hint)
    return word


def _cmdline_word(raw: object) -> str:
    word = _kernel_word(raw)
    name, equals, _ = word.partition("=")
    # The kernel takes - and _ in a parameter's name as equal (kernel/params.c parameqn()).
    plain = name if name == "--" else name.replace("-", "_") + equals
    for decided, hint in _DECIDED_ELSEWHERE.items():
        if plain == decided or (decided.endswith(".") and plain.startswith(decided)):
            raise BadValueError("not to be set here", hint)
    return word


def _extra_word(raw: object) -> str:
    word = _kernel_word(raw)
    name, _, values = word.partition("=")
    if name not in ("intel_iommu", "amd_iommu"):
        return _cmdline_word(word)
    if {"on", "off"} & set(values.split(",")):
        raise BadValueError("not to be set here", "set iommu.vendor: it turns the IOMMU on")
    return word


def _option(raw: object) -> str:
    setting = text(raw)
    value = r'[ymn]|-?[0-9]+|0x[0-9a-fA-F]+|"[ !#-\[\]-~]*"'
    if not re.fullmatch(rf"CONFIG_[A-Za-z0-9_]+=(?:{value})", setting):
        hint = 'write CONFIG_NAME=y, =m, =n, a number or a "string", with no space around ='
        raise BadValueError("not a kernel option", hint)
    return setting


def _option_name(setting: str) -> str:
    return setting.partition("=")[0]


_module = matching(
    r"[A-Za-z0-9_-]+(?: [!-~]+)*",
    "not a module name",
    'write the name, then its options if any: "kvm_intel nested=1"',
)


def _module_name(entry: str) -> str:
    return entry.partition(" ")[0].replace("-", "_")


def _microcode(raw: object) -> Path:
    return Path(line(raw))


# Access.

_KEY_TYPES = (
    *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
_KEY_HINT = "paste the one line of a .pub file, such as ~/.ssh/id_ed25519.pub"


def _ssh_key(raw: object) -> str:
    """A line of authorized_keys, without options. Its data begins with its type (RFC 4253 section 6.6)."""
    if "PRIVATE KEY" in text(raw):
        raise BadValueError("this is a private key", f"take it out of this file; {_KEY_HINT}", secret=True)
    key = line(raw)
    kind, _, rest = key.partition(" ")
    if kind not in _KEY_TYPES:
        raise BadValueError("does not start with a key type", f"{_KEY_HINT}; {nearest(kind, _KEY_TYPES)}")
    try:
        data = a2b_base64(rest.partition(" ")[0], strict_mode=True)
    except ValueError:
        raise BadValueError("the base64 of the key is damaged", _KEY_HINT) from None
    start = len(kind).to_bytes(4, "big") + kind.encode()
    if not data.startswith(start) or len(data) < len(start) + 32:
        raise BadValueError(f"the data is not that of a whole {kind} key", _KEY_HINT)
    return key


def _ssh_key_data(key: str) -> str:
    return key.split(" ")[1]


# crypt(5): yescrypt and gost-yescrypt, bcrypt, sha512crypt, sha256crypt.
_HASH = (
    r"\$g?y\$[./0-9A-Za-z]+\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}"
    r"|\$2[aby]\$[0-9]{2}\$[./0-9A-Za-z]{53}"
    r"|\$6\$(?:rounds=[0-9]{4,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}"
    r"|\$5\$(?:rounds=[0-9]{4,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43}"
)


def _password_hash(raw: object) -> str:
    if not re.fullmatch(_HASH, text(raw)):
        hint = "make one with `openssl passwd -6`; leave the key out to lock the password"
        raise BadValueError("not a crypt hash ($y$, $6$, $5$ or $2b$)", hint, secret=True)
    return text(raw)


# Network.


def _interface(raw: object) -> str:
    """A name that the kernel takes (net/core/dev.c dev_valid_name()) and no file name or sysctl misreads."""
    name = text(raw)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", name) or name in ("lo", "all", "default"):
        hint = "at most 15 of letters, digits, . _ and -; not lo, all or default"
        raise BadValueError("not a network interface name", hint)
    return name


_HOST_ADDRESS_HINT = 'write "dhcp" or IPv4/prefix as in "192.168.1.10/24"'


def _host_address(raw: object) -> str:
    given = text(raw)
    if given == "dhcp":
        return given
    try:
        interface = IPv4Interface(given)
    except ValueError:
        raise BadValueError("not an IPv4 address with its prefix", _HOST_ADDRESS_HINT) from None
    if "/" not in given:
        raise BadValueError("the prefix length is missing", _HOST_ADDRESS_HINT)
    ip, net = interface.ip, interface.network
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip.is_reserved:
        raise BadValueError("not an address that a host can have", _HOST_ADDRESS_HINT)
    if net.prefixlen < 31 and ip in (net.network_address, net.broadcast_address):
        raise BadValueError(f"is the network's own or its broadcast address in {net}", _HOST_ADDRESS_HINT)
    return interface.with_prefixlen


def _gateway(raw: object) -> str:
    try:
        return str(IPv4Address(text(raw)))
    except ValueError:
        raise BadValueError("not an IPv4 address", 'write the router\'s address: "192.168.1.1"') from None


def _nameserver(raw: object) -> str:
    try:
        return str(ip_address(text(raw)))
    except ValueError:
        raise BadValueError("not an IP address", 'write an address, not a name: "192.168.1.1"') from None


def _mac(raw: object) -> str:
    """A unicast address with the locally administered bit (IEEE 802 section 8.2), in lower case."""
    mac = text(raw).lower()
    if not re.fullmatch(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", mac):
        raise BadValueError("not a MAC address", 'write six pairs of digits: "52:54:00:12:34:56"')
    hint = f'for example: mac = "52:54:00{mac[8:]}"'
    if int(mac[:2], 16) & 1:
        raise BadValueError("is a multicast address, which no card can have", hint)
    if not int(mac[:2], 16) & 2:
        raise BadValueError("is not locally administered: it may belong to a real card", hint)
    return mac


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


# The grammar.

_IOMMU = Section(
    Iommu,
    {
        "vendor": Field(one_of("intel", "amd"), 'vendor = "intel"', default="intel"),
        "acs_override": Field(_acs_override, 'acs_override = ["downstream"]', default=[]),
        "extra": Field(sequence(_extra_word), 'extra = ["intel_iommu=sm_on"]', default=[]),
    },
)
_DEVICE = Section(
    Device,
    {
        "address": Field(_address, 'address = "0000:82:00.0"', required=True),
        "id": Field(_device_id, 'id = "10de:1e37"'),
        "label": Field(line, 'label = "Tesla T10"', default="PCI device"),
    },
)
_KERNEL = Section(
    KernelChoice,
    {
        "cmdline": Field(sequence(_cmdline_word), 'cmdline = ["quiet"]', default=[]),
        "options": Field(sequence(_option, _option_name), 'options = ["CONFIG_IGB=m"]', default=[]),
        "modules": Field(sequence(_module, _module_name), 'modules = ["igb"]', default=[]),
        "microcode": Field(_microcode, 'microcode = "intel-ucode.img"'),
    },
)
_ACCESS = Section(
    Access,
    {
        "ssh_keys": Field(
            sequence(_ssh_key, _ssh_key_data), 'ssh_keys = ["ssh-ed25519 AAAA..."]', default=[]
        ),
        "root_password_hash": Field(_password_hash, 'root_password_hash = "$6$..."'),
    },
)
_NETWORK = Section(
    Network,
    {
        "bridge": Field(_interface, 'bridge = "br0"', default="br0"),
        "nic": Field(_interface, 'nic = "eth0"'),
        "address": Field(_host_address, 'address = "192.168.1.10/24"'),
        "gateway": Field(_gateway, 'gateway = "192.168.1.1"'),
        "nameservers": Field(sequence(_nameserver), 'nameservers = ["192.168.1.1"]', default=[]),
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
        "name": Field(_label, 'name = "debian"', required=True),
        "memory_mib": Field(integer(256, 1 << 26), "memory_mib = 4096", required=True),
        "vcpus": Field(integer(1, 255), "vcpus = 2", default=1),
        "disk_gib": Field(integer(4, 1 << 16, "Debian needs 4 GiB"), "disk_gib = 20", default=8),
        "mac": Field(_mac, 'mac = "52:54:00:12:34:56"', required=True),
        "devices": Field(sequence(_address), 'devices = ["0000:82:00.0"]', default=[]),
        "autostart": Field(boolean, "autostart = false", default=True),
    },
)


def _machine(*, name: str, hostname: str | None, **rest: object) -> Machine:
    return Machine(name=name, hostname=hostname or name, **rest)  # type: ignore[arg-type]


SCHEMA = Section(
    _machine,
    {
        "name": Field(_label, 'name = "lab"', required=True),
        "hostname": Field(_hostname, 'hostname = "lab.example.org"'),
        "timezone": Field(_timezone, 'timezone = "Europe/Berlin"', default="UTC"),
        "memory_mib": Field(integer(1024, 1 << 26), "memory_mib = 65536"),
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
