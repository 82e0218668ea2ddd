"""Verdicts on what can be passed through: every rule has a machine that it applies to, and one that it does not."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostwright.base import paths, times
from hostwright.base.errors import UserError
from hostwright.doctor import diagnose as doctor
from hostwright.doctor import findings, hostuse, machine_wide, view, window
from hostwright.doctor.case import Answer, Diagnosis, Verdict, open_case
from hostwright.doctor.findings import Severity
from hostwright.formats import iommu_tables
from hostwright.machine import load
from hostwright.pci import capture, lspci
from hostwright.pci.function import ROOT, Kind
from hostwright.pci.inventory import Bar, Capture, PciFunction, ReservedRegion, fill_parents
from hostwright.pci.isolation import Setting
from tests.fakes.computer import (
    BAD_PORT,
    BOARD,
    CARD,
    CPUINFO,
    DRIVE,
    FUNCTIONS,
    GIB,
    GOOD_PORT,
    ISA,
    MIB,
    NIC,
    PLACES,
    SATA,
    SMBUS,
    SOUND,
    TEXTS,
    TWIN,
    WORSE_PORT,
    bar,
    build,
    change,
    dmar,
    function,
    in_groups,
    ivmd,
    ivrs,
    rmrr,
    scope,
    with_texts,
)

GOLDEN = paths.GOLDEN / "groups" / "t1-to-t10.tar.xz"
SETTING = Setting("6.12")
BTRFS = "9a4f2c1e-0b7d-4e8a-a1c3-5d6e7f801234"
BASE = build()
OFF = with_texts(BASE, dmesg="")
DIRECT = (ReservedRegion(0xD9000000, 0xD9FFFFFF, "direct"),)
USB = function("0000:00:14.0", Kind.ENDPOINT, "8086:8d31", 0x0C0330, driver="xhci_hcd")

# By the kernel's own word of class 0880 (apex_pci_fixup_class()).
TPU = function(
    *("0000:04:00.1", Kind.ENDPOINT, "1ac1:089a", 0x0880FF, "0000:00:02.0"),
    driver="apex",
    bars=(bar(0, 16 << 10),),
)


def judge(found: Capture, device: str) -> Verdict:
    return doctor.judge(open_case(found, SETTING), found.by_address[device])


def rules(verdict: Verdict) -> set[str]:
    return {one.rule for one in verdict.findings}


def tables(**found: bytes) -> Capture:
    return replace(BASE, tables=found)


def added(*functions: PciFunction) -> Capture:
    return replace(BASE, functions=(*FUNCTIONS, *functions))


def without(address: str) -> Capture:
    return replace(BASE, functions=tuple(one for one in FUNCTIONS if one.address != address))


def added_without_drive(*functions: PciFunction) -> Capture:
    return replace(BASE, functions=(*without(DRIVE).functions, *functions))


def placed(kind: str, **entries: str) -> Capture:
    return replace(BASE, classes={**BASE.classes, kind: entries})


def multipath() -> Capture:
    """The host's drive as one of two controllers' way to a namespace; another's has a number that begins alike."""
    head = "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1"
    ways = {
        f"nvme{name}": f"../../devices/pci0000:00/{address}/nvme/nvme{name}"
        for name, address in (("0c0n1", DRIVE), ("0c1n1", SATA), ("0c0n11", TWIN), ("1c0n1", TWIN))
    }
    return placed("block", nvme0n1=head, nvme0n1p2=f"{head}/nvme0n1p2", **ways)


def cleared(*registers: int) -> Capture:
    """The card with these base address registers, of which the kernel gave the third alone a place."""
    config = bytearray(BASE.by_address[CARD].config)
    config[0x10 : 0x10 + 4 * len(registers)] = b"".join(one.to_bytes(4, "little") for one in registers)
    return change(BASE, CARD, config=bytes(config), bars=(bar(2, MIB, 0xF0000000),))


def virtual(address: str) -> PciFunction:
    return function(address, Kind.ENDPOINT, "14e4:16a9", 0x020000, BAD_PORT, physical=NIC)


VMD, CHILD = "0000:00:0e.0", "10000:e1:00.0"


def volume_manager() -> Capture:
    """Intel's volume manager with a port and a drive behind it, all of one group."""
    port = "10000:e0:06.0"
    found = added(
        function(VMD, Kind.ROOT_COMPLEX_ENDPOINT, "8086:467f", 0x010400, driver="vmd"),
        function(port, Kind.ROOT_PORT, "8086:464d", 0x060400, behind=0xE1, owner=VMD, driver="pcieport"),
        function(CHILD, Kind.ENDPOINT, "144d:a80a", 0x010802, port, owner=VMD, driver="nvme"),
    )
    path = f"../../devices/pci0000:00/{VMD}/pci10000:e0/{port}/{CHILD}/nvme/nvme7/nvme7n1"
    return replace(found, classes={**BASE.classes, "block": {**BASE.classes["block"], "nvme7n1": path}})


