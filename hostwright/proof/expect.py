"""The expectations of the proof for a machine, derived from host.toml and the lab."""

from ipaddress import IPv4Interface, IPv6Interface

from hostwright.doctor.kinds import HARMLESS_DRIVERS
from hostwright.machine.cmdline import kernel_words, serial_lines
from hostwright.machine.model import Device, Machine
from hostwright.pci.function import Kind
from hostwright.pci.iommu import Prediction, predict
from hostwright.proof import lab
from hostwright.proof.verdict import Boot, Origin
from hostwright.vm.board import Firmware

OWN_MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci", "tun")
# Rows that compare boots have this instead of a boot's name.
ALL_BOOTS = "all"
UNKNOWN = "unknown"
# An emulated timer can lose ticks while the build machine is busy. The kernel would consider it broken and panic
# (arch/x86/kernel/apic/io_apic.c, check_timer). Under KVM the kernel skips that check by itself.
LAB_WORDS = ("no_timer_check",)


def plan_boots(machine: Machine) -> tuple[Boot, ...]:
    """The boots: both kinds of firmware, each with and without passthrough."""
    words = (*LAB_WORDS, *audible_words(machine))
    return tuple(
        Boot(f"{firmware.value}{suffix}", firmware, entry, (*extra, *words))
        for firmware in Firmware
        for suffix, entry, extra in (
            ("", "selfcheck", ()),
            ("-fallback", "fallback", ("hostwright.selfcheck",)),
        )
    )


def audible_words(machine: Machine) -> tuple[str, ...]:
    """Kernel words that send the log and /dev/console to the serial line, where the proof reads them."""
    words = machine.kernel.cmdline
    quiet = any(word == "quiet" or word.startswith("loglevel=") for word in words)
    last = [word for word in words if word.startswith("console=")][-1:]
    number, baud = serial_lines(machine)[-1]
    mute = last and not last[0].startswith("console=ttyS")
    return (*(["loglevel=7"] if quiet else []), *([f"console=ttyS{number},{baud}"] if mute else []))


# Expectations.


def refusal(device: Device) -> str:
    """The reason why this lab cannot pass a device of host.toml; empty if it can."""
    part = lab.BY_ADDRESS.get(device.address)
    if not part:
        return "absent: the lab has no such device"
    if device.id and device.id != part.function.id:
        return f"left alone: the lab has {part.function.id} there"
    if part.function.kind is Kind.ROOT_PORT:
        return "left alone: it is a bridge"
    return "left alone: it carries the root disk" if device.address == lab.ROOT_DISK else ""


def expected_drivers(machine: Machine, passthrough: bool) -> dict[str, str]:
    """The driver of each function of the lab; empty if it has none."""
    drivers = {part.function.address: part.driver for part in lab.PARTS}
    passed = [device.address for device in machine.devices if passthrough and not refusal(device)]
    return drivers | dict.fromkeys(passed, "vfio-pci")


def expected_groups(machine: Machine, passthrough: bool) -> Prediction:
    """The groups of the lab, and the functions that the override applies to."""
    return predict(lab.FUNCTIONS, machine.iommu.acs_override if passthrough else ())


def expected_words(machine: Machine, boot: Boot, origin: Origin) -> list[str]:
    """The kernel's command line, without the kernel's own path that GRUB prepends."""
    own = ("hostwright.selfcheck",) if boot.is_passthrough else ("hostwright.nopassthrough",)
    return [
        "BOOT_IMAGE=/boot/vmlinuz",
        f"root=PARTUUID={origin.partuuid}", "ro", "rootwait", "init=/sbin/init",
        "console=tty0", *_first_serial_console(machine),
        *kernel_words(machine, boot.is_passthrough),
        *own,
        *boot.extra,
    ]  # fmt: skip


def _first_serial_console(machine: Machine) -> tuple[str, ...]:
    """The first port, unless host.toml names another. Linux has one serial console: the first on its command line.

    Source: Documentation/admin-guide/serial-console.rst.
    """
    named = any(word.startswith("console=ttyS") for word in machine.kernel.cmdline)
    return () if named else ("console=ttyS0,115200",)


