"""Rules of host.toml that concern more than one key of `[network]`, `[[bond]]` and `[[bridge]]`."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from hostwright.machine.grammar import BadValueError, Way, nearest
from hostwright.machine.model import Bridge, Machine

Place = tuple[Way, Bridge]


def vlan_name(vlan: int) -> str:
    """The name of the interface of a VLAN."""
    return f"vlan{vlan}"


def _places(machine: Machine) -> Iterator[Place]:
    """Every bridge with its table; that of `[network]` also where the host does not make it."""
    yield ("network",), machine.network.as_bridge
    for index, bridge in enumerate(machine.more_bridges):
        yield ("bridge", index), bridge


def _where(way: Way) -> str:
    """A table as messages name it: network, bridge[1]."""
    return "".join(f"[{part}]" if isinstance(part, int) else part for part in way)


def check_own_name(machine: Machine) -> None:
    """A bridge is not its own card."""
    for way, bridge in _places(machine):
        if bridge.nic == bridge.name:
            raise BadValueError("is the bridge's name", "name the card that goes into it", (*way, "nic"))


def _names(machine: Machine) -> Iterator[tuple[str, str, Way]]:
    """Every interface that the host makes, what makes it, and where its name comes from."""
    for index, bond in enumerate(machine.bonds):
        yield bond.name, f"bond[{index}].name", ("bond", index, "name")
    places = [place for place in _places(machine) if place[0] != ("network",) or machine.network.has_bridge]
    for way, bridge in places:
        key = "bridge" if way == ("network",) else "name"
        yield bridge.name, f"{_where(way)}.{key}", (*way, key)
    for way, bridge in places:
        if bridge.vlan:
            yield vlan_name(bridge.vlan), f"{_where(way)}.vlan", (*way, "vlan")


def check_names(machine: Machine) -> None:
    """No two interfaces have one name. Those of VLANs follow from their number, which is therefore there once."""
    first: dict[str, str] = {}
    for name, what, way in _names(machine):
        if (earlier := first.setdefault(name, what)) != what:
            hint = "give each bond and bridge a name of its own, and each VLAN one bridge, on which all its guests are"
            raise BadValueError(f'the name "{name}" is that of {earlier}', hint, way)


def check_cards(machine: Machine) -> None:
    """A card is in one bond or one bridge; a card or bond carries several bridges if all but one have a VLAN."""
    owner = _bonded(machine)
    bonds = {bond.name for bond in machine.bonds}
    plain: dict[str, str] = {}
    for way, bridge in _places(machine):
        nic = bridge.nic
        if nic is None:
            continue
        if nic in owner:
            hint = f'write the bond\'s name: nic = "{owner[nic][1]}"'
            raise BadValueError(f"is a card of {owner[nic][0]}", hint, (*way, "nic"))
        if nic.startswith("bond") and nic not in bonds:
            hint = nearest(nic, tuple(sorted(bonds))) if bonds else "describe it in a [[bond]] table"
            raise BadValueError("no [[bond]] has this name", hint, (*way, "nic"))
        if bridge.vlan is None and (other := plain.setdefault(nic, _where(way))) != _where(way):
            hint = "a card is in one bridge; set vlan in all tables but one, or use another card"
            raise BadValueError(f"is already the nic of {other}", hint, (*way, "nic"))


def _bonded(machine: Machine) -> dict[str, tuple[str, str]]:
    """The cards in bonds, with the table and the name of their bond."""
    owner: dict[str, tuple[str, str]] = {}
    names = {bond.name for bond in machine.bonds}
    for index, bond in enumerate(machine.bonds):
        for place, card in enumerate(bond.nics):
            way = ("bond", index, "nics", place)
            if card in names:
                raise BadValueError("is a bond", "name cards: a bond of bonds cannot be made", way)
            if card in owner:
                hint = "a card can be in one bond; remove it from one of the two"
                raise BadValueError(f"is already a card of {owner[card][0]}", hint, way)
            owner[card] = (f"bond[{index}]", bond.name)
    return owner


def check_uplinks(machine: Machine) -> None:
    """What needs a card has one, and what is for the guests' own bridge has none."""
    for way, bridge in _places(machine):
        if bridge.nic is None:
            _check_own(way, bridge)
        else:
            _check_over_card(way, bridge)


def _check_own(way: Way, bridge: Bridge) -> None:
    where = _where(way)
    if bridge.address == "dhcp":
        raise BadValueError("DHCP needs a card in the bridge", f"set {where}.nic", (*way, "address"))
    if bridge.vlan is not None:
        hint = f"set {where}.nic to the card or bond that carries the VLAN"
        raise BadValueError("a VLAN needs a card under it", hint, (*way, "vlan"))
    if bridge.ipv6 == "auto":
        hint = f"set {where}.nic, or write an address of your own"
        raise BadValueError("without a card in the bridge no router advertises", hint, (*way, "ipv6"))
    if way == ("network",) and not bridge.address and (bridge.ipv6 or not bridge.nat):
        hint = "set network.nic or network.address, or leave it out"
        raise BadValueError("there is no bridge for it", hint, (*way, "ipv6" if bridge.ipv6 else "nat"))


