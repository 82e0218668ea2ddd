"""The expectations of the proof for each boot, and the verdict on each: pure.

    machine + lab + what the image was made from -> expectations
    Outcome of each boot                         -> judge -> Row

No expectation is taken from the output of a boot: the groups come from `iommu.predict`, the drivers from `lab`, the
kernel's words from host.toml. A boot that did not reach its self-check fails all its rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from hostwright.base.address import Address
from hostwright.machine.model import Device, Machine
from hostwright.pci.iommu import Prediction
from hostwright.proof import lab
from hostwright.proof.expect import (
    ALL_BOOTS,
    UNKNOWN,
    expected_drivers,
    expected_failures,
    expected_groups,
    expected_modules,
    expected_networks,
    expected_services,
    expected_words,
    find_twins,
    refusal,
)
from hostwright.proof.verdict import (
    Boot,
    Checked,
    Origin,
    Outcome,
    Row,
    SelfCheck,
    check_power_off,
    read_document,
)
from hostwright.vm.board import Firmware

EFI_SIGN = "efi: EFI v"


def judge(outcomes: Sequence[Outcome], machine: Machine, origin: Origin) -> list[Row]:
    """Every row of the proof, boot by boot; the rows that compare boots come last."""
    rows = [row for outcome in outcomes for row in judge_boot(outcome, machine, origin)]
    return [*rows, *_judge_together(outcomes, machine)]


# The rows of one boot.


def judge_boot(outcome: Outcome, machine: Machine, origin: Origin) -> Iterator[Row]:
    """The rows of one boot with the self-check's entry."""
    boot = outcome.boot
    found, error = _read(outcome)
    yield Row(
        boot.name,
        "self-check",
        "the image boots and its self-check answers",
        error or _pace(outcome),
        not error,
    )
    yield Row(boot.name, "firmware", *_check_firmware(outcome))
    for name, check in _checks(machine, boot, origin):
        expectation, evidence, ok = check(found or NOTHING)
        yield Row(
            boot.name, name, expectation, evidence if found else f"{UNKNOWN}: {error}", bool(found) and ok
        )
    yield Row(boot.name, "power-off", *check_power_off(outcome, "the machine powers itself off"))


NOTHING = SelfCheck("", "", (), {}, {}, frozenset(), {}, (), frozenset())


def _read(outcome: Outcome) -> tuple[SelfCheck | None, str]:
    if outcome.document is None:
        return None, outcome.error.partition("; the console")[0] if outcome.error else "no self-check came"
    try:
        return read_document(outcome.document), ""
    except ValueError as error:
        return None, str(error)


def _pace(outcome: Outcome) -> str:
    return (
        ", ".join(f"{step} after {seconds:.1f} s" for step, seconds in outcome.seconds.items()) or "it came"
    )


def _check_firmware(outcome: Outcome) -> Checked:
    said = next((line.strip() for line in outcome.console.splitlines() if EFI_SIGN in line), "")
    evidence = (
        f"GRUB's platform: {outcome.platform or 'unknown'}; kernel: {said or f'no line with {EFI_SIGN!r}'}"
    )
    if outcome.boot.firmware is Firmware.UEFI:
        return Checked(
            "started by UEFI, and the kernel knows it", evidence, outcome.platform == "efi" and bool(said)
        )
    return Checked("started by a PC BIOS, without EFI", evidence, outcome.platform == "pc" and not said)


Check = Callable[[SelfCheck], Checked]


def _checks(machine: Machine, boot: Boot, origin: Origin) -> Iterator[tuple[str, Check]]:
    """Every row that uses the self-check's document, by name."""
    passthrough = boot.is_passthrough
    drivers = expected_drivers(machine, passthrough)
    prediction = expected_groups(machine, passthrough)
    yield "kernel", lambda found: _same("the kernel that was built", origin.release, found.kernel)
    yield (
        "cmdline",
        lambda found: _compare_words(expected_words(machine, boot, origin), found.cmdline.split()),
    )
    yield "lab", _check_lab
    yield "dmar", _check_dmar
    yield "remapping", _check_remapping
    for name in expected_modules(machine):
        yield f"module:{name}", _module_check(name)
    for name, result in expected_services(machine).items():
        yield f"service:{name}", _service_check(name, result)
    for name, results in expected_networks(machine).items():
        yield name, _network_check(name, results)
    for device in machine.devices:
        yield f"device:{device.address}", _device_check(device, drivers, passthrough)
    for address in find_twins(machine):
        yield f"twin:{address}", _driver_check(address, drivers, "the twin is left alone")
    yield (
        f"root-disk:{lab.ROOT_DISK}",
        _driver_check(lab.ROOT_DISK, drivers, "the root disk stays with the host"),
    )
    yield "vfio-pci", lambda found: _check_taken(drivers, found)
    yield "by-address", _check_by_address
    yield "groups", lambda found: _check_groups(prediction, found)
    yield "override", lambda found: _check_override(prediction, found)
    yield "filter", _filter_check(machine)
    yield "verdict", lambda found: _check_verdict(expected_failures(machine, passthrough), found)