# Machine, device, answer, and the rules of which it is the case; a rule after "-" must not apply.
CASES: dict[str, tuple[Capture, str, Answer, str]] = {
    "card and its sound": (BASE, CARD, Answer.COMPANIONS, "group-shared driver-holds iommu-off -group-override"),
    "sound": (BASE, SOUND, Answer.COMPANIONS, "group-shared -only-display -twin-ids"),
    "alone in its group": (BASE, TWIN, Answer.YES, "twin-ids driver-holds -group-shared -holds-root"),
    "the other display": (BASE, BOARD, Answer.YES, "-only-display -holds-console -boot-framebuffer"),
    "root file system": (BASE, DRIVE, Answer.NO, "holds-root twin-ids"),
    "default route": (BASE, NIC, Answer.NO, "holds-default-route"),
    "bridge": (BASE, GOOD_PORT, Answer.NO, "not-passable -driver-holds"),
    "ISA bridge": (BASE, ISA, Answer.NO, "not-passable"),
    "SMBus": (BASE, SMBUS, Answer.NO, "not-passable"),
    "Coral TPU": (added(TPU), TPU.address, Answer.YES, "driver-holds -not-passable"),
    "Coral TPU on a root bus": (
        *(added(replace(TPU, address="0000:00:06.0", parent=ROOT)), "0000:00:06.0", Answer.NO, "not-passable"),
    ),
    "system peripheral on bus 0, its bridge not told": (
        added(replace(TPU, address="0000:00:06.0", parent=None)),
        *("0000:00:06.0", Answer.NO, "not-passable"),
    ),
    "FPGA": (added(replace(TPU, class_code=0x058000)), TPU.address, Answer.YES, "-not-passable"),
    "card beside a TPU": (
        change(added(replace(TPU, address="0000:01:00.2", parent=GOOD_PORT)), SOUND, driver=""),
        *(CARD, Answer.COMPANIONS, "group-shared -group-override"),
    ),
    "CXL memory": (added(replace(TPU, class_code=0x050210)), TPU.address, Answer.NO, "not-passable"),
    "host bridge behind a port": (
        *(added(replace(TPU, class_code=0x060000)), TPU.address, Answer.NO, "not-passable"),
    ),
    "with the chipset's own": (BASE, SATA, Answer.NO, "group-host-needs group-no-override"),
    "with the firmware's flash": (
        change(change(BASE, ISA, driver=""), SMBUS, driver="", class_code=0x0C8000),
        *(SATA, Answer.YES, "-group-shared"),
    ),
    "with the firmware's flash and its driver": (
        change(change(BASE, ISA, driver=""), SMBUS, class_code=0x0C8000, driver="intel-spi"),
        *(SATA, Answer.NO, "group-host-needs group-no-override"),
    ),
    "the firmware's flash": (
        change(BASE, SMBUS, class_code=0x0C8000, driver=""),
        *(SMBUS, Answer.NO, "not-passable"),
    ),
    "UCSI of a card": (
        change(BASE, SOUND, class_code=0x0C8000, driver="ucsi_ccg"),
        *(CARD, Answer.COMPANIONS, "group-shared -group-override"),
    ),
    "with a chipset that has no drivers": (
        change(change(BASE, ISA, driver=""), SMBUS, driver=""),
        *(SATA, Answer.YES, "-group-host-needs -group-shared"),
    ),
    "behind a bridge that a driver has": (
        change(
            with_texts(without(DRIVE), default_route=""), WORSE_PORT, driver="shpchp"
        ),
        *(NIC, Answer.OVERRIDE, "group-override"),
    ),
    "behind bridges alone": (
        change(with_texts(BASE, default_route=""), DRIVE, driver="", class_code=0x060000),
        *(NIC, Answer.YES, "-group-shared"),
    ),
    "apart from the root by a word": (
        with_texts(BASE, default_route=""),
        *(NIC, Answer.OVERRIDE, "group-override -group-host-needs -holds-default-route"),
    ),
    "other drive mounted": (
        with_texts(BASE, mounted="nvme0n1p2\t/\nnvme1n1\t/srv"),
        *(TWIN, Answer.NO, "holds-mount -holds-root"),
    ),
    "swap": (with_texts(BASE, swaps="/dev/nvme1n1 partition 1 0 -2"), TWIN, Answer.NO, "holds-mount"),
    "root by /proc/mounts alone": (
        with_texts(BASE, mounted="", mounts="/dev/nvme1n1 / ext4 rw 0 0"),
        *(TWIN, Answer.NO, "holds-root"),
    ),
    "root below a mapped disk": (
        with_texts(BASE, mounted="dm-0\t/", lower="dm-0\tmd1\nmd1\tnvme1n1\nmd1\tdm-0"),
        *(TWIN, Answer.NO, "holds-root"),
    ),
    "route through a bridge": (
        with_texts(BASE, default_route="br0", lower="br0\teth0"),
        *(NIC, Answer.NO, "holds-default-route"),
    ),
    "card of a bridge without a route": (
        with_texts(BASE, default_route="", lower="br0\teth0"),
        *(NIC, Answer.NO, "holds-network -holds-default-route"),
    ),
    "root on the other disk of a btrfs": (
        with_texts(BASE, mounts="/dev/sda1 / btrfs rw 0 0", mounted="", lower=f"{BTRFS}\tsda1\n{BTRFS}\tnvme1n1"),
        *(TWIN, Answer.NO, "holds-root -holds-part -unknown-use"),
    ),
    "root on a btrfs of mapped disks": (
        with_texts(
            BASE, mounted="dm-0\t/", lower=f"{BTRFS}\tdm-0\n{BTRFS}\tdm-1\ndm-0\tsda1\ndm-1\tnvme1n1"
        ),
        *(TWIN, Answer.NO, "holds-root -holds-part"),
    ),
    "btrfs of other disks": (
        with_texts(BASE, lower=f"{BTRFS}\tnvme0n1p2\n{BTRFS}\tsda1"),
        *(TWIN, Answer.YES, "-holds-root -holds-part"),
    ),
    "part of what nobody has mounted": (
        with_texts(BASE, lower="dm-3\tmd0\nmd0\tnvme1n1"),
        *(TWIN, Answer.NO, "holds-part -holds-mount"),
    ),
    "disk that a pool may have": (
        with_texts(BASE, mounts="rpool/data /data zfs rw 0 0"),
        *(TWIN, Answer.YES, "unknown-use"),
    ),
    "disk of the host beside a pool": (
        with_texts(BASE, mounts="rpool/data /data zfs rw 0 0"),
        *(DRIVE, Answer.NO, "holds-root -unknown-use"),
    ),
    "controller without a disk beside a pool": (
        replace(
            with_texts(BASE, mounts="rpool/data /data zfs rw 0 0"),
            classes={"block": {name: path for name, path in PLACES["block"].items() if name != "nvme1n1"}},
        ),
        *(TWIN, Answer.YES, "-unknown-use"),
    ),
    "disk of a bcachefs": (
        with_texts(BASE, mounts="/dev/sda1:/dev/nvme1n1 /data bcachefs rw 0 0"),
        *(TWIN, Answer.NO, "holds-mount"),
    ),
    "disk that a bcachefs may have": (
        with_texts(BASE, mounts="/dev/sda1 /data bcachefs rw 0 0"),
        *(TWIN, Answer.YES, "unknown-use"),
    ),
    "root on a namespace of several controllers": (multipath(), DRIVE, Answer.NO, "holds-root -unknown-use"),
    "root on a namespace, its other controller": (multipath(), SATA, Answer.NO, "holds-root"),
    "other namespaces of several controllers": (multipath(), TWIN, Answer.YES, "-holds-root -unknown-use"),
    "mounted on a namespace of several controllers": (
        with_texts(multipath(), mounted="nvme0n1\t/srv"),
        *(DRIVE, Answer.NO, "holds-mount"),
    ),
    "root on a disk that is not told": (with_texts(BASE, mounted="zroot\t/"), TWIN, Answer.YES, "unknown-use"),
    "root on none of its disks": (
        replace(with_texts(BASE, mounted=""), classes={"block": {"sda": f"../../devices/pci0000:00/{SATA}/sda"}}),
        *(TWIN, Answer.YES, "-unknown-use"),
    ),
    "route through an interface without a card": (
        with_texts(BASE, default_route="ovsbr0"),
        *(NIC, Answer.OVERRIDE, "unknown-use -holds-default-route"),
    ),
    "route without a card, a function without an interface": (
        with_texts(placed("net", wg0="../../devices/virtual/net/wg0"), default_route="wg0"),
        *(NIC, Answer.OVERRIDE, "-unknown-use"),
    ),
    "routes through a tunnel and a card": (
        with_texts(BASE, default_route="wg0\neth0"),
        *(NIC, Answer.NO, "holds-default-route -unknown-use"),
    ),
    "routes that reject": (
        with_texts(BASE, default_route="*\nlo"),
        *(NIC, Answer.OVERRIDE, "-unknown-use -holds-default-route"),
    ),
    "no interfaces told": (
        placed("net"),
        *(NIC, Answer.OVERRIDE, "unknown-use -holds-default-route"),
    ),
    "console on the board's display": (
        replace(BASE, cmdline="ro quiet"),
        *(BOARD, Answer.NO, "holds-console"),
    ),
    "console elsewhere": (replace(BASE, cmdline="ro quiet"), CARD, Answer.COMPANIONS, "-holds-console"),
    "VGA text": (
        replace(placed("graphics"), cmdline="ro", functions=change(BASE, BOARD, is_boot_vga=True).functions),
        *(BOARD, Answer.NO, "holds-console"),
    ),
    "only display": (
        change(BASE, BOARD, class_code=0x028000, driver=""),
        *(CARD, Answer.COMPANIONS, "only-display"),
    ),
    "3D controller without an output": (
        change(change(BASE, BOARD, class_code=0x028000), CARD, class_code=0x030200),
        *(CARD, Answer.COMPANIONS, "-only-display"),
    ),
    "boot framebuffer": (
        with_texts(BASE, iomem="  4000000000-40007effff : efifb"),
        *(CARD, Answer.COMPANIONS, "boot-framebuffer -holds-console"),
    ),
    "boot framebuffer of efidrm": (
        with_texts(BASE, iomem="  4000000000-40007effff : efidrm"),
        *(CARD, Answer.COMPANIONS, "boot-framebuffer"),
    ),
    "boot framebuffer of vesadrm": (
        with_texts(BASE, iomem="  4000000000-40007effff : vesadrm"),
        *(CARD, Answer.COMPANIONS, "boot-framebuffer"),
    ),
    "boot framebuffer as the console": (
        replace(with_texts(placed("graphics"), iomem="4000000000-40007effff : BOOTFB"), cmdline="ro"),
        *(CARD, Answer.NO, "boot-framebuffer holds-console"),
    ),
    "framebuffer elsewhere": (
        with_texts(BASE, iomem="c8000000-c87effff : efifb"),
        *(CARD, Answer.COMPANIONS, "-boot-framebuffer"),
    ),
    "framebuffer larger than the BAR": (
        with_texts(BASE, iomem="4000000000-5000000000 : efifb"),
        *(CARD, Answer.COMPANIONS, "-boot-framebuffer"),
    ),
    "addresses hidden": (
        with_texts(BASE, iomem="00000000-00000000 : efifb"),
        *(CARD, Answer.COMPANIONS, "-boot-framebuffer"),
    ),
    "no driver yet": (change(BASE, CARD, driver=""), CARD, Answer.COMPANIONS, "driver-first -driver-holds"),
    "bound to vfio-pci": (
        change(BASE, CARD, driver="vfio-pci"),
        *(CARD, Answer.COMPANIONS, "-driver-first -driver-holds"),
    ),
    "without power": (
        change(in_groups(BASE), TWIN, config=b"", is_silent=True),
        *(TWIN, Answer.NO, "not-responding"),
    ),
    "beside one without power": (
        change(in_groups(BASE), TWIN, config=b"", is_silent=True),
        *(BOARD, Answer.YES, "groups-now -not-responding"),
    ),
    "virtual functions on": (
        *(added(virtual("0000:02:02.0")), NIC, Answer.NO, "vfs-enabled -virtual-function"),
    ),
    "virtual function": (
        added(virtual("0000:02:02.0")),
        *("0000:02:02.0", Answer.OVERRIDE, "virtual-function -vfs-enabled -unknown-reset"),
    ),
    "virtual function with its physical one alone": (
        with_texts(added_without_drive(virtual("0000:02:02.0")), default_route=""),
        *("0000:02:02.0", Answer.OVERRIDE, "group-override virtual-function -group-shared"),
    ),
    "virtual function apart from its physical one": (
        added(replace(virtual("0000:04:10.0"), parent="0000:00:02.0", physical=TWIN)),
        *("0000:04:10.0", Answer.YES, "virtual-function -group-shared -group-override"),
    ),
    "behind VMD": (change(BASE, TWIN, owner="0000:00:0e.0"), TWIN, Answer.NO, "behind-vmd"),
    "VMD": (volume_manager(), VMD, Answer.YES, "driver-holds -group-shared -behind-vmd"),
    "VMD with a mounted drive": (
        with_texts(volume_manager(), mounted="nvme0n1p2\t/\nnvme7n1\t/srv"),
        *(VMD, Answer.NO, "holds-mount group-host-needs"),
    ),
    "in another domain": (
        added(function("0001:00:00.0", Kind.ENDPOINT, "144d:a80a", 0x010802)),
        *("0001:00:00.0", Answer.YES, "other-domain"),
    ),
    "USB": (added(USB), USB.address, Answer.YES, "driver-holds"),
    # RMRR.
    "RMRR of a NIC": (
        tables(DMAR=dmar(rmrr(0xD9000000, 0xD9FFFFFF, scope(0, (0, 0)), scope(0, (0x1C, 0), (0, 0))))),
        *(NIC, Answer.NO, "rmrr-direct"),
    ),
    "RMRR of another": (
        tables(DMAR=dmar(rmrr(0xD9000000, 0xD9FFFFFF, scope(0, (0x1C, 1), (0, 0))))),
        *(TWIN, Answer.YES, "-rmrr-direct -unknown-firmware-regions"),
    ),
    "RMRR of all behind a bridge": (
        tables(DMAR=dmar(rmrr(0, 0xFFF, scope(0, (2, 0), kind=2)))),
        *(TWIN, Answer.NO, "rmrr-direct"),
    ),
    "RMRR of a bridge as an endpoint": (
        tables(DMAR=dmar(rmrr(0, 0xFFF, scope(0, (2, 0), kind=1)))),
        *(TWIN, Answer.YES, "-rmrr-direct"),
    ),
    "RMRR by the device's own bus": (
        tables(DMAR=dmar(rmrr(0, 0xFFF, scope(4, (0, 0))))),
        *(TWIN, Answer.NO, "rmrr-direct"),
    ),
    "RMRR of another segment": (
        tables(DMAR=dmar(rmrr(0, 0xFFF, scope(4, (0, 0)), segment=1))),
        *(TWIN, Answer.YES, "-rmrr-direct"),
    ),
    "RMRR of a display": (
        tables(DMAR=dmar(rmrr(0, 0xFFF, scope(0, (1, 0), (0, 0))))),
        *(CARD, Answer.COMPANIONS, "rmrr-relaxable -rmrr-direct"),
    ),
    "RMRR of a companion": (
        tables(DMAR=dmar(rmrr(0, 0xFFF, scope(0, (1, 0), (0, 1))))),
        *(CARD, Answer.OVERRIDE, "group-override -rmrr-direct"),
    ),
    "RMRR of a part of the chipset without a driver": (
        replace(
            change(change(BASE, ISA, driver=""), SMBUS, driver=""),
            tables={"DMAR": dmar(rmrr(0, 0xFFF, scope(0, (0x1F, 3))))},
        ),
        *(SATA, Answer.NO, "group-host-needs group-no-override -rmrr-direct"),
    ),
    "RMRR of a bridge in the group": (
        replace(
            with_texts(change(BASE, DRIVE, driver="", class_code=0x060000), default_route=""),
            tables={"DMAR": dmar(rmrr(0, 0xFFF, scope(0, (0x1C, 1), kind=2)))},
        ),
        *(NIC, Answer.OVERRIDE, "group-override -rmrr-direct"),
    ),
    "RMRR of a display without a driver in the group": (
        replace(
            with_texts(change(BASE, DRIVE, driver="", class_code=0x030000), mounted="", default_route=""),
            tables={"DMAR": dmar(rmrr(0, 0xFFF, scope(0, (0x1C, 1), (0, 0))))},
        ),
        *(NIC, Answer.COMPANIONS, "group-shared -group-override -rmrr-direct"),
    ),
    "RMRR of USB": (
        replace(added(USB), tables={"DMAR": dmar(rmrr(0, 0xFFF, scope(0, (0x14, 0))))}),
        *(USB.address, Answer.YES, "rmrr-relaxable"),
    ),
    "table cut off": (tables(DMAR=dmar(rmrr(0, 1))[:-2]), TWIN, Answer.YES, "unknown-firmware-regions"),
    "direct in the kernel's list": (
        in_groups(BASE, (TWIN,), regions=DIRECT),
        *(TWIN, Answer.NO, "rmrr-direct -iommu-off"),
    ),
    "kernel's list without what the table has": (
        in_groups(tables(DMAR=dmar(rmrr(0xD9000000, 0xD9FFFFFF, scope(4, (0, 0))))), (TWIN,)),
        *(TWIN, Answer.YES, "-rmrr-direct"),
    ),
    "kernel's list is of the other member": (
        in_groups(
            tables(DMAR=dmar(rmrr(0xD9000000, 0xD9FFFFFF, scope(0, (1, 0), (0, 1))))),
            *((CARD, SOUND),),
            regions=DIRECT,
        ),
        *(CARD, Answer.OVERRIDE, "-rmrr-direct"),
    ),
    # IVMD.
    "IVMD for one": (tables(IVRS=ivrs(ivmd(0x21, 0x400, 0, 0xD9000000, 0x1000))), TWIN, Answer.NO, "ivmd"),
    "IVMD for a range": (tables(IVRS=ivrs(ivmd(0x22, 0x300, 0x4FF, 0, 0x1000))), TWIN, Answer.NO, "ivmd"),
    "IVMD for others": (tables(IVRS=ivrs(ivmd(0x22, 0x500, 0x5FF, 0, 0x1000))), TWIN, Answer.YES, "-ivmd"),
    "IVMD for those before": (
        tables(IVRS=ivrs(ivmd(0x22, 0x300, 0x3FF, 0, 0x1000))),
        *(TWIN, Answer.YES, "-ivmd"),
    ),
    "IVMD for all": (
        tables(IVRS=ivrs(ivmd(0x20, 0, 0, 0, 0x1000))),
        *(CARD, Answer.NO, "ivmd -rmrr-relaxable"),
    ),
    "IVMD without a mapping": (
        tables(IVRS=ivrs(ivmd(0x20, 0, 0, 0, 0x1000, flags=6))),
        *(TWIN, Answer.YES, "-ivmd"),
    ),
    # IOMMU, interrupts, processor.
    "no table": (replace(BASE, tables={}), TWIN, Answer.NO, "iommu-missing -unknown-firmware-regions"),
    "no table, but the log has it": (
        with_texts(replace(BASE, tables={}), dmesg="[ 0.0] ACPI: DMAR 0x7B 000 (v01 HP)"),
        *(TWIN, Answer.YES, "iommu-off unknown-firmware-regions -iommu-missing"),
    ),
    "tables not readable": (
        replace(change(BASE, TWIN, is_whole=False), tables={}),
        *(TWIN, Answer.UNKNOWN, "unknown-iommu unknown-group"),
    ),
    "interrupts not remapped": (
        with_texts(BASE, dmesg="DMAR-IR: Failed to enable irq remapping. You are vulnerable"),
        *(TWIN, Answer.NO, "no-interrupt-remapping"),
    ),
    "interrupt remapping switched off": (
        replace(OFF, cmdline="ro console=ttyS0 intremap=off"),
        *(TWIN, Answer.NO, "no-interrupt-remapping"),
    ),
    "no flag in the DMAR": (
        replace(OFF, tables={"DMAR": dmar(flags=0)}),
        *(TWIN, Answer.NO, "no-interrupt-remapping"),
    ),
    "flag in the DMAR": (OFF, TWIN, Answer.YES, "-no-interrupt-remapping -unknown-interrupts"),
    "AMD without a log": (replace(OFF, tables={"IVRS": ivrs()}), TWIN, Answer.YES, "unknown-interrupts"),
    "AMD with a log": (
        replace(with_texts(BASE, dmesg="AMD-Vi: Interrupt remapping enabled"), tables={"IVRS": ivrs()}),
        *(TWIN, Answer.YES, "-unknown-interrupts -no-interrupt-remapping"),
    ),
    "in no group": (
        replace(change(in_groups(BASE), TWIN, group=None)),
        *(TWIN, Answer.NO, "no-group"),
    ),
    # BARs and reset.
    "BAR beyond what firmware opens": (
        change(BASE, CARD, bars=(bar(1, 4 << 40),)),
        *(CARD, Answer.COMPANIONS, "-bar-window -bar-window-small"),
    ),
    "BAR that the firmware must be told of": (
        with_texts(
            change(BASE, CARD, bars=(bar(1, 64 * GIB), bar(3, 32 * MIB))),
            cpuinfo=CPUINFO.replace("46 bits", "39 bits"),
        ),
        *(CARD, Answer.COMPANIONS, "bar-window-small -bar-window"),
    ),
    "BAR larger than any window": (
        with_texts(
            change(BASE, CARD, bars=(bar(1, 512 * GIB),)), cpuinfo=CPUINFO.replace("46 bits", "39 bits")
        ),
        *(CARD, Answer.NO, "bar-window"),
    ),
    "BAR and an unknown processor": (
        with_texts(change(BASE, CARD, bars=(bar(1, 64 * GIB),)), cpuinfo=""),
        *(CARD, Answer.COMPANIONS, "bar-window-small"),
    ),
    "BAR without an address": (
        change(BASE, CARD, bars=(bar(1, 16 * GIB, start=0),)),
        *(CARD, Answer.COMPANIONS, "bar-unassigned"),
    ),
    "BAR that the kernel cleared": (
        cleared(0xC, 0, 0xF0000004, 0),
        *(CARD, Answer.COMPANIONS, "bar-unassigned"),
    ),
    "BAR of 32 bits that the kernel cleared": (cleared(0, 0x8), CARD, Answer.COMPANIONS, "bar-unassigned"),
    "no BAR, one for ports, one that is said, upper halves": (
        cleared(0, 0x5, 0xF0000004, 0xC),
        *(CARD, Answer.COMPANIONS, "-bar-unassigned"),
    ),
    "BARs of a virtual function": (
        change(cleared(0xC), CARD, physical=NIC),
        *(CARD, Answer.YES, "-bar-unassigned"),
    ),
    "no BAR is told": (
        replace(BASE, functions=tuple(replace(one, bars=()) for one in FUNCTIONS)),
        *(TWIN, Answer.YES, "unknown-bars"),
    ),
    "no reset": (replace(added(replace(USB, resets=()))), USB.address, Answer.YES, "no-reset"),
    "reset of the bus": (
        change(BASE, CARD, resets=()),
        *(CARD, Answer.COMPANIONS, "reset-bus-only -no-reset"),
    ),
    "reset of the bus, named": (
        change(BASE, CARD, resets=("bus",)),
        *(CARD, Answer.COMPANIONS, "reset-bus-only -no-reset"),
    ),
    "reset of the bus, alone on it": (
        change(BASE, TWIN, resets=("bus",)),
        *(TWIN, Answer.YES, "-reset-bus-only -no-reset -unknown-reset"),
    ),
    "no reset, alone on its bus": (change(BASE, TWIN, resets=()), TWIN, Answer.YES, "no-reset -reset-bus-only"),
    "reset by power states": (change(BASE, TWIN, resets=("pm", "bus")), TWIN, Answer.YES, "-reset-bus-only"),
    "reset not told": (change(BASE, TWIN, resets=None), TWIN, Answer.YES, "unknown-reset"),
    "second node": (change(BASE, TWIN, numa_node=1), TWIN, Answer.YES, "numa-node"),
    "one node": (BASE, TWIN, Answer.YES, "-numa-node"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "device", "answer", "wanted"), CASES.values(), ids=CASES)
