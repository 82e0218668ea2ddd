"""The argv of QEMU for a guest: pure. Installing, booting and running it differ in a few words only.

    Guest + accelerator --plan_install--> the guest's machine with the medium in its drive
                        --plan_boot-----> the same machine from its own disk, for the check after the install
                        --plan_launch---> the same with the host's devices, by hand
                    --plan_host-----> the same in its places on the host, for `guest start`
    Machine --render_host--> what `guest` on the host reads

Every device has its own root port at a fixed address, also those that come later: buses keep their numbers, and so the
network card keeps its name whatever is added. qemu-system-x86_64(1), systemd.net-naming-scheme(7).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostwright.base.escape import qemu_value
from hostwright.machine.model import Guest, Machine
from hostwright.vm.board import EMULATED_PROCESSOR, Accelerator

FOLDER = "/output"
SOCKETS = "/run"
SOCKETS_FOLDER = "sockets"
MEDIUM = "install.iso"
DISK = "disk.qcow2"
CODE = "OVMF_CODE.fd"
VARS = "OVMF_VARS.fd"
CONSOLE_LOG = "console.log"
INSTALLER_LOG = "installer.log"
QEMU_LOG = "qemu.log"
SYSTEM, KERNEL, INITRD = "system.tar", "linux", "initrd"
SPARE_DRIVE, SPARE_DRIVE_ID = "drive.img", "drive"
QMP_SOCKET = "qmp"
VNC_SOCKET = "vnc"
VNC_PASSWORD = "vnc-password"

# Slots of the root bus: 01 the screen, then a port for each device.
DISK_SLOT, NET_SLOT, RNG_SLOT, FIRST_PASSED_SLOT = 2, 3, 4, 5
# Ports for as many devices at least: one can be added later without a bus getting another number.
_SPARE_PORTS = 4

# Where the host has what `guest` runs; the folders get the guest's name.
HOST_QEMU = "/usr/bin/qemu-system-x86_64"
HOST_FIRMWARE = "/usr/share/OVMF"
HOST_FOLDER = "/var/lib/hostwright/guests"
HOST_RUN_FOLDER = "/run/hostwright/guests"
HOST_SETTINGS = "etc/hostwright/guests"
HOST_PROBE = "etc/hostwright/kvm-probe.args"
HOST_KERNEL = "/boot/vmlinuz"
PROBE_MEMORY_MIB = 256
# Of the guest that host.toml names first; each further one has the next.
FIRST_SSH_PORT = 2201
# With all four classes denied, QEMU starts no program, and changes neither account nor scheduling (qemu-seccomp.c).
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

# In QEMU's user network: where a guest under construction finds the archive, and the program that QEMU starts for
# each connection to it. That program is given the archive's port of loopback.
ARCHIVE = "10.0.2.100"
RELAY = "relay.py"

# A reset ends QEMU: whoever started it looks at what the guest said last.
_NO_REBOOT = ("-no-reboot",)


@dataclass(frozen=True)
class Vnc:
    """Where the screen is shown: a unix socket, or the first free port of loopback from 5900 on, with a password."""

    unix: bool = True

    @property
    def password(self) -> bool:
        """Whether a client needs a password: loopback is open to every user, the socket's folder is not."""
        return not self.unix


def passed_port(index: int) -> str:
    """The id of the root port for the guest's passed device number `index`."""
    return f"port{FIRST_PASSED_SLOT + index}"


def slots(guest: Guest) -> range:
    """The slots of the root bus that hold a root port. Firmware gives their buses the numbers 1, 2 and so on."""
    return range(DISK_SLOT, FIRST_PASSED_SLOT + max(_SPARE_PORTS, len(guest.devices)))


def bus(slot: int) -> int:
    """The number of the bus behind the port in `slot`."""
    return slot - DISK_SLOT + 1


