"""host.toml: the one machine to build, read and checked before any work starts.

    host.toml -> load -> Machine -> kconfig, rootfs, image, qemu, proof

`SCHEMA` is the whole grammar: every key with its check, its default and an example. A check takes the value as
TOML gives it, returns the value as the engine wants it, or raises `_Flaw`; `load` adds file, line, key and value.
What concerns more than one key stands in `_RULES`. docs/host.toml.md is the reader's table of the same keys.
"""

import base64
import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hostwright.errors import UserError

# Sizes: the host's own share of memory beside its guests, the most override ids our kernel patch keeps, and
# what is left of the kernel's COMMAND_LINE_SIZE (2048 on x86) after root=, the consoles and GRUB's $extra.
HOST_MEMORY_MIB = 512
MOST_OVERRIDE_IDS = 64
MOST_COMMAND_LINE_BYTES = 1700
LARGEST_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Iommu:
    """`acs_override` are the words of pcie_acs_override=; `extra` are kernel words for passthrough boots only."""

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
    """`options` are lines of .config, `modules` lines of /etc/modules, `cmdline` words for every boot entry."""

    cmdline: tuple[str, ...]
    options: tuple[str, ...]
    modules: tuple[str, ...]
    microcode: Path | None


@dataclass(frozen=True)
class Access:
    """Who may log in as root: lines of authorized_keys and a crypt(5) hash; without a hash the password is locked."""

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
    text = _read(path)
    raw = _parse(path, text)
    try:
        machine: Machine = SCHEMA(raw)
        for rule in _RULES:
            rule(machine)
        return _find_microcode(machine, path.parent)
    except _Flaw as flaw:
        raise UserError(_describe(path, text, raw, flaw), flaw.hint) from None


def kernel_words(machine: Machine, passthrough: bool) -> tuple[str, ...]:
    """The kernel's command line as host.toml decides it; without `passthrough` only `kernel.cmdline` is left.

    An AMD IOMMU gets no word of its own: it is on by default and amd_iommu= knows no `on`
    (Documentation/admin-guide/kernel-parameters.txt). root=, the consoles and hostwright.* belong to grub.cfg.
    """
    if not passthrough:
        return machine.kernel.cmdline
    iommu = machine.iommu
    vendor = ("intel_iommu=on",) if iommu.vendor == "intel" else ()
    override = (f"pcie_acs_override={','.join(iommu.acs_override)}",) if iommu.acs_override else ()
    return ("iommu=pt", *vendor, *override, *iommu.extra, *machine.kernel.cmdline)


# Reading the file and telling what is wrong with it.