def test_verdicts(found: Capture, device: str, answer: Answer, wanted: str) -> None:
    case = open_case(found, SETTING)
    verdict = doctor.judge(case, found.by_address[device])
    applied = rules(verdict) | {one.rule for one in case.findings}
    for rule in wanted.split():
        assert rule.removeprefix("-") in findings.load()
        assert (rule.removeprefix("-") in applied) is not rule.startswith("-"), applied
    assert verdict.answer is answer, verdict
    assert all(one.remedy for one in verdict.findings)


def test_every_rule_of_the_doctor_has_a_case() -> None:
    """Those about the whole machine, and of sources without facts, have tests of their own."""
    elsewhere = {
        *("firmware-needed", "firmware-missing", "hugepages", "unknown-cpu", "cpu-no-virtualization"),
        *("unknown-driver", "groups-now"),
    }
    package = paths.TREE / "hostwright" / "doctor"
    modules = [file for file in package.glob("*.py") if file.stem != "refusal"]
    quoted = {word for file in modules for word in re.findall(r'"([a-z-]+)"', file.read_text())}
    used = quoted & set(findings.load())
    covered = {rule for *_, wanted in CASES.values() for rule in wanted.split()}
    assert len(used) > 30
    assert used - elsewhere - covered == set()


def test_words_and_companions() -> None:
    freed = judge(with_texts(BASE, default_route=""), NIC)
    assert freed.words == ("id:8086:0c05",)
    assert freed.companions == ()
    assert "0000:03:00.0 (/ on nvme0n1p2)" in " ".join(one.text for one in freed.findings)
    assert judge(BASE, CARD).companions == (SOUND,)


