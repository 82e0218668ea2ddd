"""The emulated machine that every image is proved in: a q35 with VT-d, as FUNCTIONS lists it.

    00:02.0 port with ACS    -> 01:00.0 NVMe drive
    00:03.0 port with ACS    -> 02:00.0 its twin, with the same id
    00:04.0 port without ACS -> 03:00.0 display, 03:00.1 xHCI: a GPU look-alike of two functions
    00:05.0 network card, the host's own
    00:1f.2 AHCI             -> the disk under test

QEMU gets its devices from here (`qemu`), and the proof its expectations (`judge`).
"""

from dataclasses import dataclass

from hostwright.machine.cmdline import serial_lines
from hostwright.machine.model import Machine
from hostwright.pci.function import FULL_ACS, Function, Kind
from hostwright.vm.board import (
    CODE,
    FOLDER,
    GUEST_ADDRESS,
    HOST_ADDRESS,
    VARS,
    Accelerator,
    Firmware,
    plan_board,
    plan_serial,
)

ROOT_DISK = "0000:00:1f.2"
DRIVES = ("drive1", "drive2")
NVME_DRIVES = ("0000:01:00.0", "0000:02:00.0")
MAC = "52:54:00:4c:41:01"
# The card's name, which follows from its place.
CARD = "enp0s5"
SSH_PORT = 22
# The first port that is tried from outside; tried is the next one that host.toml does not open.
CLOSED_PORT = 2200


@dataclass(frozen=True)
class Part:
    """A function, its default driver under our kernel, and the -device option that makes it.

    `driver` is empty if the kernel has none built in; `option` is empty for functions of the q35 board itself.
    """

    function: Function
    driver: str = ""
    option: str = ""


def _conventional(address: str, id: str, *, multifunction: bool = False) -> Function:
    return Function(f"0000:{address}", id, Kind.CONVENTIONAL, multifunction=multifunction)


def _port(number: int, *, has_acs: bool) -> Part:
    """A root port in slot 1 + `number`. The bus behind it is `number`, since firmware counts in order."""
    place = f"id=port{number},bus=pcie.0,addr={1 + number:02x}.0,chassis={number},slot={number}"
    function = Function(
        f"0000:00:{1 + number:02x}.0", "1b36:000c", Kind.ROOT_PORT, acs=FULL_ACS if has_acs else None
    )
    return Part(function, "pcieport", f"pcie-root-port,{place}" + ("" if has_acs else ",disable-acs=on"))


def _nvme(number: int) -> Part:
    function = Function(f"0000:0{number}:00.0", "1b36:0010", Kind.ENDPOINT, f"0000:00:{1 + number:02x}.0")
    return Part(function, "nvme", f"nvme,bus=port{number},addr=00.0,drive=drive{number},serial=LAB{number}")


def _behind_bad_port(number: int, id: str, driver: str, option: str) -> Part:
    function = Function(f"0000:03:00.{number}", id, Kind.ENDPOINT, "0000:00:04.0", multifunction=True)
    return Part(function, driver, f"{option},bus=port3,addr=00.{number}")


PARTS = (
    Part(_conventional("00:00.0", "8086:29c0")),
    # The host's own screen: the same id as the display of the look-alike.
    Part(_conventional("00:01.0", "1234:1111"), option="VGA,bus=pcie.0,addr=01.0"),
    _port(1, has_acs=True),
    _port(2, has_acs=True),
    _port(3, has_acs=False),
    Part(
        Function("0000:00:05.0", "8086:10d3", Kind.ROOT_COMPLEX_ENDPOINT),
        "e1000e",
        # Without a ROM: the firmware cannot boot from the network.
        f"e1000e,bus=pcie.0,addr=05.0,netdev=net,mac={MAC},romfile=",
    ),
    Part(_conventional("00:1f.0", "8086:2918", multifunction=True), "lpc_ich"),
    Part(_conventional("00:1f.2", "8086:2922", multifunction=True), "ahci"),
    Part(_conventional("00:1f.3", "8086:2930", multifunction=True), "i801_smbus"),
    _nvme(1),
    _nvme(2),
    _behind_bad_port(0, "1234:1111", "", "bochs-display,multifunction=on"),
    _behind_bad_port(1, "1b36:000d", "xhci_hcd", "qemu-xhci"),
)

BY_ADDRESS = {part.function.address: part for part in PARTS}
FUNCTIONS = tuple(part.function for part in PARTS)

# Modules of real machines without hardware here: the emulated processor has neither VT-x nor AMD-V.
MODULES_WITHOUT_HARDWARE = frozenset({"kvm_intel", "kvm_amd"})


IMAGE = "host.img"

MEMORY_MIB = 2048

NVME_MIB = 64
# The day after SOURCE_DATE_EPOCH: the same in every boot, and no file of the image is from the future.
CLOCK = "2026-01-02T00:00:00"


def plan_boot(
    machine: Machine,
    firmware: Firmware,
    accelerator: Accelerator,
    ssh_port: int = 0,
    guest_port: int = 0,
    closed_port: int = 0,
) -> tuple[str, ...]:
    """The lab with the image as its root disk, which is never written to.

    The host's ssh is at `ssh_port` of loopback, the ssh of a guest on its bridge at `guest_port`, and a port that the
    host does not open at `closed_port`; 0 forwards no port.
    The machine's main serial line is QEMU's standard input and output. Raises UserError for a line that a PC lacks.
    """
    return (
        *plan_board(accelerator),
        *plan_serial(serial_lines(machine)[-1][0], firmware),
        "-m", f"{MEMORY_MIB}M",
        "-rtc", f"base={CLOCK}",
        *_plan_firmware(firmware),
        *_plan_devices(),
        # What runs inside must not reach the loopback of this machine.
        "-netdev", "user,id=net,restrict=on" + _forward(ssh_port, HOST_ADDRESS) + _forward(guest_port, GUEST_ADDRESS)
        + _forward(closed_port, HOST_ADDRESS, find_closed_port(machine)),
        # The image stays unchanged: writes of the guest go to a temporary file.
        "-drive", f"if=none,id=root,file={FOLDER}/{IMAGE},format=raw,snapshot=on",
        "-device", "ide-hd,bus=ide.0,drive=root,bootindex=1",
    )  # fmt: skip


def find_closed_port(machine: Machine) -> int:
    """A TCP port that host.toml does not open."""
    return next(port for port in range(CLOSED_PORT, 1 << 16) if f"tcp/{port}" not in machine.network.inbound)


def _forward(port: int, address: str, target: int = SSH_PORT) -> str:
    return f",hostfwd=tcp:127.0.0.1:{port}-{address}:{target}" if port else ""


def _plan_firmware(firmware: Firmware) -> tuple[str, ...]:
    """OVMF in two flash drives, code and variable store; without it QEMU uses SeaBIOS."""
    if firmware is Firmware.BIOS:
        return ()
    return (
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FOLDER}/{CODE}",
        "-drive", f"if=pflash,unit=1,format=raw,file={FOLDER}/{VARS}",
    )  # fmt: skip


def _plan_devices() -> tuple[str, ...]:
    drives = [f"if=none,id={name},file={FOLDER}/{name}.img,format=raw" for name in DRIVES]
    options = [part.option for part in PARTS if part.option]
    return (
        *(word for drive in drives for word in ("-drive", drive)),
        *(word for option in options for word in ("-device", option)),
    )
