"""The single values of host.toml: names, PCI addresses, kernel options, keys and hashes, network addresses.

Each check takes a value as TOML gives it and returns it in the engine's form, or raises BadValueError (`grammar`).
"""

import difflib
import re
from binascii import a2b_base64
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, ip_address
from pathlib import Path

from hostwright.base.address import Address
from hostwright.machine.grammar import BadValueError, line, matching, nearest, sequence, text

# The kernel patch keeps this many.
MOST_OVERRIDE_IDS = 64

# What recipes/tzdata.py builds; a test compares the two.
_ZONES = Path(__file__).parent / "zones.txt"

# Names.

label = matching(
    r"[a-z0-9](?:[a-z0-9-]{0,29}[a-z0-9])?",
    "must be 1 to 31 of a-z, 0-9 and -, with no - at either end",
    "it names files and machines: write something like lab-1",
)


def hostname(raw: object) -> str:
    """A host name: RFC 1123 section 2.1, at most the 64 bytes that Linux keeps (HOST_NAME_MAX)."""
    name = text(raw)
    labels = name.split(".")
    good = all(re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", each) for each in labels)
    if not good or len(name) > 64:
        hint = "use labels of a-z, 0-9 and - joined by dots, no - at an end of a label, 64 characters at most"
        raise BadValueError("not a host name (RFC 1123)", hint)
    if re.fullmatch(r"[0-9]+", labels[-1]):
        raise BadValueError("looks like an address, not a host name", "put a letter into the last label")
    return name


@cache
def _zones() -> tuple[str, ...]:
    """The time zones of tzdata that are named by an area; UTC is not among them."""
    return tuple(_ZONES.read_text(encoding="ascii").split())


def timezone(raw: object) -> str:
    """A name of the time zone database: UTC, Area/City or Area/Region/City."""
    zone = text(raw)
    if zone == "UTC" or zone in _zones():
        return zone
    if not re.fullmatch(r"[A-Za-z]+(?:/[A-Z][A-Za-z0-9_+-]*){1,2}", zone):
        raise BadValueError("not a time zone name", 'write "UTC" or Area/City as in "Europe/Berlin"')
    area = zone.partition("/")[0]
    areas = tuple(dict.fromkeys(one.partition("/")[0] for one in _zones()))
    if area not in areas:
        raise BadValueError(f'there is no time zone area "{area}"', nearest(area, areas))
    near = difflib.get_close_matches(zone[:100], _zones(), n=1)
    question = f'did you mean "{near[0]}"? ' if near else ""
    raise BadValueError("there is no such time zone", f"{question}tzselect lists them; UTC is always there")


# PCI.

_MAX_DOMAIN = 0xFFFF
_ADDRESS_HINT = 'write it as lspci -D shows it, "0000:82:00.0" or "82:00.0"'


def address(raw: object) -> str:
    """A PCI address as lspci(8) shows it, with or without the domain; returned as dddd:bb:dd.f in lower case."""
    try:
        found = Address.parse(text(raw).lower())
    except ValueError as error:
        raise BadValueError(str(error), _ADDRESS_HINT) from None
    # The scripts of the host know domains of four digits: address.SHELL_PATTERN.
    if found.domain > _MAX_DOMAIN:
        raise BadValueError("not a PCI address", _ADDRESS_HINT)
    return str(found)


def device_id(raw: object) -> str:
    """A PCI id, vendor:device, as four hexadecimal digits each; returned in lower case."""
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


def acs_override(raw: object) -> tuple[str, ...]:
    """The words of pcie_acs_override=: downstream, multifunction or id:vvvv:dddd; at most MOST_OVERRIDE_IDS ids."""
    words: tuple[str, ...] = sequence(_override_word)(raw)
    count = sum(word.startswith("id:") for word in words)
    if count > MOST_OVERRIDE_IDS:
        hint = f"the kernel keeps {MOST_OVERRIDE_IDS}: use downstream or multifunction instead"
        raise BadValueError(f"{count} ids are too many", hint)
    return words


# The kernel.


def option(raw: object) -> str:
    """A line of .config, CONFIG_NAME=VALUE: y, m, n, a decimal or hexadecimal number, or a quoted string."""
    setting = text(raw)
    value = r'[ymn]|-?[0-9]+|0x[0-9a-fA-F]+|"[ !#-\[\]-~]*"'
    if not re.fullmatch(rf"CONFIG_[A-Za-z0-9_]+=(?:{value})", setting):
        hint = 'write CONFIG_NAME=y, =m, =n, a number or a "string", with no space around ='
        raise BadValueError("not a kernel option", hint)
    return setting


def option_name(setting: str) -> str:
    """The name of a kernel option, CONFIG_ included."""
    return setting.partition("=")[0]


def file_path(raw: object) -> Path:
    """A path: one line of text. Whether the file exists is checked later."""
    return Path(line(raw))


# Access.

_KEY_TYPES = (
    *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
_KEY_HINT = "paste the one line of a .pub file, such as ~/.ssh/id_ed25519.pub"


def ssh_key(raw: object) -> str:
    """A line of authorized_keys without options. Its data starts with its type (RFC 4253 section 6.6)."""
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


def ssh_key_data(key: str) -> str:
    """The base64 data of a key, without its type and comment."""
    return key.split(" ")[1]


# crypt(5): yescrypt and gost-yescrypt, bcrypt, sha512crypt, sha256crypt.
_HASH = (
    r"\$g?y\$[./0-9A-Za-z]+\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}"
    r"|\$2[aby]\$[0-9]{2}\$[./0-9A-Za-z]{53}"
    r"|\$6\$(?:rounds=[0-9]{4,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}"
    r"|\$5\$(?:rounds=[0-9]{4,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43}"
)


def password_hash(raw: object) -> str:
    """A crypt(5) hash: yescrypt, gost-yescrypt, bcrypt, sha512crypt or sha256crypt. It is treated as secret."""
    if not re.fullmatch(_HASH, text(raw)):
        hint = "make one with `openssl passwd -6`; leave the key out to lock the password"
        raise BadValueError("not a crypt hash ($y$, $6$, $5$ or $2b$)", hint, secret=True)
    return text(raw)


# grub-core/commands/password_pbkdf2.c: iterations, salt and key. With millions of iterations the menu would not answer.
_GRUB_HASH = r"grub\.pbkdf2\.sha512\.[1-9][0-9]{3,6}\.(?:[0-9A-Fa-f]{2}){8,128}\.(?:[0-9A-Fa-f]{2}){32,64}"


def grub_password(raw: object) -> str:
    """A hash as grub-mkpasswd-pbkdf2 makes it: PBKDF2 with SHA-512. It is treated as secret."""
    if not re.fullmatch(_GRUB_HASH, text(raw)):
        hint = "make one with `grub-mkpasswd-pbkdf2` (docs/host.toml.md shows a way without it)"
        raise BadValueError("not a grub.pbkdf2.sha512 hash", hint, secret=True)
    return text(raw)


# Network.


_MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"


def interface(raw: object) -> str:
    """An interface name that the kernel (net/core/dev.c dev_valid_name()), file names and sysctl accept."""
    name = text(raw)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", name) or name in ("lo", "all", "default"):
        hint = "at most 15 of letters, digits, . _ and -; not lo, all or default"
        raise BadValueError("not a network interface name", hint)
    return name


def card(raw: object) -> str:
    """A network card: its interface name, or its MAC address in lower case."""
    given = text(raw).lower()
    return given if re.fullmatch(_MAC, given) else interface(raw)


_HOST_ADDRESS_HINT = 'write "dhcp" or IPv4/prefix as in "192.168.1.10/24"'


def host_address(raw: object) -> str:
    """The host's address: "dhcp", or IPv4/prefix.

    It must be one that a host can have: not a network, broadcast, multicast or loopback address.
    """
    given = text(raw)
    if given == "dhcp":
        return given
    try:
        found = IPv4Interface(given)
    except ValueError:
        raise BadValueError("not an IPv4 address with its prefix", _HOST_ADDRESS_HINT) from None
    if "/" not in given:
        raise BadValueError("the prefix length is missing", _HOST_ADDRESS_HINT)
    ip, net = found.ip, found.network
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip.is_reserved:
        raise BadValueError("not an address that a host can have", _HOST_ADDRESS_HINT)
    if net.prefixlen < 31 and ip in (net.network_address, net.broadcast_address):
        raise BadValueError(f"is the network's own or its broadcast address in {net}", _HOST_ADDRESS_HINT)
    return found.with_prefixlen


def gateway(raw: object) -> str:
    """An IPv4 address."""
    try:
        return str(IPv4Address(text(raw)))
    except ValueError:
        raise BadValueError("not an IPv4 address", 'write the router\'s address: "192.168.1.1"') from None


def nameserver(raw: object) -> str:
    """An IPv4 or IPv6 address; a link-local one may name its interface, as in fe80::1%br0."""
    hint = 'write an address, not a name: "192.168.1.1"'
    try:
        found = ip_address(text(raw))
    except ValueError:
        raise BadValueError("not an IP address", hint) from None
    # RFC 4007 leaves the characters of a zone open, and Python takes any.
    if zone := getattr(found, "scope_id", None):
        interface(zone)
    return str(found)


_SSH_PORT = "tcp/22"


def inbound(raw: object) -> str:
    """A port that the host accepts connections or packets at: tcp/PORT or udp/PORT."""
    given = text(raw)
    hint = 'write the protocol and the port, as in "tcp/443" or "udp/51820"'
    found = re.fullmatch(r"(tcp|udp)/([1-9][0-9]{0,4})", given)
    if not found:
        raise BadValueError("not a protocol with a port", hint)
    if int(found[2]) > 65535:
        raise BadValueError("out of range", "write a port from 1 to 65535")
    if given == _SSH_PORT:
        raise BadValueError("is the port of ssh", "leave it out: ssh is always accepted")
    return given


def timeserver(raw: object) -> str:
    """A host name (RFC 1123), or an address as for a name server."""
    try:
        return nameserver(raw)
    except BadValueError:
        return hostname(raw)


def mac(raw: object) -> str:
    """A unicast MAC address with the locally administered bit (IEEE 802 section 8.2), in lower case."""
    given = text(raw).lower()
    if not re.fullmatch(_MAC, given):
        raise BadValueError("not a MAC address", 'write six pairs of digits: "52:54:00:12:34:56"')
    hint = f'for example: mac = "52:54:00{given[8:]}"'
    if int(given[:2], 16) & 1:
        raise BadValueError("is a multicast address; a card cannot have one", hint)
    if not int(given[:2], 16) & 2:
        raise BadValueError("is not locally administered: it may belong to a real card", hint)
    return given


def cpu_list(raw: object) -> str:
    """Processors of the host, as cpuset(7) lists them: numbers and ranges, ascending."""
    words = text(raw).split(",")
    last = -1
    for word in words:
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", word)
        if not found:
            raise BadValueError(f"{word!r} is no processor", 'write numbers and ranges, as in "2-5,8"')
        first, end = int(found[1]), int(found[2] or found[1])
        if not last < first <= end:
            raise BadValueError(
                f"{word} does not come after {last}" if last >= first else f"{word} ends before it begins",
                "write each processor once, in ascending order",
            )
        last = end
    return ",".join(words)


def count_cpus(listed: str) -> int:
    """How many processors a list of cpu_list() has."""
    bounds = (list(map(int, word.split("-"))) for word in listed.split(","))
    return sum(one[-1] - one[0] + 1 for one in bounds)