def test_cards_without_a_class_of_their_own_are_told_by_their_memory() -> None:
    beside = replace(TPU, address="0000:01:00.2", parent=GOOD_PORT, driver="")
    sd, blank = replace(TPU, class_code=0x080501), replace(beside, bars=())
    assert judge(added(beside), CARD).companions == (SOUND, beside.address)
    assert judge(added(blank), CARD).companions == (SOUND,)
    shown = {one.device.address for one in doctor.examine(added(beside, TPU), SETTING).verdicts}
    assert {beside.address, TPU.address} <= shown
    hidden = {one.device.address for one in doctor.examine(added(blank, sd), SETTING).verdicts}
    assert not {blank.address, sd.address} & hidden


def test_virtual_functions_are_gone_with_their_physical_one() -> None:
    other = function("0000:02:00.1", Kind.ENDPOINT, "14e4:165f", 0x020000, BAD_PORT, several=True)
    found = with_texts(added_without_drive(other, virtual("0000:02:02.0")), default_route="")
    assert judge(found, other.address).companions == (NIC,)


@pytest.mark.parametrize(
    "line",
    [
        f"pci {CARD}: BAR 0 [mem size 0x400000000 64bit pref]: can't assign; no space",
        f"[    0.7] pci {CARD}: BAR 0: failed to assign [mem size 0x400000000 64bit pref]",
    ],
)
def test_size_of_a_cleared_bar_is_in_the_kernel_log(line: str) -> None:
    other = f"pci {TWIN}: BAR 0 [mem size 0x1000 64bit]: failed to assign"
    found = with_texts(cleared(0xC), dmesg=f"{line}\n{other}\npci {CARD}: BAR 0 [mem size 0x20]: assigned")
    (said,) = (one.text for one in judge(found, CARD).findings if one.rule == "bar-unassigned")
    assert said == f"BAR 0 (16 GiB) of {CARD} has no address: firmware left no room for it"


