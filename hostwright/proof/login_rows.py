"""The expectations of the proof for the host over ssh, and for the guest inside it: pure.

machine + lab + the drives' samples -> expectations
Facts of each boot                  -> judge -> Row
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hostwright.base.address import Address
from hostwright.machine.model import Guest, Machine
from hostwright.proof import expect, lab
from hostwright.proof.expect import LAB_WORDS, UNKNOWN
from hostwright.proof.inner import Report
from hostwright.proof.verdict import Boot, Checked, Outcome, Row, check_power_off
from hostwright.vm import guest_argv
from hostwright.vm.board import Firmware

HOST = Boot("host", Firmware.UEFI, "normal", LAB_WORDS)
# A guest that can forge interrupts of others must not start.
UNMAPPED = Boot("host-unmapped", Firmware.BIOS, "normal", ("intremap=off", *LAB_WORDS))
BOOTS = (HOST, UNMAPPED)
GUEST_BOOT = Boot("guest", Firmware.UEFI, "normal", LAB_WORDS)

# The drivers of Debian's kernel for the lab's devices that can be passed.
DEBIAN_DRIVERS = {"1b36:0010": "nvme", "1234:1111": "bochs-drm", "1b36:000d": "xhci_hcd"}

MOST_ROOT_MIB = 250
SSH_PORT = ":22"
NO_RED, STARTED = "guest check: no red row", "guest start"
# Flags of a port in bridge(8).
CLOSED_PORT = ("learning off", "isolated on", "locked on")
# The client ports of DHCP (RFC 2131, RFC 8415): they receive answers, and offer no service.
DHCP_CLIENT_PORTS = (":68", ":546")


@dataclass(frozen=True)
class Answer:
    """A command's exit status and output."""

    status: int
    output: str


@dataclass(frozen=True)
class Facts:
    """The answers of a boot: `methods` of RFC 4252, `listening` lines of ss, `drives` sha256 of each drive's sample.

    `inbound` is what a server on a closed port says: on `loopback`, from outside `closed`, and there once `opened`.
    `used_mib` is what the root file system uses, `size_mib` the size of the one of /var, `image_mib` the size of its
    partition in the image. `fstab` is the answer of MOUNT_ALL, `running` what is asked while the guest runs. `start` is
    the output of `guest start`. `first` and `again` are the guest's reports, None if there is none.
    """

    uptime_s: float = 0.0
    methods: frozenset[str] = frozenset()
    listening: tuple[str, ...] = ()
    inbound: Mapping[str, str] = field(default_factory=dict)
    used_mib: int = 0
    size_mib: int = 0
    image_mib: int = 0
    fstab: Answer | None = None
    check: Answer | None = None
    start: Answer | None = None
    running: Mapping[str, Answer] = field(default_factory=dict)
    smokes: Mapping[str, Answer] = field(default_factory=dict)
    first: Report | None = None
    again: Report | None = None
    drivers: Mapping[str, str] = field(default_factory=dict)
    drives: tuple[str, ...] = ()


def find_guest(machine: Machine) -> Guest | None:
    """The first guest that gets an NVMe drive, and only devices that the lab has."""
    devices = {device.address: device for device in machine.devices}
    for guest in machine.guests:
        passed = [devices[address] for address in guest.devices]
        if find_drive(guest) and not any(expect.refusal(device) for device in passed):
            return guest
    return None


def find_drive(guest: Guest) -> str:
    """The first of the lab's NVMe drives that a guest gets; empty if there is none."""
    return next((address for address in guest.devices if address in lab.NVME_DRIVES), "")


def is_reachable(machine: Machine) -> bool:
    """Whether the host is reachable in the lab's network, which has one card and assigns addresses by DHCP."""
    asking = [one.nic for one in machine.bridges if one.address == "dhcp" and one.vlan is None]
    named = [*machine.bonds, *(one for one in machine.bridges if one.nic)]
    return lab.MAC in asking or not named


def judge(
    answers: Sequence[tuple[Outcome, Facts | None]], machine: Machine, guest: Guest, samples: Sequence[str]
) -> list[Row]:
    """The rows of both boots; `samples` are the sha256 of the data written to each drive."""
    return [
        Row(
            outcome.boot.name,
            name,
            expectation,
            evidence if facts else f"{UNKNOWN}: {_why(outcome)}",
            bool(facts) and ok,
        )
        for outcome, facts in answers
        for name, (expectation, evidence, ok) in _findings(outcome, facts or Facts(), machine, guest, samples)
    ]


def _why(outcome: Outcome) -> str:
    return outcome.error.partition("; the console")[0] or "no answer came"