def plan_install(guest: Guest, accelerator: Accelerator, vnc: Vnc, archive_port: int) -> tuple[str, ...]:
    """The guest's machine with the medium in its drive; two serial lines: the console and the installer's log.

    Its network ends at ARCHIVE, which is `archive_port` of loopback.
    """
    return (
        *_plan_board(guest, accelerator),
        *_NO_REBOOT,
        *_plan_vnc(vnc),
        # Nothing of a broken-off install is kept: no flush is waited for.
        *_plan_disk("cache=unsafe"),
        *_plan_net(guest, _archive(archive_port)),
        "-drive", f"if=none,id=medium,media=cdrom,readonly=on,format=raw,file={FOLDER}/{MEDIUM}",
        "-device", "ide-cd,bus=ide.0,drive=medium,bootindex=1",
        "-serial", f"file:{FOLDER}/{CONSOLE_LOG}",
        "-serial", f"file:{FOLDER}/{INSTALLER_LOG}",
    )  # fmt: skip


def plan_second_stage(
    guest: Guest, accelerator: Accelerator, vnc: Vnc, words: Sequence[str], archive_port: int
) -> tuple[str, ...]:
    """The guest's machine with a kernel and an initramfs, which get `words`, and the archive SYSTEM as second disk.

    Its network is that of the install.
    """
    return (
        *_plan_board(guest, accelerator),
        *_NO_REBOOT,
        *_plan_vnc(vnc),
        *_plan_disk("cache=unsafe"),
        *_plan_net(guest, _archive(archive_port)),
        "-drive", f"if=none,id=system,format=raw,readonly=on,file={FOLDER}/{SYSTEM}",
        "-device", f"virtio-blk-pci,bus={passed_port(0)},addr=00.0,drive=system",
        "-kernel", f"{FOLDER}/{KERNEL}",
        "-initrd", f"{FOLDER}/{INITRD}",
        "-append", " ".join(words),
        "-serial", f"file:{FOLDER}/{CONSOLE_LOG}",
        "-serial", f"file:{FOLDER}/{INSTALLER_LOG}",
    )  # fmt: skip


def plan_boot(
    guest: Guest,
    accelerator: Accelerator,
    ssh_port: int,
    credentials: Sequence[str] = (),
    extra: Sequence[str] = (),
) -> tuple[str, ...]:
    """The installed guest on a disk that forgets what is written, its ssh at `ssh_port` of loopback.

    `credentials` are NAME=BASE64 for systemd (systemd.system-credentials(7)), `extra` further -device options, which
    may use the drive SPARE_DRIVE_ID.
    """
    return (
        *_plan_board(guest, accelerator),
        *_NO_REBOOT,
        *_plan_vnc(Vnc()),
        *_plan_disk("snapshot=on"),
        *_plan_net(guest, _ssh(ssh_port)),
        "-serial", f"file:{FOLDER}/{CONSOLE_LOG}",
        *(word for one in credentials for word in ("-smbios", f"type=11,value=io.systemd.credential.binary:{one}")),
        "-drive", f"if=none,id={SPARE_DRIVE_ID},format=raw,file={FOLDER}/{SPARE_DRIVE}",
        *(word for option in extra for word in ("-device", option)),
    )  # fmt: skip


def plan_launch(guest: Guest, folder: str) -> tuple[str, ...]:
    """The guest with its passed devices under KVM, its files in `folder`: what is typed by hand on the host.

    Its sockets are in a folder of their own, which only their owner may enter.
    """
    argv = (
        *_plan_board(guest, Accelerator.KVM),
        *_plan_vnc(Vnc()),
        *_plan_disk("cache=none"),
        *_plan_net(guest, _ssh(FIRST_SSH_PORT)),
        "-serial", f"file:{FOLDER}/{CONSOLE_LOG}",
        *(word for option in plan_passed(guest) for word in ("-device", option)),
    )  # fmt: skip
    return tuple(_lay(word, folder) for word in argv)


