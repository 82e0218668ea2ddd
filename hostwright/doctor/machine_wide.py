"""TODO: doctor.machine_wide."""

import re
from collections.abc import Iterator

from hostwright.base import times
from hostwright.doctor.findings import Finding, find
from hostwright.formats import iommu_tables
from hostwright.machine.firmware import FIRMWARE
from hostwright.pci import registers
from hostwright.pci.inventory import Capture

# The whole machine.


def find_of_machine(capture: Capture) -> Iterator[Finding]:
    """The findings about the whole machine: IOMMU, interrupt remapping, processor, huge pages."""
    missing = list(_find_iommu(capture))
    yield from missing
    if not any(one.rule in ("iommu-missing", "unknown-iommu") for one in missing):
        yield from _find_interrupts(capture)
    yield from _find_processor(capture.cpuinfo)
    yield from _find_hugepages(capture.meminfo)
    yield from _find_firmware(capture)


# The kernel's word for a file that is not there: drivers/base/firmware_loader/main.c.
_NOT_LOADED = re.compile(r"\b(\S+) ([0-9a-f:.]{12}): Direct firmware load for (\S+) failed")


def _find_firmware(capture: Capture) -> Iterator[Finding]:
    """Files that a driver missed on the captured machine, or will miss on the host unless host.toml names them."""
    missed = {address: (driver, file) for driver, address, file in _NOT_LOADED.findall(capture.dmesg)}
    for one in capture.functions:
        known = FIRMWARE.get(one.driver)
        if one.address in missed:
            driver, file = missed[one.address]
            yield find("firmware-missing", device=one.address, driver=driver, what=file)
        elif known and known.is_needed:
            what = " ".join(known.files)
            yield find("firmware-needed", device=one.address, driver=one.driver, what=what)


def find_vendor(capture: Capture) -> str:
    """Whose IOMMU the machine has, or would have: intel, amd, or empty."""
    log = capture.dmesg
    if "DMAR" in capture.tables or "ACPI: DMAR" in log:
        return "intel"
    if "IVRS" in capture.tables or "ACPI: IVRS" in log:
        return "amd"
    cpuinfo = capture.cpuinfo
    bridge = capture.by_address.get("0000:00:00.0")
    vendor = bridge.id.partition(":")[0] if bridge else ""
    if "GenuineIntel" in cpuinfo or (not cpuinfo and vendor == "8086"):
        return "intel"
    return "amd" if "AuthenticAMD" in cpuinfo or (not cpuinfo and vendor == "1022") else ""


def _find_iommu(capture: Capture) -> Iterator[Finding]:
    if capture.has_iommu:
        return
    log = capture.dmesg
    vendor = find_vendor(capture)
    if capture.tables or "ACPI: DMAR" in log or "ACPI: IVRS" in log:
        words = "iommu=pt intel_iommu=on" if vendor == "intel" else "iommu=pt, and without amd_iommu=off"
        yield find("iommu-off", words=words)
    elif not capture.release:
        yield find("unknown-iommu", what="the source carries no ACPI tables")
    elif any(not one.is_whole and registers.has_capabilities(one.config) for one in capture.functions):
        yield find("unknown-iommu", what="root alone can read the ACPI tables")
    else:
        yield find("iommu-missing", what={"intel": "DMAR", "amd": "IVRS"}.get(vendor, "DMAR or IVRS"))


_REMAPPED = ("Enabled IRQ remapping in", "Interrupt remapping enabled")
_NOT_REMAPPED = (
    *("Failed to enable irq remapping", "Not enabling interrupt remapping", "Disabling interrupt remapping"),
)


def _find_interrupts(capture: Capture) -> Iterator[Finding]:
    """The kernel's own word first: drivers/iommu/intel/irq_remapping.c, drivers/iommu/amd/init.c."""
    log = capture.dmesg
    off = re.search(r"(?:^|\s)(nointremap|intremap=off)\b", capture.cmdline)
    flag = iommu_tables.remaps_interrupts(capture.tables.get("DMAR", b""))
    if any(text in log for text in _REMAPPED):
        return
    if off:
        yield find("no-interrupt-remapping", what=f"{off[1]} on the kernel command line")
    elif any(text in log for text in _NOT_REMAPPED):
        yield find("no-interrupt-remapping", what="by the kernel log")
    elif flag is False:
        yield find("no-interrupt-remapping", what="by the table DMAR")
    elif flag is None:
        yield find("unknown-interrupts", what="neither the kernel log nor a table DMAR says so")


def _find_processor(cpuinfo: str) -> Iterator[Finding]:
    flags = re.search(r"^flags\s*:(.*)", cpuinfo, re.MULTILINE)
    if not flags:
        yield find("unknown-cpu")
    elif not {"vmx", "svm"} & set(flags[1].split()):
        yield find("cpu-no-virtualization")


def _find_hugepages(meminfo: str) -> Iterator[Finding]:
    count = re.search(r"^HugePages_Total:\s+(\d{1,12})$", meminfo, re.MULTILINE)
    size = re.search(r"^Hugepagesize:\s+(\d{1,12}) kB$", meminfo, re.MULTILINE)
    if count and size and int(count[1]):
        yield find("hugepages", what=times.name_size(int(count[1]) * int(size[1]) << 10))