def _same(what: str, expected: str, found: str) -> Checked:
    return Checked(f"{what}: {expected}", found, expected == found)


def _compare_words(expected: Sequence[str], found: Sequence[str]) -> Checked:
    """The same words the same number of times. Only the order of consoles matters."""
    consoles = [[word for word in words if word.startswith("console=")] for words in (expected, found)]
    ok = sorted(expected) == sorted(found) and consoles[0] == consoles[1]
    return Checked(f"the words: {' '.join(expected)}", " ".join(found), ok)


def _find_line(found: SelfCheck, *parts: str) -> str:
    return next((line for line in found.log if all(part in line for part in parts)), "")


def _check_lab(found: SelfCheck) -> Checked:
    """The lab's table, on which all other expectations are based, describes the machine that QEMU made."""
    wanted = {function.address: function.id for function in lab.FUNCTIONS}
    differing = sorted(a for a in wanted.keys() | found.ids.keys() if wanted.get(a) != found.ids.get(a))
    evidence = " ".join(f"{address}={found.ids.get(address, 'absent')}" for address in differing)
    return Checked(
        f"the {len(wanted)} functions of the lab and their ids", evidence or "each of them", not differing
    )


def _check_dmar(found: SelfCheck) -> Checked:
    line = _find_line(found, "DMAR", "Directed I/O")
    evidence = f"{' '.join(found.units) or 'no unit'}; kernel log: {line or 'no such line'}"
    return Checked(
        "VT-d is active: a dmar unit, and the kernel reports it",
        evidence,
        "dmar0" in found.units and bool(line),
    )


def _check_remapping(found: SelfCheck) -> Checked:
    line = _find_line(found, "DMAR-IR: Enabled IRQ remapping")
    return Checked("interrupts are remapped", line or "no such line in the kernel log", bool(line))


def _module_check(name: str) -> Check:
    def check(found: SelfCheck) -> Checked:
        by = found.modules.get(name, "")
        evidence = f"loaded by {by}" if by else "not loaded by the boot scripts"
        if name in lab.MODULES_WITHOUT_HARDWARE:
            return Checked(
                "not loaded: the emulated processor has no virtualization of its own", evidence, not by
            )
        return Checked("loaded by itself at boot", evidence, by == "boot")

    return check


def _service_check(name: str, expected: str) -> Check:
    def check(found: SelfCheck) -> Checked:
        result, said = found.services.get(name, ("no row", ""))
        return Checked(f"the self-check's result: {expected}", f"{result}: {said}", result == expected)

    return check


def _network_check(name: str, expected: Sequence[str]) -> Check:
    def check(found: SelfCheck) -> Checked:
        result, said = found.networks.get(name, ("no row", ""))
        what = f"the self-check's result: {' or '.join(expected)}"
        return Checked(what, f"{result}: {said}", result in expected)

    return check


def _device_check(device: Device, drivers: Mapping[str, str], passthrough: bool) -> Check:
    refused = refusal(device)
    if refused.startswith("absent"):
        return lambda found: Checked(
            refused, _driver(device.address, found), device.address not in found.drivers
        )
    if refused or not passthrough:
        return _driver_check(device.address, drivers, refused or "left to the host without passthrough")
    return _driver_check(device.address, drivers, "named in host.toml")


def _driver_check(address: str, drivers: Mapping[str, str], why: str) -> Check:
    expected = drivers[address]

    def check(found: SelfCheck) -> Checked:
        ok = found.drivers.get(address) == expected
        return Checked(f"{why}: on {expected or 'no driver'}", _driver(address, found), ok)

    return check


def _driver(address: str, found: SelfCheck) -> str:
    if address not in found.drivers:
        return "absent"
    return f"on {found.drivers[address] or 'no driver'}"


def _check_taken(drivers: Mapping[str, str], found: SelfCheck) -> Checked:
    expected = sorted(address for address, driver in drivers.items() if driver == "vfio-pci")
    taken = sorted(address for address, driver in found.drivers.items() if driver == "vfio-pci")
    return Checked(f"vfio-pci has exactly: {_list(expected)}", _list(taken), expected == taken)