def test_others_on_the_bus_are_others() -> None:
    found = judge(change(BASE, CARD, resets=("bus",)), CARD).findings
    (said,) = (one.text for one in found if one.rule == "reset-bus-only")
    assert said == f"{CARD} is reset only with its whole bus, which also holds {SOUND}"


def test_findings_come_gravest_first() -> None:
    order = [list(Severity).index(one.severity) for one in judge(BASE, DRIVE).findings]
    assert order == sorted(order)
    assert order[0] == 0


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"cpuinfo": CPUINFO.replace("vmx ", "")}, "cpu-no-virtualization"),
        ({"cpuinfo": ""}, "unknown-cpu"),
        (
            {"dmesg": f"tg3 {NIC}: Direct firmware load for tigon/tg357766.bin failed with error -2"},
            "firmware-missing",
        ),
        ({"meminfo": "HugePages_Total:    512\nHugepagesize:       2048 kB"}, "hugepages"),
    ],
)
def test_findings_about_the_machine_refuse_nothing(changes: dict[str, str], rule: str) -> None:
    case = open_case(with_texts(BASE, **changes), SETTING)
    assert rule in {one.rule for one in case.findings}
    assert rule not in {one.rule for one in open_case(BASE, SETTING).findings}
    assert doctor.judge(case, case.known[TWIN]).answer is Answer.YES


