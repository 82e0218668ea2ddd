"""The argv of QEMU for the emulated lab machine: pure, nothing is started here.

    lab.PARTS + machine + firmware + accelerator -> plan_boot   the image under test
                                    accelerator -> plan_probe  the same board and processor with a kernel alone

Paths are those inside the sandbox: all files of a boot lie in one folder, FOLDER. qemu-system-x86_64(1).
"""

from enum import Enum

from hostwright.base.errors import UserError

FOLDER = "/output"

CODE = "OVMF_CODE.fd"
VARS = "OVMF_VARS.fd"
KERNEL = "bzImage"

# Five-level page tables cost time in emulation; nested virtualization is not what is proved here.
PROCESSOR = "max,la57=off,vmx=off,svm=off"
# The translator goes through a string instruction item by item, and a processor with these two is given bytes rather
# than words (arch/x86/lib/clear_page_64.S, copy_user_64.S): eight times the rounds for each page that is cleared.
EMULATED_PROCESSOR = f"{PROCESSOR},erms=off,fsrm=off"

# What QEMU's DHCP server gives to whoever asks first, and next.
HOST_ADDRESS, GUEST_ADDRESS = "10.0.2.15", "10.0.2.16"

# As many as an ISA bus has.
SERIAL_PORTS = 4
# So many have OVMF's console.
UEFI_PORTS = 2

PROBE_MEMORY_MIB = 256


class Firmware(Enum):
    """What the machine starts with: OVMF or SeaBIOS."""

    UEFI = "uefi"
    BIOS = "bios"


class Accelerator(Enum):
    """How the guest's instructions are run: QEMU's translator, or the processor through the kernel."""

    TCG = "tcg"
    KVM = "kvm"


def plan_probe(accelerator: Accelerator) -> tuple[str, ...]:
    """A kernel without a root: it panics, reboots because of panic=, and so ends QEMU.

    A smaller guest would not do: para-virtual KVM runs a few instructions well and then hangs a whole kernel.
    """
    return (
        *plan_board(accelerator),
        *plan_serial(0, Firmware.BIOS),
        "-m", f"{PROBE_MEMORY_MIB}M",
        "-kernel", f"{FOLDER}/{KERNEL}",
        "-append", "console=ttyS0 panic=-1 no_timer_check",
    )  # fmt: skip


def plan_board(accelerator: Accelerator) -> tuple[str, ...]:
    """A q35 with VT-d, its processor and no other device; a reset ends QEMU."""
    is_kvm = accelerator is Accelerator.KVM
    # Under KVM interrupt remapping needs the I/O APIC in QEMU.
    chip = ",kernel-irqchip=split" if is_kvm else ""
    # The translator of QEMU 10.0 with two processors in two threads now and then loses a timer for good, or ends at
    # an assertion (iotlb_to_section) when one of them maps a device.
    thread = "" if is_kvm else ",thread=single"
    return (
        "qemu-system-x86_64",
        "-nodefaults", "-no-user-config",
        "-M", f"q35{chip}",
        "-accel", f"{accelerator.value}{thread}",
        "-cpu", PROCESSOR if is_kvm else EMULATED_PROCESSOR,
        "-smp", "2" if is_kvm else "1",
        # Before all other devices, or they are created without it. 48 bits, or a 64-bit BAR cannot be mapped.
        "-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48",
        "-display", "none", "-monitor", "none",
        # A reset ends QEMU like a power-off; the kernel's last words show which it was.
        "-no-reboot",
    )  # fmt: skip


def plan_serial(number: int, firmware: Firmware) -> tuple[str, ...]:
    """Serial ports up to `number`, which the kernel speaks on.

    A boot loader started by a PC BIOS uses the same port. OVMF has its console on the first two (BdsPlatform.c,
    PrepareLpcBridgeDevicePath()): everything would be there twice if both were heard. What the kernel says on a
    further one goes to the same standard output.
    """
    if number >= SERIAL_PORTS:
        raise UserError(
            f"kernel.cmdline: console=ttyS{number}: the emulated machine has {SERIAL_PORTS} serial ports",
            f"use one of ttyS0 to ttyS{SERIAL_PORTS - 1}",
        )
    unused = ("-serial", "null")
    if firmware is Firmware.BIOS or number < UEFI_PORTS:
        return (*unused * number, "-serial", "stdio")
    return ("-serial", "stdio", *unused * (number - 1), "-serial", "file:/dev/stdout")