def _check_by_address(found: SelfCheck) -> Checked:
    """drivers/vfio/pci/vfio_pci.c logs each of its ids=, whether or not a device is free for it."""
    line = _find_line(found, "vfio_pci: add [")
    return Checked(
        "vfio-pci takes no device by id, which would take every device with that id",
        line or "no ids= in use",
        not line,
    )


def _check_groups(prediction: Prediction, found: SelfCheck) -> Checked:
    wrong = found.groups - prediction.groups
    evidence = show_groups(found.groups) + (f"; not predicted: {show_groups(wrong)}" if wrong else "")
    return Checked(
        f"the groups: {show_groups(prediction.groups)}", evidence, found.groups == prediction.groups
    )


def _check_override(prediction: Prediction, found: SelfCheck) -> Checked:
    """The devices that the patch reports: `pci ADDRESS: ACS overridden by pcie_acs_override=WORD: ...`."""
    expected = sorted(f"{address}={word}" for address, word in prediction.overridden.items())
    lines = [line.partition(" ACS overridden by pcie_acs_override=") for line in found.log]
    said = sorted(
        f"{before.split()[-1].rstrip(':')}={word.split(':')[0]}" for before, sign, word in lines if sign
    )
    return Checked(f"the kernel log names as overridden: {_list(expected)}", _list(said), expected == said)


def _filter_check(machine: Machine) -> Check:
    families = ["ipv4", *(["ipv6"] if "ipv6.disable=1" not in machine.kernel.cmdline else [])]

    def check(found: SelfCheck) -> Checked:
        evidence = _list([f"{family}: {result}" for family, result in found.filters.items()])
        expectation = f"the packet filter is loaded: {_list(families)}"
        return Checked(expectation, evidence, found.filters == dict.fromkeys(families, "pass"))

    return check


def _check_verdict(expected: frozenset[str], found: SelfCheck) -> Checked:
    expectation = (
        f"the self-check fails in exactly: {_list(sorted(expected))}" if expected else "the self-check passes"
    )
    return Checked(expectation, f"failed: {_list(sorted(found.failing))}", found.failing == expected)


def _list(items: Sequence[str]) -> str:
    return " ".join(items) or "none"


def show_groups(groups: frozenset[frozenset[str]]) -> str:
    """Groups in the order of their first members; the domain 0000 is omitted."""
    ordered = sorted(sorted(group) for group in groups)
    return (
        ", ".join("{" + " ".join(Address.parse(a).short for a in group) + "}" for group in ordered) or "none"
    )


# The rows that compare boots.


def _judge_together(outcomes: Sequence[Outcome], machine: Machine) -> Iterator[Row]:
    found = {outcome.boot.name: _read(outcome)[0] for outcome in outcomes}
    for firmware in Firmware:
        yield Row(ALL_BOOTS, f"override-effect:{firmware.value}", *_check_effect(found, machine, firmware))
    for suffix in ("", "-fallback"):
        yield Row(ALL_BOOTS, f"same-groups{suffix}", *_check_same_groups(found, suffix))


def _check_effect(found: Mapping[str, SelfCheck | None], machine: Machine, firmware: Firmware) -> Checked:
    """The groups with and without the override differ only by its effect."""
    wanted, plain = (expected_groups(machine, passthrough).groups for passthrough in (True, False))
    expectation = f"with the override {show_groups(wanted - plain)} instead of {show_groups(plain - wanted)}"
    with_words, without = found.get(firmware.value), found.get(f"{firmware.value}-fallback")
    if not with_words or not without:
        return Checked(expectation, f"{UNKNOWN}: a boot did not answer", False)
    appeared, vanished = with_words.groups - without.groups, without.groups - with_words.groups
    evidence = f"{show_groups(appeared)} instead of {show_groups(vanished)}"
    return Checked(expectation, evidence, (appeared, vanished) == (wanted - plain, plain - wanted))


def _check_same_groups(found: Mapping[str, SelfCheck | None], suffix: str) -> Checked:
    expectation = "the same groups and drivers under UEFI and under BIOS"
    uefi, bios = found.get(f"uefi{suffix}"), found.get(f"bios{suffix}")
    if not uefi or not bios:
        return Checked(expectation, f"{UNKNOWN}: a boot did not answer", False)
    ok = (uefi.groups, uefi.drivers) == (bios.groups, bios.drivers)
    return Checked(
        expectation,
        "equal" if ok else f"UEFI {show_groups(uefi.groups)}, BIOS {show_groups(bios.groups)}",
        ok,
    )
