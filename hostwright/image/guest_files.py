"""What a host gets for each of its guests: QEMU's words, one a line, and the settings that the guest script reads."""

from collections.abc import Iterator, Sequence

from hostwright.machine.model import Guest, Machine
from hostwright.vm.board import Accelerator
from hostwright.vm.guest_argv import (
    FIRST_SSH_PORT,
    HOST_PROBE,
    HOST_SETTINGS,
    name_bridge,
    name_tap,
    plan_host,
    plan_kvm_probe,
)


def render_host(machine: Machine) -> Iterator[tuple[str, str]]:
    """Paths below / and texts of what `guest` on the host reads: one argument, or one key and its value, a line."""
    for guest in machine.guests:
        folder = f"{HOST_SETTINGS}/{guest.name}"
        yield f"{folder}/settings", _render_settings(machine, guest)
        for accelerator in Accelerator:
            yield f"{folder}/{accelerator.value}.args", _lines(plan_host(machine, guest, accelerator))
    if machine.guests:
        yield HOST_PROBE, _lines(plan_kvm_probe())


def _render_settings(machine: Machine, guest: Guest) -> str:
    index = machine.guests.index(guest)
    bridge = name_bridge(machine, guest)
    known = {device.address: device for device in machine.devices}
    devices = [known[address] for address in guest.devices]
    storage = machine.find_storage(guest)
    return _lines((
        "# Written from host.toml ([[guest]]): a key and its value a line.",
        f"memory_mib {guest.memory_mib}",
        f"vcpus {guest.vcpus}",
        *([f"cpus {guest.cpus}"] if guest.cpus else []),
        f"cpu_weight {guest.cpu_weight}",
        f"disk_gib {guest.disk_gib}",
        f"mac {guest.mac}",
        f"account {guest.account}",
        f"autostart {'yes' if guest.autostart else 'no'}",
        *([f"storage {storage.name} {storage.mount}"] if storage else []),
        *([f"bridge {bridge}", f"tap {name_tap(machine, guest)}"] if bridge else [f"ssh {FIRST_SSH_PORT + index}"]),
        *(f"device {device.address} {device.id or '-'} {device.label}" for device in devices),
    ))  # fmt: skip


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
