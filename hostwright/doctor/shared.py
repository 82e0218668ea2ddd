"""The rules that the host's shell scripts share with the doctor, as variables of a shell."""

from collections.abc import Iterator

from hostwright.doctor import kinds, window

_MIB = 1 << 20


def list_shell_rules() -> Iterator[tuple[str, str]]:
    """Names and values for rootfs/usr/libexec/hostwright/rules.j2; words are separated by blanks."""
    everywhere, on_root_bus = kinds.list_never_passed()
    yield "harmless_drivers", " ".join(kinds.MANAGED_DMA)
    yield "never_passed", " ".join(everywhere)
    yield "never_passed_on_root_bus", " ".join(on_root_bus)
    yield "own_devices_mib", str(window.OWN_DEVICES // _MIB)
    yield "classic_window_mib", str(window.CLASSIC_WINDOW // _MIB)
    yield "largest_window_mib", str(window.LARGEST_ASKED // _MIB)
    yield "most_address_bits", str(window.MOST_BITS)
    yield "most_address_bits_without_1g", str(window.MOST_BITS_WITHOUT_1G)