def expected_modules(machine: Machine) -> list[str]:
    """The modules that the host loads at boot, in the kernel's spelling."""
    named = [line.split()[0].replace("-", "_") for line in machine.kernel.modules]
    return [*OWN_MODULES, *(name for name in named if name not in OWN_MODULES)]


def expected_services(machine: Machine) -> dict[str, str]:
    """The result of the self-check's row for each service; a note says that the host does not need it."""
    result = dict.fromkeys(("watchdog", "powerbutton", "time", "logs", "disks"), "pass")
    # The lab has no array of disks.
    result["storage"] = "note"
    result |= {f"dnsmasq-{bridge.name}": "pass" for bridge in machine.bridges if bridge.dhcp_range}
    return result if machine.network.timeservers else result | {"time": "note"}


def expected_networks(machine: Machine) -> dict[str, tuple[str, ...]]:
    """The possible results of the self-check's row for each bond and bridge.

    The lab has one card, so that no bond has all of its cards. A note says that no address or no link has come yet.
    """
    has_card = {bond.name: any(map(_is_lab_card, bond.nics)) for bond in machine.bonds}
    return {
        **{f"bond:{bond.name}": ("fail",) for bond in machine.bonds},
        **{
            f"network:{bridge.name}": ("pass", "note")
            if bridge.nic is None or has_card.get(bridge.nic, _is_lab_card(bridge.nic))
            else ("fail",)
            for bridge in machine.bridges
        },
    }


def expected_listeners(machine: Machine) -> set[tuple[str, str]]:
    """Where dnsmasq listens: for DNS at the host's addresses on each bridge with a range, for DHCP at the bridge.

    The kernel has no INET_DIAG, so that ss does not say that a socket is bound to a bridge.
    """
    served = [one for one in machine.bridges if one.dhcp_range]
    hosts = [str(IPv4Interface(str(one.address)).ip) for one in served]
    hosts += [f"[{IPv6Interface(one.ipv6).ip}]" for one in served if one.ipv6 not in (None, "off")]
    names = {(kind, f"{host}:53") for host in hosts for kind in ("tcp", "udp")}
    return names | ({("udp", "0.0.0.0:67")} if served else set())


def _is_lab_card(nic: str) -> bool:
    return nic in (lab.MAC, lab.CARD)


def expected_failures(machine: Machine, passthrough: bool) -> frozenset[str]:
    """The self-check's rows that must fail: devices, disks and cards of host.toml that the lab does not have."""
    failures = {name for name, results in expected_networks(machine).items() if results == ("fail",)}
    failures |= {
        f"module:{name}" for name in expected_modules(machine) if name in lab.MODULES_WITHOUT_HARDWARE
    }
    failures |= {f"storage:{one.name}" for one in machine.storage}
    for device in machine.devices:
        if refusal(device) and (passthrough or not _is_there(device)):
            failures.add(f"device:{device.address}")
        if passthrough and not _is_viable(machine, device.address):
            failures.add(f"viable:{device.address}")
    return frozenset(failures)


def _is_there(device: Device) -> bool:
    """Whether the lab has this device with this id; the self-check requires both in every boot."""
    part = lab.BY_ADDRESS.get(device.address)
    return part is not None and device.id in (None, part.function.id)


def _is_viable(machine: Machine, address: str) -> bool:
    """Whether the host uses no other member of a group. Absent devices are not considered."""
    drivers = expected_drivers(machine, passthrough=True)
    group = next((group for group in expected_groups(machine, True).groups if address in group), frozenset())
    return all(drivers[member] in HARMLESS_DRIVERS for member in group - {address})


def find_twins(machine: Machine) -> list[str]:
    """Functions with the id of a passed one that host.toml does not name: they must not be passed."""
    named = {device.address for device in machine.devices}
    ids = {lab.BY_ADDRESS[device.address].function.id for device in machine.devices if not refusal(device)}
    return [f.address for f in lab.FUNCTIONS if f.id in ids and f.address not in named]