def _check_over_card(way: Way, bridge: Bridge) -> None:
    if bridge.dhcp_range is not None:
        hint = "leave it out: the network beyond the card has a DHCP server of its own, or should"
        raise BadValueError("the bridge has a card", hint, (*way, "dhcp_range"))
    if not bridge.nat:
        raise BadValueError("the bridge has a card: nothing is translated", "leave it out", (*way, "nat"))


def check_gateways(machine: Machine) -> None:
    """A gateway is beyond the card of its bridge, in the bridge's network; there is one of each family."""
    first: dict[str, str] = {}
    for way, bridge in _places(machine):
        if bridge.gateway is not None:
            _check_gateway(way, bridge, bridge.gateway)
        if bridge.ipv6_gateway is not None:
            _check_ipv6_gateway(way, bridge, bridge.ipv6_gateway)
        for key in ("gateway", "ipv6_gateway"):
            given = getattr(bridge, key) is not None
            if given and (earlier := first.setdefault(key, _where(way))) != _where(way):
                hint = "the host has one default route of a family; leave one of the two out"
                raise BadValueError(f"{earlier} has one already", hint, (*way, key))


def _check_gateway(table: Way, bridge: Bridge, gateway: str) -> None:
    way, where = (*table, "gateway"), _where(table)
    if bridge.address in (None, "dhcp"):
        raise BadValueError("it needs a fixed address", f"set {where}.address to IPv4/prefix", way)
    interface = IPv4Interface(bridge.address)
    if IPv4Address(gateway) not in interface.network:
        raise BadValueError(f"is not inside {interface.network}", "give the router's address in it", way)
    if gateway == str(interface.ip):
        raise BadValueError("is the host's own address", "give the router's address", way)
    _check_leads_out(table, bridge, way)


def _check_ipv6_gateway(table: Way, bridge: Bridge, gateway: str) -> None:
    way, where = (*table, "ipv6_gateway"), _where(table)
    if bridge.ipv6 in (None, "auto", "off"):
        raise BadValueError("it needs a fixed address", f"set {where}.ipv6 to IPv6/prefix", way)
    interface = IPv6Interface(bridge.ipv6)
    router = IPv6Address(gateway)
    if router not in interface.network and not router.is_link_local:
        hint = "give the router's address in it, or its link-local one (fe80::...)"
        raise BadValueError(f"is not inside {interface.network}", hint, way)
    if router == interface.ip:
        raise BadValueError("is the host's own address", "give the router's address", way)
    _check_leads_out(table, bridge, way)


def _check_leads_out(table: Way, bridge: Bridge, way: Way) -> None:
    if bridge.nic is None:
        hint = f"set {_where(table)}.nic to the card that leads there, or leave the gateway out"
        raise BadValueError("without a card in the bridge it leads nowhere", hint, way)


def check_ranges(machine: Machine) -> None:
    """What DHCP gives is in the bridge's network, and is not the host's own address."""
    for table, bridge in _places(machine):
        if bridge.dhcp_range is None:
            continue
        way = (*table, "dhcp_range")
        if bridge.address is None:
            raise BadValueError(
                "it needs a fixed address", f"set {_where(table)}.address to IPv4/prefix", way
            )
        interface = IPv4Interface(bridge.address)
        first, last = map(IPv4Address, bridge.dhcp_range)
        hosts = interface.network
        if first <= hosts.network_address or last >= hosts.broadcast_address:
            hint = "give addresses of guests in it, without its own and its broadcast address"
            raise BadValueError(f"is not inside {hosts}", hint, way)
        if first <= interface.ip <= last:
            hint = "leave the host's address out of the range"
            raise BadValueError(f"contains the host's own address {interface.ip}", hint, way)


def check_networks(machine: Machine) -> None:
    """No two bridges are in one network: the host could not tell where an address is."""
    for key, kind in (("address", IPv4Interface), ("ipv6", IPv6Interface)):
        seen: list[tuple[str, IPv4Interface | IPv6Interface]] = []
        for way, bridge in _places(machine):
            given = getattr(bridge, key)
            if given in (None, "dhcp", "auto", "off"):
                continue
            found = kind(given)
            for where, other in seen:
                if found.network.overlaps(other.network):
                    hint = "give each bridge a network of its own"
                    raise BadValueError(f"overlaps {other.network} of {where}", hint, (*way, key))
            seen.append((_where(way), found))


def check_guests(machine: Machine) -> None:
    """Each guest is on a bridge that exists, and no card of the host has its MAC address."""
    names = tuple(bridge.name for bridge in machine.bridges)
    cards = {bridge.nic: f"{_where(way)}.nic" for way, bridge in _places(machine)}
    cards |= {nic: where for nic, (where, _) in _bonded(machine).items()}
    for index, guest in enumerate(machine.guests):
        if guest.bridge is not None and guest.bridge not in names:
            hint = nearest(guest.bridge, names) if names else "describe it in a [[bridge]] table"
            raise BadValueError("the host has no such bridge", hint, ("guest", index, "bridge"))
        if where := cards.get(guest.mac):
            hint = "give the guest a mac of its own: two cards of one bridge cannot share it"
            raise BadValueError(f"is the address of the host's card, {where}", hint, ("guest", index, "mac"))


NETWORK_RULES: tuple[Callable[[Machine], None], ...] = (
    check_own_name,
    check_names,
    check_cards,
    check_uplinks,
    check_gateways,
    check_ranges,
    check_networks,
    check_guests,
)
