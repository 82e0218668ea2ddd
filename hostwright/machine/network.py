"""`[network]`, `[[bond]]` and `[[bridge]]` of host.toml: their single values and their tables.

host.toml -> machine.load -> Network, Bond, Bridge -> machine.network_rules
"""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Interface

from hostwright.machine import values
from hostwright.machine.grammar import BadValueError, Field, Section, boolean, integer, one_of, sequence, text
from hostwright.machine.model import Bond, Bridge, Network

# As ip-link(8) and /sys/class/net/*/bonding/mode spell them.
MODES = ("active-backup", "802.3ad", "balance-rr", "balance-xor", "balance-tlb", "balance-alb")
# A bond of one card is no bond. More than eight ports is what no switch groups (802.1AX leaves it to the vendor).
LEAST_CARDS, MOST_CARDS = 2, 8

_IPV6_HINT = 'write "auto", "off" or IPv6/prefix as in "fd00:10::1/64"'
_RANGE_HINT = 'write the first and the last address, as in "10.9.0.100-10.9.0.199"'


def bond_cards(raw: object) -> tuple[str, ...]:
    """The cards of a bond: at least two different ones."""
    found: tuple[str, ...] = sequence(values.card)(raw)
    if not LEAST_CARDS <= len(found) <= MOST_CARDS:
        hint = (
            f"name {LEAST_CARDS} to {MOST_CARDS} cards; a single card goes into the bridge itself, as its nic"
        )
        raise BadValueError(f"{len(found)} cards", hint)
    return found


def ipv6(raw: object) -> str:
    """The host's IPv6 address: IPv6/prefix of a unicast address, "auto" or "off"."""
    given = text(raw)
    if given in ("auto", "off"):
        return given
    try:
        found = IPv6Interface(given)
    except ValueError:
        raise BadValueError("not an IPv6 address with its prefix", _IPV6_HINT) from None
    if "/" not in given:
        raise BadValueError("the prefix length is missing", _IPV6_HINT)
    ip = found.ip
    is_special = ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    if is_special or ip.ipv4_mapped or "%" in given:
        raise BadValueError("not an address that a host can be given", _IPV6_HINT)
    if found.network.prefixlen < 127 and ip == found.network.network_address:
        raise BadValueError(f"is the address of all routers in {found.network}", _IPV6_HINT)
    return found.with_prefixlen


def ipv6_gateway(raw: object) -> str:
    """An IPv6 address without a zone."""
    hint = 'write the router\'s address: "fe80::1"'
    try:
        found = IPv6Address(text(raw))
    except ValueError:
        raise BadValueError("not an IPv6 address", hint) from None
    if found.scope_id:
        raise BadValueError("names a zone: the router is on this bridge", hint)
    return str(found)


def dhcp_range(raw: object) -> tuple[str, str]:
    """The first and the last address that DHCP gives, as FIRST-LAST."""
    found = re.fullmatch(r"([0-9.]+)-([0-9.]+)", text(raw))
    try:
        first, last = (IPv4Address(one) for one in (found.groups() if found else ("", "")))
    except ValueError:
        raise BadValueError("not a range of IPv4 addresses", _RANGE_HINT) from None
    if first > last:
        raise BadValueError("ends before it begins", _RANGE_HINT)
    return str(first), str(last)


# What a bridge has, in the table of the host's own and in that of each further one.
_OF_A_BRIDGE = {
    "nic": Field(values.card, 'nic = "eno1"'),
    "vlan": Field(integer(1, 4094, "0 and 4095 are reserved (802.1Q)"), "vlan = 20"),
    "address": Field(values.host_address, 'address = "192.168.1.10/24"'),
    "gateway": Field(values.gateway, 'gateway = "192.168.1.1"'),
    "ipv6": Field(ipv6, 'ipv6 = "auto"'),
    "ipv6_gateway": Field(ipv6_gateway, 'ipv6_gateway = "fe80::1"'),
    "dhcp_range": Field(dhcp_range, 'dhcp_range = "10.9.0.100-10.9.0.199"'),
    "nat": Field(boolean, "nat = false", default=True),
    "isolated": Field(boolean, "isolated = false", default=True),
}

NETWORK = Section(
    Network,
    {
        "bridge": Field(values.interface, 'bridge = "br0"', default="br0"),
        **_OF_A_BRIDGE,
        "nameservers": Field(sequence(values.nameserver), 'nameservers = ["192.168.1.1"]', default=[]),
        "timeservers": Field(sequence(values.timeserver), 'timeservers = ["192.168.1.1"]', default=[]),
        "inbound": Field(sequence(values.inbound), 'inbound = ["tcp/443"]', default=[]),
    },
)
BOND = Section(
    Bond,
    {
        "name": Field(values.interface, 'name = "bond0"', required=True),
        "nics": Field(bond_cards, 'nics = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]', required=True),
        "mode": Field(one_of(*MODES), 'mode = "802.3ad"', default=MODES[0]),
    },
)
BRIDGE = Section(
    Bridge,
    {
        "name": Field(values.interface, 'name = "br1"', required=True),
        **_OF_A_BRIDGE,
    },
)