def _findings(
    outcome: Outcome, facts: Facts, machine: Machine, guest: Guest, samples: Sequence[str]
) -> Iterator[tuple[str, Checked]]:
    yield "ssh", _check_ssh(outcome, facts)
    yield "ssh-methods", _check_methods(facts)
    yield "listening", _check_listening(facts, machine)
    yield "inbound", _check_inbound(facts)
    yield "power-button", check_power_off(outcome, "the power button shuts the host down")
    if outcome.boot == UNMAPPED:
        yield "check", _check_refused("guest check", facts.check)
        yield "start", _check_refused("guest start", facts.start)
        return
    expected = samples[lab.NVME_DRIVES.index(find_drive(guest))]
    yield "root-size", _check_size(facts)
    yield "grown", _check_grown(facts)
    yield "fstab", _check_done("every entry of /etc/fstab can be mounted", facts.fstab)
    yield "smoke", _check_smokes(facts)
    yield "check", _check_done(NO_RED, facts.check)
    yield "start", _check_done(STARTED, facts.start)
    bridge = machine.bridge_of(guest)
    if bridge and bridge.isolated:
        yield "guest-port", _check_port(facts.running.get("ports"))
    yield "confined", _check_confined(facts.running.get("check"))
    yield "reached", _check_done("its account reaches nothing of the host", facts.running.get("reach"))
    yield "inner-lspci", _check_lspci(guest, facts.first)
    yield "inner-data", _check_data(expected, facts.first)
    yield "inner-again", _check_data(expected, facts.again)
    yield "kept", _check_kept(guest, facts)
    yield "twin", _check_twin(guest, facts, samples)


def _check_ssh(outcome: Outcome, facts: Facts) -> Checked:
    seconds = outcome.seconds.get("ssh", 0.0)
    evidence = f"after {seconds:.0f} s, {facts.uptime_s:.0f} s of them the host's own"
    return Checked("root can log in with a key", evidence, facts.uptime_s > 0)


def _check_methods(facts: Facts) -> Checked:
    return Checked("ssh accepts keys only", _list(sorted(facts.methods)), facts.methods == {"publickey"})


def _check_listening(facts: Facts, machine: Machine) -> Checked:
    """Check the lines of `ss -Hltun`: protocol, state, two queues, the local address, the peer."""
    places = sorted({(line.split()[0], line.split()[4]) for line in facts.listening})
    served = expect.expected_listeners(machine)
    open_ones = [
        f"{kind} {place}"
        for kind, place in places
        if not _may_listen(kind, place) and (kind, place) not in served and not _is_link_local(place, served)
    ]
    heard = any(place.endswith(SSH_PORT) for _, place in places)
    what = "nothing but ssh listens beyond loopback" + (", and dnsmasq for guests" if served else "")
    ok = heard and not open_ones and served <= set(places)
    return Checked(what, _list(open_ones) if open_ones else "nothing else", ok)


def _is_link_local(place: str, served: set[tuple[str, str]]) -> bool:
    """Whether a place is on a bridge with IPv6 where dnsmasq serves: it listens at the link-local address too."""
    has_ipv6 = any(where.startswith("[") for _, where in served)
    return has_ipv6 and place.startswith("[fe80:") and place.endswith(":53")


def _may_listen(kind: str, place: str) -> bool:
    is_loopback = place.startswith(("127.", "[::1]"))
    return (
        is_loopback
        or (kind == "tcp" and place.endswith(SSH_PORT))
        or (kind == "udp" and place.endswith(DHCP_CLIENT_PORTS))
    )


def _check_inbound(facts: Facts) -> Checked:
    """What listens there answers the host, and outside once the filter lets it: the filter alone is in the way."""
    heard = {place for place, said in facts.inbound.items() if said.startswith("SSH-")}
    evidence = "; ".join(f"{place}: {said or 'silence'}" for place, said in facts.inbound.items())
    what = "a port that host.toml does not open is closed to the network, and answers once a rule opens it"
    return Checked(what, evidence or "not asked", heard == {"loopback", "opened"})


def _check_size(facts: Facts) -> Checked:
    return Checked(
        f"the root file system uses under {MOST_ROOT_MIB} MiB",
        f"{facts.used_mib} MiB",
        0 < facts.used_mib < MOST_ROOT_MIB,
    )


def _check_grown(facts: Facts) -> Checked:
    """The disk is larger than the image (boot.GROWTH_MIB); the file system's own tables take less than that."""
    expectation = f"the data partition has grown beyond the image's {facts.image_mib} MiB"
    return Checked(expectation, f"{facts.size_mib} MiB", facts.size_mib > facts.image_mib > 0)


def _check_smokes(facts: Facts) -> Checked:
    failed = [
        f"{name} (status {answer.status})" for name, answer in facts.smokes.items() if answer.status != 0
    ]
    evidence = f"{len(facts.smokes) - len(failed)} of {len(facts.smokes)}" + (
        f"; not {_list(failed)}" if failed else ""
    )
    return Checked("the smoke test of every package passes", evidence, bool(facts.smokes) and not failed)


def _check_done(expectation: str, answer: Answer | None) -> Checked:
    return Checked(expectation, _said(answer), answer is not None and answer.status == 0)


