"""Rules of host.toml that concern more than one key."""

from collections.abc import Callable

from hostwright.machine import storage, values
from hostwright.machine.cmdline import kernel_words
from hostwright.machine.firmware import early_names
from hostwright.machine.grammar import BadValueError, nearest
from hostwright.machine.model import Machine
from hostwright.machine.network_rules import NETWORK_RULES
from hostwright.machine.words import is_vfio_ids

# The memory that the host keeps for itself.
HOST_MEMORY_MIB = 512
# Slots 05 to 1e of q35's root bus: below are the guest's own devices, at 1f is the chipset (vm.guest_argv).
MOST_GUEST_DEVICES = 26
# COMMAND_LINE_SIZE is 2048 on x86. root=, the consoles, the boot entry's own words and $extra use the rest.
MOST_COMMAND_LINE_BYTES = 1700


def _check_repeats(machine: Machine) -> None:
    """No two addresses, guest names or MACs are equal."""
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
    """Guests use only devices of this machine. No two guests with autostart share one."""
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


def _check_device_count(machine: Machine) -> None:
    """Each passed device has a root port of its own, and the guest's root bus has 32 slots."""
    for index, guest in enumerate(machine.guests):
        if len(guest.devices) > MOST_GUEST_DEVICES:
            what = f"{len(guest.devices)} devices; a guest has room for {MOST_GUEST_DEVICES}"
            raise BadValueError(what, "give some of them to another guest", ("guest", index, "devices"))


def _check_guest_folders(machine: Machine) -> None:
    """`./doit guest-fast` makes the guest NAME in the folder NAME-fast."""
    names = {guest.name for guest in machine.guests}
    for index, guest in enumerate(machine.guests):
        base = guest.name.removesuffix("-fast")
        if base != guest.name and base in names:
            what = f'./doit guest-fast makes guest "{base}" under this name'
            raise BadValueError(what, "give one of the two another name", ("guest", index, "name"))


def _check_processors(machine: Machine) -> None:
    """A guest with more virtual processors than it may use of the host's would wait for itself."""
    for index, guest in enumerate(machine.guests):
        if guest.cpus and guest.vcpus > (count := values.count_cpus(guest.cpus)):
            what = f"{count} of the host's processors for {guest.vcpus} virtual ones"
            raise BadValueError(what, "name as many as guest.vcpus says, or more", ("guest", index, "cpus"))


def _check_accounts(machine: Machine) -> None:
    """No two guests share an account, which comes from the name."""
    owner: dict[int, str] = {}
    for index, guest in enumerate(machine.guests):
        if owner.setdefault(guest.account, guest.name) != guest.name:
            what = f'its account would be that of guest "{owner[guest.account]}" ({guest.account})'
            raise BadValueError(what, "give one of the two another name", ("guest", index, "name"))


def _check_ids(machine: Machine) -> None:
    """Ids take every match, and only a capture tells what else matches (doctor.refusal)."""
    for index, entry in enumerate(machine.kernel.modules):
        if machine.capture is None and any(is_vfio_ids(entry, option) for option in entry.split(" ")[1:]):
            hint = (
                "name the devices by address in [[device]] tables: ids take every match, the host's own too"
            )
            raise BadValueError("takes devices by id, unseen", hint, ("kernel", "modules", index))


def _check_microcode(machine: Machine) -> None:
    """The kernel looks at one early image alone."""
    named = early_names(machine.kernel.firmware)
    if named and machine.kernel.microcode is not None:
        hint = f"leave one of the two out: kernel.firmware has {named[0]}"
        raise BadValueError("there is microcode by name already", hint, ("kernel", "microcode"))


def _check_storage(machine: Machine) -> None:
    storage.check(machine.storage, tuple((guest.storage, guest.embed) for guest in machine.guests))


def _check_memory(machine: Machine) -> None:
    """Each guest alone, and all guests with autostart together, leave the host its own share."""
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


def _check_command_line(machine: Machine) -> None:
    """The kernel truncates a command line that is too long without a message."""
    size = len(" ".join(kernel_words(machine, passthrough=True)))
    if size > MOST_COMMAND_LINE_BYTES:
        what = f"{size} bytes of words; the kernel accepts {MOST_COMMAND_LINE_BYTES} besides the image's own"
        hint = "shorten kernel.cmdline, iommu.extra or iommu.acs_override"
        raise BadValueError(what, hint, ("kernel", "cmdline"))


RULES: tuple[Callable[[Machine], None], ...] = (
    _check_repeats,
    _check_guest_devices,
    _check_device_count,
    _check_guest_folders,
    _check_accounts,
    _check_processors,
    _check_ids,
    _check_microcode,
    _check_storage,
    _check_memory,
    *NETWORK_RULES,
    _check_command_line,
)