def test_a_driver_that_needs_firmware_is_named_with_it() -> None:
    said = {one.rule: one for one in open_case(change(BASE, NIC, driver="bnx2"), SETTING).findings}
    assert said["firmware-needed"].text.startswith(f"{NIC}: the driver bnx2 needs firmware (bnx2/*)")
    assert "name bnx2 in kernel.firmware" in said["firmware-needed"].remedy
    assert "firmware-needed" not in {one.rule for one in open_case(BASE, SETTING).findings}


def test_huge_pages_have_a_size() -> None:
    found = with_texts(BASE, meminfo="HugePages_Total:    512\nHugepagesize:       2048 kB")
    assert "1 GiB of huge pages" in " ".join(one.text for one in open_case(found, SETTING).findings)


def test_groups_of_the_running_kernel_where_the_rules_lack_facts() -> None:
    blind = change(in_groups(BASE, (CARD, SOUND), (NIC, DRIVE)), TWIN, is_whole=False)
    assert judge(blind, CARD).answer is Answer.COMPANIONS
    assert "groups-now" in rules(judge(blind, CARD))
    said = judge(with_texts(blind, default_route=""), NIC)
    assert said.answer is Answer.UNKNOWN
    assert "which the host needs" in " ".join(one.text for one in said.findings)


def test_vendors() -> None:
    assert machine_wide.find_vendor(BASE) == "intel"
    assert machine_wide.find_vendor(tables(IVRS=ivrs())) == "amd"
    assert machine_wide.find_vendor(with_texts(tables(), cpuinfo="vendor_id : AuthenticAMD")) == "amd"
    assert machine_wide.find_vendor(with_texts(tables(), cpuinfo="")) == ""
    bridge = function("0000:00:00.0", Kind.CONVENTIONAL, "1022:1480", 0x060000)
    assert machine_wide.find_vendor(Capture("lspci", (bridge,))) == "amd"


def test_listing_without_anything_else() -> None:
    text = "00:02.0 VGA compatible controller [0300]: Red Hat [1af4:1050] (rev 01)\n"
    verdict = judge(lspci.read(text, "listing"), "0000:00:02.0")
    assert verdict.answer is Answer.UNKNOWN
    assert rules(verdict) >= {
        *("unknown-group", "unknown-driver", "unknown-bars", "unknown-reset", "unknown-use"),
        *("unknown-firmware-regions", "only-display"),
    }