def _lay(word: str, folder: str) -> str:
    """A word with the real `folder` in it; the path of `-serial file:PATH` is taken as it stands (chardev/char.c)."""
    place = folder if word.startswith("file:") else qemu_value(folder)
    return _place((word,), {f"{FOLDER}/": f"{place}/", f"{SOCKETS}/": f"{place}/{SOCKETS_FOLDER}/"})[0]


def plan_host(machine: Machine, guest: Guest, accelerator: Accelerator) -> tuple[str, ...]:
    """The guest with its passed devices in its places on the host, for an account without rights.

    The monitor is a pair of FIFOs: a shell can write to it. A terminal on the pseudo terminal sees the console, which
    is also written to a file. QEMU makes the sockets, and nothing else; the tap device is there before it starts.
    """
    index = machine.guests.index(guest)
    argv = (
        *_plan_board(guest, accelerator),
        "-sandbox", _SANDBOX,
        "-chardev", f"pipe,id=monitor,path={SOCKETS}/monitor",
        "-mon", "chardev=monitor,mode=control",
        *_plan_vnc(Vnc()),
        *_plan_disk("cache=none"),
        *_plan_net(guest, _ssh(FIRST_SSH_PORT + index), name_tap(machine, guest)),
        # Appended to, so that the log can be cut while QEMU writes it.
        "-chardev", f"pty,id=console,path={SOCKETS}/console,logfile={FOLDER}/{CONSOLE_LOG},logappend=on",
        "-serial", "chardev:console",
        *(word for option in plan_passed(guest) for word in ("-device", option)),
    )  # fmt: skip
    return _place(argv, {
        argv[0]: HOST_QEMU,
        f"{FOLDER}/{CODE}": f"{HOST_FIRMWARE}/{CODE}",
        f"{FOLDER}/": f"{host_folder(machine, guest)}/",
        f"{SOCKETS}/monitor": f"{HOST_RUN_FOLDER}/{guest.name}/monitor",
        f"{SOCKETS}/": f"{HOST_RUN_FOLDER}/{guest.name}/{SOCKETS_FOLDER}/",
    })  # fmt: skip


def host_folder(machine: Machine, guest: Guest) -> str:
    """Where the host has the guest's disk, its variable store and what its console said."""
    storage = machine.find_storage(guest)
    return f"{storage.mount if storage else HOST_FOLDER}/{guest.name}"


def plan_kvm_probe() -> tuple[str, ...]:
    """The host's own kernel without a root, under KVM and the guests' firmware: it panics, and that ends QEMU.

    A smaller guest would not do: para-virtual KVM runs a few instructions well and then hangs a whole kernel.
    """
    return (
        HOST_QEMU,
        "-nodefaults", "-no-user-config",
        "-M", "q35",
        *_plan_processor(Accelerator.KVM, 1),
        "-m", f"{PROBE_MEMORY_MIB}M",
        "-monitor", "none", "-display", "none",
        *_NO_REBOOT,
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={HOST_FIRMWARE}/{CODE}",
        "-drive", f"if=pflash,unit=1,format=raw,snapshot=on,file={HOST_FIRMWARE}/{VARS}",
        "-kernel", HOST_KERNEL,
        "-append", "console=ttyS0 panic=-1",
        "-serial", "stdio",
    )  # fmt: skip


def name_bridge(machine: Machine, guest: Guest) -> str | None:
    """The bridge that a guest is on, where the host has one; None for QEMU's own network, which ends at the host."""
    bridge = machine.bridge_of(guest)
    return bridge.name if bridge else None


def name_tap(machine: Machine, guest: Guest) -> str | None:
    """The tap device of a guest on a bridge."""
    return f"guest{machine.guests.index(guest)}" if machine.bridge_of(guest) else None


def _place(argv: Sequence[str], places: Mapping[str, str]) -> tuple[str, ...]:
    """`argv` with each of `places` named by where it really is; what was put in is not looked at again."""
    known = re.compile("|".join(map(re.escape, places)))
    return tuple(known.sub(lambda found: places[found.group()], word) for word in argv)