def _check_port(answer: Answer | None) -> Checked:
    """Check the flags of every tap device, as `bridge -d link` prints them."""
    ports = re.split(r"^(?=\d+: )", answer.output, flags=re.M) if answer else []
    taps = [port for port in ports if re.match(r"\d+: guest\d+:", port)]
    ok = bool(taps) and all(flag in port for port in taps for flag in CLOSED_PORT)
    return Checked(f"the guest's port of the bridge has {_list(CLOSED_PORT)}", _said(answer), ok)


def _check_confined(answer: Answer | None) -> Checked:
    said = re.search("^green +confined .*", answer.output, re.M) if answer else None
    return Checked("QEMU has no right to spare, and limits", said[0] if said else _said(answer), bool(said))


def _check_refused(command: str, answer: Answer | None) -> Checked:
    """The text must be that of the finding no-interrupt-remapping."""
    ok = answer is not None and answer.status == 1 and "remapp" in answer.output
    return Checked(f"{command} refuses, and reports that interrupts are not remapped", _said(answer), ok)


def _said(answer: Answer | None) -> str:
    return (
        f"status {answer.status}: {' / '.join(answer.output.strip().splitlines())[-600:]}"
        if answer
        else "not asked"
    )


def _places(guest: Guest) -> dict[str, str]:
    """The place where the guest must see each passed device, determined by its port, and the device's id."""
    return {
        str(Address(0, guest_argv.bus(slot), 0, 0)): lab.BY_ADDRESS[address].function.id
        for slot, address in enumerate(guest.devices, guest_argv.FIRST_PASSED_SLOT)
    }


def _check_lspci(guest: Guest, report: Report | None) -> Checked:
    """Check places too: the guest's own screen has the same id as a passed display."""
    places = _places(guest)
    lines = (report.lspci if report else "").splitlines()
    shown = {
        place: id
        for place, id in places.items()
        if any(line.startswith(f"{Address.parse(place).short} ") and f"[{id}]" in line for line in lines)
    }
    return Checked(f"the guest's lspci shows {_pairs(places)}", _pairs(shown) or "none", shown == places)


def _check_data(expected: str, report: Report | None) -> Checked:
    found = report.digest if report else "the guest did not reach this step"
    return Checked(
        f"the guest reads what was written to the drive: {expected[:16]}", found[:64], found == expected
    )


def _check_kept(guest: Guest, facts: Facts) -> Checked:
    drivers = [facts.drivers.get(address, "absent") or "none" for address in guest.devices]
    return Checked(
        "the devices are on vfio-pci after the guest", _list(drivers), set(drivers) == {"vfio-pci"}
    )


def _check_twin(guest: Guest, facts: Facts, samples: Sequence[str]) -> Checked:
    """Check the drives with the same id that host.toml does not give to the guest."""
    others = [index for index, address in enumerate(lab.NVME_DRIVES) if address not in guest.devices]
    changed = [
        lab.NVME_DRIVES[index] for index in others if facts.drives[index : index + 1] != (samples[index],)
    ]
    return Checked(
        "the twin's bytes are unchanged",
        f"changed: {_list(changed)}" if changed else "equal",
        not changed,
    )


@dataclass(frozen=True)
class GuestFacts:
    """The host's and the guest's own answers about the installed guest; `drivers` by address."""

    check: Answer | None = None
    start: Answer | None = None
    stop: Answer | None = None
    is_reached: bool = False
    lspci: str = ""
    digest: str = ""
    drivers: Mapping[str, str] = field(default_factory=dict)


def judge_guest(outcome: Outcome, facts: GuestFacts | None, guest: Guest, sample: str) -> list[Row]:
    """The rows of the installed guest; `sample` is the sha256 of the data written to its drive."""
    found = facts or GuestFacts()
    findings = {
        "check": _check_done(NO_RED, found.check),
        "start": _check_done(STARTED, found.start),
        "guest-ssh": (
            "the guest's user can log in with a key",
            f"reached: {found.is_reached}",
            found.is_reached,
        ),
        "guest-lspci": _check_lspci(guest, Report(found.lspci, found.digest)),
        "guest-drivers": _check_guest_drivers(guest, found.drivers),
        "guest-data": _check_data(sample, Report(found.lspci, found.digest)),
        "stop": (
            "guest stop shuts it down",
            _said(found.stop),
            found.stop is not None and found.stop.status == 0,
        ),
    }
    why = "" if facts else f"{UNKNOWN}: {_why(outcome)}"
    return [
        Row(outcome.boot.name, name, what, why or said, ok) for name, (what, said, ok) in findings.items()
    ]


def _check_guest_drivers(guest: Guest, drivers: Mapping[str, str]) -> Checked:
    expected = {place: DEBIAN_DRIVERS[id] for place, id in _places(guest).items()}
    found = {place: drivers.get(place, "absent") or "none" for place in expected}
    return Checked(f"the guest's drivers: {_pairs(expected)}", _pairs(found), found == expected)


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _list(items: Sequence[str]) -> str:
    return ", ".join(items) or "none"