# Tables.


def test_rmrrs_are_read() -> None:
    table = dmar(rmrr(0x1000, 0x1FFF, scope(0, (2, 0), (0, 1)), scope(0x80, (1, 0), kind=2), segment=3))
    (found,) = iommu_tables.read_rmrrs(table)
    assert (found.segment, found.start, found.end) == (3, 0x1000, 0x1FFF)
    assert found.scopes == (
        iommu_tables.Scope(0, ((2, 0), (0, 1))),
        iommu_tables.Scope(0x80, ((1, 0),), True),
    )
    assert iommu_tables.is_whole(table)
    assert not iommu_tables.is_whole(table[:-1])


def test_ivmds_are_read() -> None:
    (found,) = iommu_tables.read_ivmds(ivrs(ivmd(0x22, 0x100, 0x1FF, 0x5000, 0x2000)))
    assert (found.first, found.last, found.start, found.end) == (0x100, 0x1FF, 0x5000, 0x6FFF)


@given(
    st.binary(max_size=200), st.sampled_from([dmar(rmrr(0, 1, scope(0, (1, 0)))), ivrs(ivmd(32, 0, 0, 0, 1))])
)
@settings(deadline=None)
def test_any_bytes_are_a_table(tail: bytes, head: bytes) -> None:
    for data in (tail, head[:48] + tail, head + tail):
        list(iommu_tables.read_rmrrs(data))
        list(iommu_tables.read_ivmds(data))
        iommu_tables.remaps_interrupts(data)


# Windows.


@pytest.mark.parametrize(
    ("bits", "flags", "default", "largest"),
    [
        (46, "pdpe1gb", 8 << 40, 16 << 40),
        (52, "pdpe1gb", 8 << 40, 16 << 40),
        (48, "fpu", 128 * GIB, 512 * GIB),
        (39, "pdpe1gb", 64 * GIB, 256 * GIB),
        (36, "pdpe1gb", 32 * GIB, 32 * GIB),
    ],
)
def test_windows(bits: int, flags: str, default: int, largest: int) -> None:
    text = f"flags : {flags}\naddress sizes : {bits} bits physical, 48 bits virtual"
    assert window.find_window(text) == window.Window(default, largest)


def test_room_that_devices_take() -> None:
    card = (bar(1, 16 * GIB), bar(3, 32 * MIB), Bar(0, 0xC0000000, 16 * MIB))
    own = window.OWN_DEVICES
    assert window.measure([card]) == 16 * GIB + 32 * MIB + own
    # The second port's window begins at a multiple of 16 GiB.
    assert window.measure([card, (), card]) == 48 * GIB + 32 * MIB + own
    assert window.measure([[]]) == own
    # Behind a bridge, what is not prefetchable lies below 4 GiB.
    assert window.measure([[Bar(0, 1 << 40, GIB, True, True, False)]]) == own


def test_sizes_have_names() -> None:
    assert [times.name_size(size) for size in (512, 4096, 3 * MIB // 2, 16 * GIB + 32 * MIB)] == [
        *("512 bytes", "4 KiB", "1.5 MiB", "16.03 GiB"),
    ]


# What the host uses.


def test_uses_by_address() -> None:
    uses = hostuse.find_uses(with_texts(BASE, mounted="nvme0n1p2\t/\nnvme0n1p2\t/srv"))
    assert [use.rule for use in uses[DRIVE]] == ["holds-root", "holds-mount"]
    assert WORSE_PORT in uses
    assert TWIN not in uses


def test_serial_console_to_come_counts() -> None:
    found = replace(BASE, cmdline="ro quiet")
    assert any(use.rule == "holds-console" for use in hostuse.find_uses(found)[BOARD])
    assert BOARD not in hostuse.find_uses(found, "console=ttyS1,115200")


# Views.


def diagnose(found: Capture, device: str = "") -> Diagnosis:
    return doctor.examine(found, SETTING, device)


def test_text_has_every_device_with_its_answer() -> None:
    text = view.render_text(diagnose(BASE))
    assert "0000:01:00.0  10de:1e37  VGA      nouveau        yes, with companions\n" in text
    assert "  red     0000:03:00.0 holds the root file system of the host (/ on nvme0n1p2)\n" in text
    assert "the machine:\n  yellow  the IOMMU is there" in text
    assert GOOD_PORT not in text.split("\n\n")[1]


def test_text_of_one_device_has_its_notes_and_its_advice() -> None:
    text = view.render_text(diagnose(with_texts(BASE, default_route=""), NIC))
    assert "to free it, in this order:" in text
    assert '\nacs_override = ["id:8086:0c05"]\n' in text
    assert TWIN not in text


def test_answers_are_the_same_in_json() -> None:
    document = json.loads(view.render_json(diagnose(BASE, CARD)))
    answers = {one["address"]: one["answer"] for one in document["devices"]}
    assert answers == {one.device.address: one.answer.value for one in diagnose(BASE).verdicts}
    assert document["device"]["companions"] == [SOUND]
    assert document["section"] == view.render_section(diagnose(BASE, CARD))
    assert document["machine"][0]["rule"] == "iommu-off"


@pytest.mark.parametrize(("device", "words"), [(CARD, []), (TWIN, []), (NIC, ["id:8086:0c05"])])
def test_section_is_one_that_host_toml_takes(tmp_path: Path, device: str, words: list[str]) -> None:
    section = view.render_section(diagnose(with_texts(BASE, default_route=""), device))
    file = tmp_path / "host.toml"
    # What is left to a person stands in comments; taken in, it must be right as well.
    guest = '[[guest]]\nname = "a"\nmemory_mib = 1024\nmac = "52:54:00:00:00:01"\n'
    devices = next(line for line in section.splitlines() if line.startswith("# devices"))
    file.write_text(f'name = "x"\n{section}\n{guest}{devices.removeprefix("# ")}\n')
    found = load.load(file)
    assert found.iommu.vendor == "intel"
    assert list(found.iommu.acs_override) == words
    assert found.devices[0].address == device
    assert found.devices[0].id == BASE.by_address[device].id
    assert tuple(one.address for one in found.devices) == found.guests[0].devices


def test_section_of_a_volume_manager_names_nothing_behind_it() -> None:
    """What is behind it is gone once it has left its driver, and host.toml knows no such domain."""
    section = view.render_section(diagnose(volume_manager(), VMD))
    assert f'address = "{VMD}"' in section
    assert "10000:" not in section


def test_no_section_for_what_cannot_be_passed() -> None:
    assert view.render_section(diagnose(BASE, DRIVE)) == ""
    assert view.render_section(diagnose(BASE)) == ""


def test_unknown_device() -> None:
    with pytest.raises(UserError, match=r"computer\.tar: no device 0000:09:00\.0") as caught:
        diagnose(BASE, "0000:09:00.0")
    assert "did you mean" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("disable_acs_redir=all", ""),
        (f"disable_acs_redir={GOOD_PORT};all;0000:00:02.0", f"disable_acs_redir={GOOD_PORT}"),
        ("config_acs=everything", ""),
        (f"config_acs=0000000@{GOOD_PORT};11@here", f"config_acs=0000000@{GOOD_PORT}"),
    ],
)
def test_what_the_captured_kernel_could_not_read_it_left_out(given: str, read: str) -> None:
    running = replace(in_groups(BASE, (CARD, SOUND)), cmdline=f"ro pci={given}")
    wanted = replace(running, cmdline=f"ro pci={read}")
    assert diagnose(running).notes == diagnose(wanted).notes
    assert (diagnose(running).notes == diagnose(replace(running, cmdline="ro")).notes) is (not read)