def plan_passed(guest: Guest) -> tuple[str, ...]:
    """The -device options that hand the host's devices over, each on its own port."""
    return tuple(
        f"vfio-pci,host={address},bus={passed_port(index)},addr=00.0"
        for index, address in enumerate(guest.devices)
    )


def _plan_board(guest: Guest, accelerator: Accelerator) -> tuple[str, ...]:
    return (
        "qemu-system-x86_64",
        "-nodefaults", "-no-user-config",
        "-name", guest.name,
        "-M", "q35",
        *_plan_processor(accelerator, guest.vcpus),
        "-m", f"{guest.memory_mib}M",
        "-rtc", "base=utc",
        "-monitor", "none", "-display", "none",
        "-qmp", f"unix:{SOCKETS}/{QMP_SOCKET},server=on,wait=off",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FOLDER}/{CODE}",
        "-drive", f"if=pflash,unit=1,format=raw,file={FOLDER}/{VARS}",
        # Without a ROM: that is for a PC BIOS, and the host has none. OVMF has a driver of its own.
        "-device", "VGA,bus=pcie.0,addr=01.0,romfile=",
        *(word for slot in slots(guest) for word in ("-device", _port(slot))),
        "-device", f"virtio-rng-pci,bus=port{RNG_SLOT},addr=00.0",
    )  # fmt: skip


def _plan_processor(accelerator: Accelerator, vcpus: int) -> tuple[str, ...]:
    if accelerator is Accelerator.KVM:
        return ("-accel", "kvm", "-cpu", "host,host-phys-bits=on", "-smp", str(vcpus))
    # One thread: see qemu.py on what the translator does with more.
    return ("-accel", "tcg,thread=single", "-cpu", EMULATED_PROCESSOR, "-smp", "1")


def _port(slot: int) -> str:
    # No slot number: the card would be named after it, and libvirt gives none.
    return f"pcie-root-port,id=port{slot},bus=pcie.0,addr={slot:02x}.0,chassis={slot}"


def _plan_vnc(vnc: Vnc) -> tuple[str, ...]:
    # Whoever watches must not end the connection of the one who takes the pictures.
    place = f"unix:{SOCKETS}/{VNC_SOCKET}" if vnc.unix else "127.0.0.1:0,to=99"
    shared = f"{place},share=force-shared"
    if not vnc.password:
        return ("-vnc", shared)
    return (
        "-object",
        f"secret,id=vnc,file={SOCKETS}/{VNC_PASSWORD}",
        "-vnc",
        f"{shared},password-secret=vnc",
    )


def _plan_disk(how: str) -> tuple[str, ...]:
    return (
        "-drive", f"if=none,id=root,format=qcow2,discard=unmap,{how},file={FOLDER}/{DISK}",
        "-device", f"virtio-blk-pci,bus=port{DISK_SLOT},addr=00.0,drive=root,bootindex=2",
    )  # fmt: skip


def _ssh(port: int) -> str:
    return f"hostfwd=tcp:127.0.0.1:{port}-:22"


def _archive(port: int) -> str:
    return f"guestfwd=tcp:{ARCHIVE}:80-cmd:python3 -IS {FOLDER}/{RELAY} {port}"


def _plan_net(guest: Guest, forward: str, tap: str | None = None) -> tuple[str, ...]:
    # Without restrict=on every address of QEMU's own network leads to the loopback of the machine that runs it.
    user = f"user,id=net,restrict=on,{forward}"
    way = f"tap,id=net,ifname={tap},script=no,downscript=no" if tap else user
    return (
        "-netdev", way,
        # Without a ROM: the firmware has nothing to start from the network.
        "-device", f"virtio-net-pci,bus=port{NET_SLOT},addr=00.0,netdev=net,mac={guest.mac},romfile=",
    )  # fmt: skip