class _Flaw(Exception):
    """What is wrong with a value, where below the value that was checked, and what to do about it.

    A `secret` value is not repeated in the message: what stands where a hash belongs may be a password.
    """

    def __init__(self, what: str, hint: str = "", at: tuple[str | int, ...] = (), secret: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.at = at
        self.secret = secret

    def below(self, key: str | int) -> "_Flaw":
        """The same flaw as seen from one level up."""
        return _Flaw(self.what, self.hint, (key, *self.at), self.secret)


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise UserError(f"{path}: this machine file {what}", _offer_machines(path))
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise UserError(f"{path}: larger than 1 MiB, so not a machine file", "give the path of a host.toml")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        bad = error.object[error.start]
        raise UserError(f"{path}:{line}: not UTF-8 (byte 0x{bad:02x})", "save the file as UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}", "check the path and its permissions") from None


def _offer_machines(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    found = sorted(str(each) for each in folder.glob("*.toml")) if folder.is_dir() else []
    return f"there is {', '.join(found)}" if found else "give the path of a host.toml, for example machine=host.toml"


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply", "host.toml needs no more than a list in a table") from None
    except ValueError as error:
        reason, _, place = str(error).partition(" (at ")
        numbers = re.findall(r"[0-9]+", place) or ([str(text.count("\n") + 1)] if place else [])
        where = ":".join((str(path), *numbers))
        hint = "correct the TOML at that place: text in double quotes, one `key = value` a line"
        raise UserError(f"{where}: not valid TOML: {reason}", hint) from None


def _describe(path: Path, text: str, raw: dict[str, object], flaw: _Flaw) -> str:
    line = _find_line(text, flaw.at)
    where = f"{path}:{line}" if line else str(path)
    value = _value_at(raw, flaw.at)
    shown = "" if flaw.secret or value is None or isinstance(value, dict) else f" = {_as_toml(value)}"
    return f"{where}: {_key_name(flaw.at)}{shown}: {flaw.what}"


def _key_name(at: tuple[str | int, ...]) -> str:
    """`device[1].address` for ("device", 1, "address")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).removeprefix(".")


def _value_at(raw: object, at: tuple[str | int, ...]) -> object:
    for part in at:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            return None
    return raw


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value)
        text = '"' + escaped + '"'
    else:
        text = _shorten_number(value) if isinstance(value, int) else str(value)
    return text if len(text) <= 100 else f"{text[:80]}...{text[-10:]}"


def _shorten_number(value: int) -> str:
    # Python refuses to print a number of more than 4300 digits, and tomllib reads any hexadecimal one.
    return str(value) if abs(value) < 1 << 128 else f"a number of {value.bit_length()} bits"


_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]")
_ASSIGNMENT = re.compile(r"\s*([\w.\"' -]+?)\s*=")


def _find_line(text: str, at: tuple[str | int, ...]) -> int:
    """The number of the line that names the longest part of the path `at`; 0 when none does.

    It reads headers and assignments only. That can miss a key of an inline table, and then names its table.
    """
    best, length = 0, 0
    here: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            here = place = _key_parts(header[2])
            if header[1] == "[[":
                counts[place] = counts.get(place, -1) + 1
                here = place = (*place, counts[place])
        elif assignment := _ASSIGNMENT.match(line):
            place = (*here, *_key_parts(assignment[1]))
        else:
            continue
        if len(place) > length and place == at[: len(place)]:
            best, length = number, len(place)
    return best


def _key_parts(dotted: str) -> tuple[str | int, ...]:
    return tuple(part.strip(" \t\"'") for part in dotted.split("."))


def _nearest(word: str, known: tuple[str, ...]) -> str:
    """A hint that names the known word nearest to `word`, and all of them."""
    near = difflib.get_close_matches(word[:100].lower(), known, n=1, cutoff=0.5)
    question = f'did you mean "{near[0]}"? ' if near else ""
    return f"{question}known here: {', '.join(known)}"


# The grammar of the grammar.


@dataclass(frozen=True)
class Field:
    """One key: its check, an example line, the value that counts when it is left out, and its name in Python.

    `default` is a value as TOML gives it and is checked like one; None stays None.
    """

    check: Callable[[object], object]
    example: str
    required: bool = False
    default: object = None
    into: str = ""


@dataclass(frozen=True)
class Section:
    """A check for a table: every key known, every required key there, every value good; gives `build(**values)`."""

    build: Callable[..., Any]
    fields: Mapping[str, Field]

    def __call__(self, raw: object) -> Any:  # noqa: ANN401 - what `build` gives
        if not isinstance(raw, dict):
            raise _Flaw(f"must be one table, not {_kind(raw)}")
        for key in raw:
            if key not in self.fields:
                raise _Flaw("unknown key", _nearest(key, tuple(self.fields)), (key,))
        return self.build(**{field.into or key: _checked(key, field, raw) for key, field in self.fields.items()})


def _checked(key: str, field: Field, raw: dict[str, object]) -> object:
    if key not in raw and field.required:
        raise _Flaw("missing", f"add a line such as: {field.example}", (key,))
    value = raw.get(key, field.default)
    if value is None:
        return None
    try:
        return field.check(value)
    except _Flaw as flaw:
        flaw.hint = flaw.hint or f"for example: {field.example}"
        raise flaw.below(key) from None


def _sequence(check: Callable[[object], Any], identity: Callable[[Any], object] = lambda item: item) -> Callable[
    [object], tuple[Any, ...]
]:
    """A check for a list of things that `check` accepts, no two of the same `identity`."""

    def check_all(raw: object) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            raise _Flaw(f"must be a list, not {_kind(raw)}")
        first: dict[object, int] = {}
        items = []
        for index, each in enumerate(raw):
            try:
                item = check(each)
            except _Flaw as flaw:
                raise flaw.below(index) from None
            if first.setdefault(identity(item), index) != index:
                earlier = first[identity(item)]
                raise _Flaw(f"repeats entry [{earlier}]", "name each once; remove one of the two", (index,))
            items.append(item)
        return tuple(items)

    return check_all


def _sections(section: Section) -> Callable[[object], tuple[Any, ...]]:
    """A check for an array of tables. Equal tables are left to `_RULES`, which name the key that must differ."""
    return _sequence(section, identity=id)


_KINDS = {bool: "true or false", int: "a number", float: "a number with a fraction", str: "text", list: "a list",
          dict: "a table"}  # fmt: skip


def _kind(raw: object) -> str:
    return _KINDS.get(type(raw), "a date or time")


# Checks of single values.


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise _Flaw(f"must be text in quotes, not {_kind(raw)}")
    if not raw:
        raise _Flaw("must not be empty")
    return raw


def _line(raw: object) -> str:
    text = _text(raw)
    if not text.isprintable():
        raise _Flaw("has a line break or a control character in it", "keep it to one line of plain text")
    return text


def _matching(pattern: str, what: str, hint: str = "") -> Callable[[object], str]:
    """A check for text that matches `pattern` as a whole; `what` says the rule it breaks otherwise."""
    compiled = re.compile(pattern)

    def check(raw: object) -> str:
        text = _text(raw)
        if not compiled.fullmatch(text):
            raise _Flaw(what, hint)
        return text

    return check


def _integer(least: int, most: int, why: str = "") -> Callable[[object], int]:
    def check(raw: object) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise _Flaw(f"must be a whole number, not {_kind(raw)}")
        if not least <= raw <= most:
            reason = f" ({why})" if why else ""
            raise _Flaw(f"out of range{reason}", f"write a whole number from {least} to {most}")
        return raw

    return check


def _boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise _Flaw(f"must be true or false, not {_kind(raw)}", "write true or false, without quotes")
    return raw


def _one_of(*known: str) -> Callable[[object], str]:
    def check(raw: object) -> str:
        text = _text(raw)
        if text not in known:
            raise _Flaw("no such choice", _nearest(text, known))
        return text

    return check


_label = _matching(
    r"[a-z0-9](?:[a-z0-9-]{0,29}[a-z0-9])?",
    "must be 1 to 31 of a-z, 0-9 and -, with no - at either end",
    "it names files and machines: write something like lab-1",
)


def _hostname(raw: object) -> str:
    """RFC 1123 section 2.1, within the 64 bytes that Linux keeps (HOST_NAME_MAX)."""
    text = _text(raw)
    labels = text.split(".")
    good = all(re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in labels)
    if not good or len(text) > 64:
        hint = "use labels of a-z, 0-9 and - joined by dots, no - at an end of a label, 64 characters at most"
        raise _Flaw("not a host name (RFC 1123)", hint)
    if re.fullmatch(r"[0-9]+", labels[-1]):
        raise _Flaw("looks like an address, not like a host name", "let the last label have a letter in it")
    return text


_AREAS = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Etc", "Europe", "Indian",
          "Pacific")  # fmt: skip


def _timezone(raw: object) -> str:
    text = _text(raw)
    if text == "UTC":
        return text
    if not re.fullmatch(r"[A-Za-z]+(?:/[A-Z][A-Za-z0-9_+-]*){1,2}", text):
        raise _Flaw("not a time zone name", 'write "UTC" or Area/City as in "Europe/Berlin"')
    area = text.partition("/")[0]
    if area not in _AREAS:
        raise _Flaw(f'there is no time zone area "{area}"', _nearest(area, _AREAS))
    return text


_DEVICE_HINT = 'write it as lspci -D shows it, "0000:82:00.0" or "82:00.0"'


def _address(raw: object) -> str:
    match = re.fullmatch(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])", _text(raw).lower())
    if not match:
        raise _Flaw("not a PCI address", _DEVICE_HINT)
    domain, bus, device, function = match.groups()
    if int(device, 16) > 0x1F:
        raise _Flaw(f"device number {device} is above 1f", _DEVICE_HINT)
    if int(function, 16) > 7:
        raise _Flaw(f"function number {function} is above 7", _DEVICE_HINT)
    return f"{domain or '0000'}:{bus}:{device}.{function}"


def _device_id(raw: object) -> str:
    text = _text(raw).lower()
    if not re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", text):
        raise _Flaw("not a PCI id", 'write vendor:device as lspci -nn shows it, for example "10de:1e37"')
    return text


_OVERRIDE_WORDS = ("downstream", "multifunction")


def _override_word(raw: object) -> str:
    text = _text(raw)
    if text in _OVERRIDE_WORDS:
        return text
    if text.lower().startswith("id:"):
        if not re.fullmatch(r"id:[0-9a-f]{4}:[0-9a-f]{4}", text.lower()):
            raise _Flaw("not id:vvvv:dddd", 'write four hexadecimal digits each, for example "id:10de:1e37"')
        return text.lower()
    raise _Flaw("no such override word", f"{_nearest(text, (*_OVERRIDE_WORDS, 'id:vvvv:dddd'))}; one word an entry")


def _acs_override(raw: object) -> tuple[str, ...]:
    words = _sequence(_override_word)(raw)
    ids = [word for word in words if word.startswith("id:")]
    if len(ids) > MOST_OVERRIDE_IDS:
        hint = f"the kernel keeps {MOST_OVERRIDE_IDS}; use downstream or multifunction instead"
        raise _Flaw(f"{len(ids)} ids are too many", hint)
    return words


# Words that something else decides, by their beginning (or the whole word), and what decides them.
_DECIDED_ELSEWHERE = {
    "root=": "leave it out: the image sets it from its own root partition",
    "ro": "leave it out: the image sets it",
    "rw": "leave it out: the image mounts its root itself",
    "initrd=": "set kernel.microcode; there is no other initrd",
    "iommu=": "leave it out: iommu=pt is set wherever devices are passed through",
    "intel_iommu=": 'set iommu.vendor; further settings of it go into iommu.extra',
    "amd_iommu=": 'set iommu.vendor; further settings of it go into iommu.extra',
    "pcie_acs_override=": "set iommu.acs_override",
    "vfio-pci.ids=": "name the device by address in a [[device]] table: an id would take every match",
    "hostwright.": "leave it out: the boot entries set it",
    "--": "leave it out: it would end the kernel's words",
}


def _kernel_word(raw: object) -> str:
    word = _text(raw)
    # GRUB puts a backslash before these three on its way to the kernel (grub-core/lib/cmdline.c).
    if not re.fullmatch(r"[!-~]+", word) or re.search(r"[\\\"']", word):
        hint = "one word an entry: printable ASCII without spaces, quotes and backslashes"
        raise _Flaw("not a kernel command line word", hint)
    return word


def _cmdline_word(raw: object) -> str:
    word = _kernel_word(raw)
    # The kernel reads - and _ in a parameter's name as the same.
    name = word.replace("vfio_pci", "vfio-pci", 1)
    for start, hint in _DECIDED_ELSEWHERE.items():
        if name == start or (start[-1] in "=." and name.startswith(start)):
            raise _Flaw("not to be set here", hint)
    return word


def _extra_word(raw: object) -> str:
    word = _kernel_word(raw)
    name, _, values = word.partition("=")
    if name not in ("intel_iommu", "amd_iommu"):
        return _cmdline_word(word)
    if {"on", "off"} & set(values.split(",")):
        raise _Flaw("not to be set here", "set iommu.vendor: it turns the IOMMU on, and nothing may turn it off")
    return word


def _option(raw: object) -> str:
    line = _text(raw)
    if re.fullmatch(r"CONFIG_\w+=(?:[ymn]|-?[0-9]+|0x[0-9a-fA-F]+|\"[^\"\\]*\")", line, re.ASCII) and line.isprintable():
        return line
    raise _Flaw("not a kernel option", 'write CONFIG_NAME=y, =m, =n, a number or a "string", without spaces around =')


_MODULE = re.compile(r"[A-Za-z0-9_-]+(?: [!-~]+)*")


def _module(raw: object) -> str:
    line = _text(raw)
    if not _MODULE.fullmatch(line):
        raise _Flaw("not a module name", 'write the name, then its options if any: "kvm_intel nested=1"')
    return line


def _module_name(line: str) -> str:
    return line.split()[0].replace("-", "_")


_KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
              "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")  # fmt: skip
_KEY_HINT = "paste the one line of a .pub file, such as ~/.ssh/id_ed25519.pub"


def _ssh_key(raw: object) -> str:
    """A line of authorized_keys without options. The blob starts with its own type's name (RFC 4253 section 6.6)."""
    if isinstance(raw, str) and "PRIVATE KEY" in raw:
        raise _Flaw("this is a private key", f"take it out of this file at once; {_KEY_HINT}", secret=True)
    line = _line(raw)
    kind, _, rest = line.partition(" ")
    if kind not in _KEY_TYPES:
        raise _Flaw("does not start with a known key type", f"{_KEY_HINT}; {_nearest(kind, _KEY_TYPES)}")
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except ValueError:
        raise _Flaw("the key's base64 is damaged", _KEY_HINT) from None
    named = len(kind).to_bytes(4, "big") + kind.encode()
    if not blob.startswith(named) or len(blob) < len(named) + 32:
        raise _Flaw(f"the key's data is not a whole {kind} key", _KEY_HINT)
    return line


# crypt(5): yescrypt, gost-yescrypt, bcrypt, sha512crypt, sha256crypt.
_HASH = re.compile(
    r"\$g?y\$[./0-9A-Za-z]+\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}"
    r"|\$2[aby]\$[0-9]{2}\$[./0-9A-Za-z]{53}"
    r"|\$6\$(?:rounds=[0-9]{4,9}\$)?[^$:\s!*]{1,16}\$[./0-9A-Za-z]{86}"
    r"|\$5\$(?:rounds=[0-9]{4,9}\$)?[^$:\s!*]{1,16}\$[./0-9A-Za-z]{43}"
)


def _password_hash(raw: object) -> str:
    if not isinstance(raw, str) or not _HASH.fullmatch(raw) or not raw.isprintable():
        hint = "make one with `openssl passwd -6`; leave the key out to lock the password"
        raise _Flaw("not a crypt hash ($y$, $6$, $5$ or $2b$)", hint, secret=True)
    return raw


_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")


def _interface(raw: object) -> str:
    """A network interface's name, as net/core/dev.c dev_valid_name() takes it and no file or sysctl misreads it."""
    text = _text(raw)
    if not _INTERFACE.fullmatch(text) or text in ("lo", "all", "default"):
        hint = "at most 15 of letters, digits, . _ and -; not lo, all or default"
        raise _Flaw("not a network interface name", hint)
    return text


def _host_address(raw: object) -> str:
    text = _text(raw)
    if text == "dhcp":
        return text
    from ipaddress import IPv4Interface  # here because it doubles the time to import this module

    hint = 'write "dhcp" or IPv4/prefix as in "192.168.1.10/24"'
    try:
        interface = IPv4Interface(text)
    except ValueError:
        raise _Flaw("not an IPv4 address with its prefix", hint) from None
    if "/" not in text:
        raise _Flaw("the prefix length is missing", hint)
    if interface.ip.is_multicast or interface.ip.is_unspecified or interface.ip.is_loopback:
        raise _Flaw("not an address that a host can have", hint)
    net = interface.network
    if net.prefixlen < 31 and interface.ip in (net.network_address, net.broadcast_address):
        raise _Flaw(f"is the network's own or its broadcast address in {net}", hint)
    return interface.with_prefixlen


def _gateway(raw: object) -> str:
    from ipaddress import IPv4Address

    try:
        return str(IPv4Address(_text(raw)))
    except ValueError:
        raise _Flaw("not an IPv4 address", 'write the router\'s address, for example "192.168.1.1"') from None


def _nameserver(raw: object) -> str:
    from ipaddress import ip_address

    try:
        return str(ip_address(_text(raw)))
    except ValueError:
        raise _Flaw("not an IP address", 'write an address, not a name, for example "192.168.1.1"') from None


def _mac(raw: object) -> str:
    text = _text(raw).lower()
    if not re.fullmatch(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", text):
        raise _Flaw("not a MAC address", 'write six pairs of hexadecimal digits, for example "52:54:00:12:34:56"')
    first = int(text[:2], 16)
    if first & 1:
        raise _Flaw("is a multicast address, which no card can have", f'for example: mac = "52:54:00{text[8:]}"')
    if not first & 2:
        what = "is not locally administered: it may belong to a real card"
        raise _Flaw(what, f'for example: mac = "52:54:00{text[8:]}"')
    return text


def _path(raw: object) -> Path:
    return Path(_line(raw))


SCHEMA = Section(
    Machine,
    {
        "name": Field(_label, 'name = "lab"', required=True),
        "hostname": Field(_hostname, 'hostname = "lab"'),
        "timezone": Field(_timezone, 'timezone = "Europe/Berlin"', default="UTC"),
        "memory_mib": Field(_integer(1024, 1 << 26), "memory_mib = 65536"),
        "iommu": Field(
            Section(
                Iommu,
                {
                    "vendor": Field(_one_of("intel", "amd"), 'vendor = "intel"', default="intel"),
                    "acs_override": Field(_acs_override, 'acs_override = ["downstream"]', default=[]),
                    "extra": Field(_sequence(_extra_word), 'extra = ["intel_iommu=sm_on"]', default=[]),
                },
            ),
            "[iommu]",
            default={},
        ),
        "device": Field(
            _sections(
                Section(
                    Device,
                    {
                        "address": Field(_address, 'address = "0000:82:00.0"', required=True),
                        "id": Field(_device_id, 'id = "10de:1e37"'),
                        "label": Field(_line, 'label = "Tesla T10"', default="PCI device"),
                    },
                )
            ),
            "[[device]], in double brackets, then its keys",
            default=[],
            into="devices",
        ),
        "kernel": Field(
            Section(
                KernelChoice,
                {
                    "cmdline": Field(_sequence(_cmdline_word), 'cmdline = ["quiet"]', default=[]),
                    "options": Field(
                        _sequence(_option, lambda line: line.partition("=")[0]),
                        'options = ["CONFIG_IGB=m"]',
                        default=[],
                    ),
                    "modules": Field(_sequence(_module, _module_name), 'modules = ["igb"]', default=[]),
                    "microcode": Field(_path, 'microcode = "intel-ucode.img"'),
                },
            ),
            "[kernel]",
            default={},
        ),
        "access": Field(
            Section(
                Access,
                {
                    "ssh_keys": Field(
                        _sequence(_ssh_key, lambda line: line.split(" ")[1]),
                        'ssh_keys = ["ssh-ed25519 AAAA... me@desk"]',
                        default=[],
                    ),
                    "root_password_hash": Field(_password_hash, 'root_password_hash = "$6$..."'),
                },
            ),
            "[access]",
            default={},
        ),
        "network": Field(
            Section(
                Network,
                {
                    "bridge": Field(_interface, 'bridge = "br0"', default="br0"),
                    "nic": Field(_interface, 'nic = "eth0"'),
                    "address": Field(_host_address, 'address = "192.168.1.10/24"'),
                    "gateway": Field(_gateway, 'gateway = "192.168.1.1"'),
                    "nameservers": Field(_sequence(_nameserver), 'nameservers = ["192.168.1.1"]', default=[]),
                },
            ),
            "[network]",
            default={},
        ),
        "disk": Field(
            Section(
                Disk,
                {
                    "root_mib": Field(
                        _integer(256, 1 << 20, "the host alone needs 256 MiB"), "root_mib = 1024", default=1024
                    ),
                    "esp_mib": Field(
                        _integer(34, 4096, "FAT32 starts at 65,525 clusters, 34 MiB"), "esp_mib = 64", default=64
                    ),
                },
            ),
            "[disk]",
            default={},
        ),
        "guest": Field(
            _sections(
                Section(
                    Guest,
                    {
                        "name": Field(_label, 'name = "debian"', required=True),
                        "memory_mib": Field(_integer(256, 1 << 26), "memory_mib = 4096", required=True),
                        "vcpus": Field(_integer(1, 255), "vcpus = 2", default=1),
                        "disk_gib": Field(
                            _integer(4, 1 << 16, "Debian does not fit into less than 4 GiB"), "disk_gib = 20", default=8
                        ),
                        "mac": Field(_mac, 'mac = "52:54:00:12:34:56"', required=True),
                        "devices": Field(_sequence(_address), 'devices = ["0000:82:00.0"]', default=[]),
                        "autostart": Field(_boolean, "autostart = false", default=True),
                    },
                )
            ),
            "[[guest]], in double brackets, then its keys",
            default=[],
            into="guests",
        ),
    },
)


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
                raise _Flaw(f"already the {key} of {table}[{earlier}]", hint, (table, index, key))


def _check_guest_devices(machine: Machine) -> None:
    """A guest gets only devices of this machine, and of two guests that start by themselves only one gets a device."""
    known = tuple(device.address for device in machine.devices)
    owner: dict[str, str] = {}
    for index, guest in enumerate(machine.guests):
        for place, address in enumerate(guest.devices):
            at = ("guest", index, "devices", place)
            if address not in known:
                raise _Flaw("no [[device]] has this address", _nearest(address, known or ("none",)), at)
            if guest.autostart and owner.setdefault(address, guest.name) != guest.name:
                hint = "give it to one of them, or set autostart = false for all but one"
                raise _Flaw(f'guest "{owner[address]}" starts with this device already', hint, at)


def _check_memory(machine: Machine) -> None:
    """Each guest alone, and all that start by themselves together, leave the host its own share."""
    if machine.memory_mib is None:
        return
    free = machine.memory_mib - HOST_MEMORY_MIB
    used = 0
    for index, guest in enumerate(machine.guests):
        others = used if guest.autostart else 0
        if others + guest.memory_mib > free:
            what = f"with {others} MiB of the guests before it more than the {free} MiB that are free"
            hint = f"the host has {machine.memory_mib} MiB and keeps {HOST_MEMORY_MIB}: lower memory_mib of a guest"
            raise _Flaw(what, hint, ("guest", index, "memory_mib"))
        used = others + guest.memory_mib if guest.autostart else used


def _check_network(machine: Machine) -> None:
    net = machine.network
    if net.nic == net.bridge:
        raise _Flaw("is the bridge's name", "name the network card that goes into the bridge", ("network", "nic"))
    if net.address == "dhcp" and net.nic is None:
        raise _Flaw("the bridge has no card to ask through", "set network.nic", ("network", "address"))
    if net.gateway is None:
        return
    at = ("network", "gateway")
    if net.address is None or net.address == "dhcp":
        raise _Flaw("there is no fixed address to go with it", "set network.address to IPv4/prefix", at)
    from ipaddress import IPv4Address, IPv4Interface

    interface = IPv4Interface(net.address)
    if IPv4Address(net.gateway) not in interface.network:
        raise _Flaw(f"is not inside {interface.network}", "give the router's address in the host's network", at)
    if net.gateway == str(interface.ip):
        raise _Flaw("is the host's own address", "give the router's address", at)


def _check_command_line(machine: Machine) -> None:
    """The kernel cuts a line that is too long and says nothing."""
    size = len(" ".join(kernel_words(machine, passthrough=True)))
    if size > MOST_COMMAND_LINE_BYTES:
        what = f"the command line has {size} bytes, the kernel takes {MOST_COMMAND_LINE_BYTES} besides its own"
        raise _Flaw(what, "shorten kernel.cmdline, iommu.extra or iommu.acs_override", ("kernel", "cmdline"))


_RULES: tuple[Callable[[Machine], None], ...] = (
    _check_repeats,
    _check_guest_devices,
    _check_memory,
    _check_network,
    _check_command_line,
)


def _find_microcode(machine: Machine, folder: Path) -> Machine:
    """`machine` with the name of its host filled in and the path of its microcode made good from `folder`."""
    machine = replace(machine, hostname=machine.hostname or machine.name)
    if machine.kernel.microcode is None:
        return machine
    path = folder / machine.kernel.microcode
    at = ("kernel", "microcode")
    try:
        if not path.is_file():
            raise _Flaw("there is no such file", "give a path relative to this file, or leave the key out", at)
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise _Flaw(f"cannot be read: {error.strerror}", "check the path and its permissions", at) from None
    # Documentation/arch/x86/microcode.rst: early microcode is an uncompressed cpio archive (newc).
    if magic not in (b"070701", b"070702"):
        raise _Flaw("not an uncompressed cpio archive", "give the early-microcode image, not the bare .bin", at)
    return replace(machine, kernel=replace(machine.kernel, microcode=path))