def test_booted_machine() -> None:
    found = doctor.examine(capture.load(GOLDEN), SETTING)
    answers = {one.device.address: one.answer for one in found.verdicts}
    assert answers["0000:01:00.0"] is Answer.YES
    assert answers["0000:03:00.0"] is Answer.COMPANIONS
    assert not found.notes


def behind_a_switch(count: int) -> Capture:
    """Cards of two functions behind a switch without ACS, all in one group with the root file system."""
    port, upstream = "0000:00:01.0", "0000:01:00.0"
    functions = [
        function(port, Kind.ROOT_PORT, "8086:0c01", 0x060400, behind=1),
        function(upstream, Kind.UPSTREAM, "10b5:8747", 0x060400, port, behind=2),
    ]
    for place in range(count):
        below, id = f"0000:02:{place // 8:02x}.{place % 8}", f"10b5:{0x8800 + place:04x}"
        functions += [
            function(below, Kind.DOWNSTREAM, id, 0x060400, upstream, behind=3 + place, several=True)
        ]
        functions += [
            function(
                f"0000:{3 + place:02x}:00.{number}",
                Kind.ENDPOINT,
                f"144d:a{place:02x}{number}",
                0x010802,
                below,
                several=True,
            )
            for number in range(2)
        ]
    disk = {"nvme0n1p2": f"../../devices/pci0000:00/{port}/0000:03:00.0/nvme0n1p2"}
    return replace(BASE, functions=tuple(functions), classes={**BASE.classes, "block": disk})


def test_no_more_is_predicted_than_needed() -> None:
    """What takes time is a prediction: 32 cards, of which each asks which of 49 ids free it."""
    diagnosis = doctor.examine(behind_a_switch(16), SETTING)
    assert [one.answer for one in diagnosis.verdicts] == [Answer.NO, *[Answer.OVERRIDE] * 31]
    assert all(len(one.words) <= 2 for one in diagnosis.verdicts[2:])
    assert len(diagnosis.case.predictions) < 120


# Any machine.

FIELDS = {
    "driver": st.sampled_from(["", "nvme", "vfio-pci"]),
    "class_code": st.integers(0, 0xFFFFFF) | st.sampled_from([0x030000, 0x0C0330, 0x060400]),
    "config": st.binary(max_size=300),
    "is_whole": st.booleans(),
    "resets": st.none() | st.lists(st.sampled_from(["flr", "bus", "pm"]), max_size=2).map(tuple),
    "bars": st.lists(
        st.builds(Bar, st.integers(0, 5), st.integers(0, 1 << 48), st.integers(1, 1 << 50), st.booleans()), max_size=3
    ).map(tuple),
    "group": st.none() | st.sampled_from(["0", "1"]),
    "parent": st.none() | st.sampled_from(["", GOOD_PORT, CARD, "0000:99:00.0"]),
    "physical": st.sampled_from(["", NIC]),
    "owner": st.sampled_from(["", "0000:00:0e.0"]),
    "numa_node": st.none() | st.integers(-1, 3),
}  # fmt: skip
CHANGES = st.lists(st.fixed_dictionaries({}, optional=FIELDS), min_size=3, max_size=8)
TEXT = st.text(max_size=60) | st.sampled_from([*TEXTS.values(), "dm-0\tdm-0", "/dev/x /", "0-f : efifb"])


@given(
    CHANGES,
    st.dictionaries(
        st.sampled_from(["mounted", "mounts", "lower", "iomem", "dmesg", "cpuinfo", "meminfo"]), TEXT
    ),
    st.dictionaries(st.sampled_from(["DMAR", "IVRS"]), st.binary(max_size=120)),
    st.sampled_from(["", "6.12.1"]),
)
@settings(max_examples=60, deadline=None)
def test_any_machine_gets_answers(
    changes: list[dict[str, object]], texts: dict[str, str], data: dict[str, bytes], release: str
) -> None:
    functions = [replace(one, **some) for one, some in zip(FUNCTIONS, changes, strict=False)]  # type: ignore[arg-type]
    plain = Capture("any", tuple(fill_parents(functions)), release=release, tables=data)
    found = with_texts(plain, **texts)
    for one in found.functions:
        diagnosis = doctor.examine(found, SETTING, one.address)
        assert diagnosis.chosen is not None
        refused = any(finding.severity is Severity.RED for finding in diagnosis.chosen.findings)
        assert refused is (diagnosis.chosen.answer is Answer.NO)
        json.loads(view.render_json(diagnosis))
        assert view.render_text(diagnosis)
        tomllib.loads(view.render_section(diagnosis))
