"""What the owner has set on a host over host.toml: the file that hostwright-set writes there, read by the same rules.

    /var/lib/hostwright/local/settings --parse--> Settings --apply--> the Machine that the host is

rootfs/usr/libexec/hostwright/settings.awk reads the file on the host; a test compares the two.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hostwright.base.texts import show
from hostwright.machine import values
from hostwright.machine.grammar import BadValueError, one_of, sequence
from hostwright.machine.model import Device, Guest, Machine, Network
from hostwright.machine.network_rules import NETWORK_RULES

PATH = "/var/lib/hostwright/local/settings"
LARGEST = 65536
_END = "end"
_NONE = "none"
_LABEL = "set on the host"
_ADDRESSES = {("network", "address"), ("network", "gateway")}


@dataclass(frozen=True)
class Setting:
    """One line: the words that name what is set, and those that it is set to."""

    key: tuple[str, ...]
    value: tuple[str, ...]

    @property
    def line(self) -> str:
        """As in the file."""
        return " ".join((*self.key, *self.value))


Settings = tuple[Setting, ...]


def parse(content: bytes) -> Settings:
    """The settings in a file; BadValueError names the first line that is not good: then none counts."""
    if len(content) > LARGEST:
        raise BadValueError(f"larger than {LARGEST} bytes")
    if any(byte != 0x0A and not 0x20 <= byte <= 0x7E for byte in content):
        raise BadValueError("other characters than printable ASCII")
    lines = content.decode("ascii").removesuffix("\n").split("\n")
    if lines.pop() != _END:
        raise BadValueError(f"torn: the last line is not {show(_END)}")
    found: dict[tuple[str, ...], Setting] = {}
    for number, line in enumerate(lines, 1):
        try:
            setting = _read_line(line)
            if found.setdefault(setting.key, setting) is not setting:
                raise BadValueError("set twice")
        except BadValueError as error:
            raise BadValueError(f"line {number}: {show(line)}: {error.what}", error.hint) from None
    return tuple(found.values())


def _read_line(line: str) -> Setting:
    words = line.split(" ")
    for size, reader in _READERS.items():
        if len(words) > len(size) and all(
            want in ("", word) for want, word in zip(size, words, strict=False)
        ):
            setting = Setting(tuple(words[: len(size)]), tuple(words[len(size) :]))
            reader(setting)
            return setting
    raise BadValueError("no such setting")


def _same(word: str, check: Callable[[object], object]) -> None:
    """Refuse a word that `check` refuses, or would write otherwise: the host's scripts compare texts."""
    if check(word) != word:
        raise BadValueError(f"{show(word)} is written otherwise", f"write {check(word)}")


def _read_device(setting: Setting) -> None:
    _same(setting.key[1], values.address)
    match setting.value:
        case ["keep"]:
            pass
        case ["pass", ident]:
            _same(ident, values.device_id)
        case _:
            raise BadValueError("a device is set to pass ID or keep")


def _read_autostart(setting: Setting) -> None:
    _same(setting.key[1], values.label)
    _one_word(setting, one_of("yes", "no"))


def _read_guest_device(setting: Setting) -> None:
    _same(setting.key[1], values.label)
    _same(setting.key[3], values.address)
    _one_word(setting, one_of("add", "remove"))


def _read_address(setting: Setting) -> None:
    _one_word(setting, values.host_address)


def _read_gateway(setting: Setting) -> None:
    if setting.value != (_NONE,):
        _one_word(setting, values.gateway)


def _read_nameservers(setting: Setting) -> None:
    if setting.value != (_NONE,):
        sequence(values.nameserver)(list(setting.value))


def _one_word(setting: Setting, check: Callable[[object], object]) -> None:
    if len(setting.value) != 1:
        raise BadValueError("one word is expected")
    _same(setting.value[0], check)


# The words of a key, of which an empty one is any.
_READERS: dict[tuple[str, ...], Callable[[Setting], None]] = {
    ("device", ""): _read_device,
    ("guest", "", "autostart"): _read_autostart,
    ("guest", "", "device", ""): _read_guest_device,
    ("network", "address"): _read_address,
    ("network", "gateway"): _read_gateway,
    ("network", "nameservers"): _read_nameservers,
}


def apply(machine: Machine, settings: Settings) -> Machine:
    """The machine that a host with these settings is; BadValueError where the network would not be one."""
    known = {setting.key: setting.value for setting in settings}
    changed = replace(
        machine,
        devices=tuple(_list_devices(machine, known)),
        guests=tuple(_change_guest(guest, known) for guest in machine.guests),
        network=_change_network(machine.network, known),
    )
    if any(setting.key[0] == "network" for setting in settings):
        if machine.network.nic is None and machine.network.address is None:
            raise BadValueError("host.toml gives this host no bridge", "set network.nic or network.address")
        fixed = machine.more_bridges or machine.network.dhcp_range
        if fixed and not known.keys().isdisjoint(_ADDRESSES):
            raise BadValueError("host.toml has further bridges or a dhcp_range", "change addresses there")
        for rule in NETWORK_RULES:
            rule(changed)
    return changed


_Known = dict[tuple[str, ...], tuple[str, ...]]


def _list_devices(machine: Machine, known: _Known) -> Iterator[Device]:
    yield from (device for device in machine.devices if ("device", device.address) not in known)
    labels = {device.address: device.label for device in machine.devices}
    for key, value in known.items():
        if key[0] == "device" and value[0] == "pass":
            yield Device(key[1], value[1], labels.get(key[1], _LABEL))


def _change_guest(guest: Guest, known: _Known) -> Guest:
    autostart = known.get(("guest", guest.name, "autostart"))
    changes = {
        key[3]: value[0]
        for key, value in known.items()
        if key[::2][:2] == ("guest", "device") and key[1] == guest.name
    }
    devices = [one for one in guest.devices if changes.get(one) != "remove"]
    devices += [one for one, how in changes.items() if how == "add" and one not in devices]
    return replace(
        guest,
        devices=tuple(devices),
        autostart=guest.autostart if autostart is None else autostart == ("yes",),
    )


def _change_network(network: Network, known: _Known) -> Network:
    address = known.get(("network", "address"), (network.address,))[0]
    gateway = known.get(("network", "gateway"), (network.gateway,))[0]
    servers = known.get(("network", "nameservers"), network.nameservers)
    return replace(
        network,
        address=address,
        gateway=None if gateway == _NONE else gateway,
        nameservers=() if servers == (_NONE,) else servers,
    )
