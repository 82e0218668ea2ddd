"""The rules that the host's shell scripts share with the doctor, as variables of a shell."""

from collections.abc import Iterator

from hostwright.base import address
from hostwright.doctor import kinds, window
from hostwright.machine import model, rules
from hostwright.pci import sysfs

_MIB = 1 << 20


def list_shell_rules() -> Iterator[tuple[str, str]]:
    """Names and values for rootfs/usr/libexec/hostwright/rules.j2; words are separated by blanks."""
    yield "address_pattern", address.SHELL_PATTERN
    yield from _list_tables()
    everywhere, on_root_bus = kinds.list_never_passed()
    yield "harmless_drivers", " ".join(kinds.MANAGED_DMA)
    yield "never_passed", " ".join(everywhere)
    yield "never_passed_on_root_bus", " ".join(on_root_bus)
    yield "host_memory_mib", str(rules.HOST_MEMORY_MIB)
    yield "guest_accounts", f"{model.ACCOUNTS[0]}-{model.ACCOUNTS[-1]}"
    yield "own_devices_mib", str(window.OWN_DEVICES // _MIB)
    yield "classic_window_mib", str(window.CLASSIC_WINDOW // _MIB)
    yield "largest_window_mib", str(window.LARGEST_ASKED // _MIB)
    yield "most_address_bits", str(window.MOST_BITS)
    yield "most_address_bits_without_1g", str(window.MOST_BITS_WITHOUT_1G)


def _list_tables() -> Iterator[tuple[str, str]]:
    """Where what the host stands on is found; columns count from 1: FILE:INTERFACE:ZERO:ZERO."""
    yield "block_parts", sysfs.BLOCK_PARTS.prefix
    yield "net_parts", sysfs.NET_PARTS.prefix
    yield "btrfs_parts", sysfs.BTRFS_PARTS.prefix
    rows = (
        (one.name, *(str(1 + column) for column in (one.interface, *one.zeros))) for one in sysfs.ROUTE_TABLES
    )
    yield "route_tables", " ".join(map(":".join, rows))
