"""The proof: green for a recorded good host, red in the right row for every fault, and readable reports."""

import copy
import json
import re
import struct
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.formats import gpt
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.machine.storage import Storage
from hostwright.proof import boot as boots
from hostwright.proof import expect, judge, lab, prove, report
from hostwright.proof.lab import IMAGE, plan_boot
from hostwright.proof.verdict import Boot, Origin, Outcome, Proof, Row
from hostwright.sandbox import sandbox
from hostwright.vm import console, process
from hostwright.vm.board import Accelerator, Firmware

FAKES = paths.TREE / "tests" / "fakes"
ORIGIN = Origin("6.12.107-hostwright", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
POWER_OFF = "[   30.1] reboot: Power down\n"
Document = dict[str, Any]


def load_host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@pytest.fixture(scope="module")
def host() -> Machine:
    return load_host()


def recorded(boot: Boot) -> Document:
    """The self-check's document of a real boot."""
    name = "passthrough" if boot.is_passthrough else "fallback"
    document: Document = json.loads((FAKES / f"selfcheck-{name}.json").read_text())
    return document


def good(boot: Boot) -> Outcome:
    is_uefi = boot.firmware is Firmware.UEFI
    text = ("[    0.0] efi: EFI v2.7 by EDK II\n" if is_uefi else "") + POWER_OFF
    seconds = {"menu": 2.0, "power-off": 20.5}
    return Outcome(boot, recorded(boot), text, "efi" if is_uefi else "pc", 0, "", seconds)


def outcomes(host: Machine) -> list[Outcome]:
    return [good(boot) for boot in expect.plan_boots(host)]


def red(rows: Sequence[Row]) -> set[tuple[str, str]]:
    return {(row.boot, row.name) for row in rows if not row.ok}


def test_good_host_has_green_rows_only(host: Machine) -> None:
    rows = judge.judge(outcomes(host), host, ORIGIN)
    assert red(rows) == set()
    assert len({(row.boot, row.name) for row in rows}) == len(rows) == 4 * 31 + 4


def test_disks_for_data_are_not_in_the_lab(host: Machine) -> None:
    """The self-check must say so, with and without passthrough; nothing else is red because of it."""
    disks = replace(host, storage=(Storage("fast", str(uuid.uuid4()), "/srv/fast", "ext4", ()),))
    for passthrough in (True, False):
        before = expect.expected_failures(host, passthrough)
        assert expect.expected_failures(disks, passthrough) == before | {"storage:fast"}


def test_every_row_has_expectation_and_evidence(host: Machine) -> None:
    assert all(row.expectation and row.evidence for row in judge.judge(outcomes(host), host, ORIGIN))


# Every row turned red: which boot is spoilt, how, and which rows must tell.

Spoil = Callable[[Document], None]


def device(document: Document, address: str) -> Document:
    found: Document = next(one for one in document["devices"] if one["address"] == address)
    return found


def drive(address: str, driver: str) -> Spoil:
    def spoil(document: Document) -> None:
        device(document, address)["driver"] = driver

    return spoil


def put(key: str, value: object) -> Spoil:
    def spoil(document: Document) -> None:
        document[key] = value

    return spoil


def without_log(sign: str) -> Spoil:
    def spoil(document: Document) -> None:
        document["log"] = [line for line in document["log"] if sign not in line]

    return spoil


def with_log(line: str) -> Spoil:
    return lambda document: document["log"].append(line)


def other_id(address: str) -> Spoil:
    return lambda document: device(document, address).update(id="144d:a808")


def with_word(old: str, new: str) -> Spoil:
    def spoil(document: Document) -> None:
        assert old in document["cmdline"]
        document["cmdline"] = document["cmdline"].replace(old, new)

    return spoil


def module(name: str, **values: object) -> Spoil:
    def spoil(document: Document) -> None:
        next(one for one in document["modules"] if one["name"] == name).update(values)

    return spoil


def filtered(family: str, result: str | None) -> Spoil:
    """The packet filter with another result, or without a row."""

    def spoil(document: Document) -> None:
        row = next(row for row in document["rows"] if row["id"] == f"filter:{family}")
        document["rows"].remove(row)
        if result:
            document["rows"].append({**row, "result": result})

    return spoil


def network(name: str, result: str) -> Spoil:
    def spoil(document: Document) -> None:
        next(row for row in document["rows"] if row["id"] == name)["result"] = result

    return spoil


def service(name: str, result: str) -> Spoil:
    def spoil(document: Document) -> None:
        next(row for row in document["rows"] if row["id"] == f"service:{name}")["result"] = result

    return spoil


def join_groups(*addresses: str) -> Spoil:
    def spoil(document: Document) -> None:
        groups = [group for group in document["groups"] if not set(group["devices"]) & set(addresses)]
        document["groups"] = [*groups, {"id": "99", "type": "DMA", "devices": list(addresses)}]

    return spoil


GPU = ("0000:03:00.0", "0000:03:00.1")
ALL = "all"


@pytest.mark.parametrize(
    ("spoil", "rows"),
    [
        (put("kernel", "6.12.0"), "kernel"),
        (with_word(" pcie_acs_override=downstream,multifunction", ""), "cmdline"),
        (with_word("iommu=pt ", ""), "cmdline"),
        (with_word("eeeeeeeeeeee", "ffffffffffff"), "cmdline"),
        (with_word("ro ", "ro ro "), "cmdline"),
        (with_word("console=tty0 console=ttyS0,115200", "console=ttyS0,115200 console=tty0"), "cmdline"),
        (lambda document: document["devices"].pop(0), "lab all/same-groups"),
        (other_id("0000:02:00.0"), "lab"),
        (put("iommu", []), "dmar"),
        (without_log("Directed I/O"), "dmar"),
        (without_log("DMAR-IR: Enabled"), "remapping"),
        (module("vfio", loaded=False), "module:vfio"),
        (module("vfio_iommu_type1", by="hand"), "module:vfio_iommu_type1"),
        (module("vfio_pci", by=""), "module:vfio_pci"),
        (drive("0000:01:00.0", "nvme"), "device:0000:01:00.0 vfio-pci all/same-groups"),
        (drive("0000:03:00.0", ""), "device:0000:03:00.0 vfio-pci all/same-groups"),
        (drive("0000:03:00.1", "xhci_hcd"), "device:0000:03:00.1 vfio-pci all/same-groups"),
        (drive("0000:02:00.0", "vfio-pci"), "twin:0000:02:00.0 vfio-pci all/same-groups"),
        (drive("0000:02:00.0", ""), "twin:0000:02:00.0 all/same-groups"),
        (drive("0000:00:01.0", "vfio-pci"), "twin:0000:00:01.0 vfio-pci all/same-groups"),
        (drive("0000:00:1f.2", ""), "root-disk:0000:00:1f.2 all/same-groups"),
        (drive("0000:00:1f.3", "vfio-pci"), "vfio-pci all/same-groups"),
        (join_groups("0000:00:04.0", *GPU), "groups all/override-effect:uefi all/same-groups"),
        (without_log("0000:03:00.1: ACS overridden"), "override"),
        (without_log("ACS overridden"), "override"),
        (
            with_log("[    5.1] vfio_pci: add [1b36:0010[ffffffff:ffffffff]] class 0x000000/00000000"),
            "by-address",
        ),
        (put("failing", ["unnamed"]), "verdict"),
        (filtered("ipv4", "fail"), "filter"),
        (filtered("ipv6", None), "filter"),
        (network("network:br0", "fail"), "network:br0"),
        (service("watchdog", "fail"), "service:watchdog"),
        (service("powerbutton", "note"), "service:powerbutton"),
        (service("time", "pass"), "service:time"),
        (service("logs", "fail"), "service:logs"),
        (service("disks", "note"), "service:disks"),
        (lambda document: document["rows"].pop(), "service:storage"),
    ],
)
def test_what_is_wrong_turns_its_rows_red(host: Machine, spoil: Spoil, rows: str) -> None:
    results = outcomes(host)
    document = copy.deepcopy(recorded(results[0].boot))
    spoil(document)
    results[0] = replace(results[0], document=document)
    wanted = {(ALL, row.removeprefix("all/")) if "/" in row else ("uefi", row) for row in rows.split()}
    assert red(judge.judge(results, host, ORIGIN)) == wanted


@pytest.mark.parametrize(
    ("spoil", "rows"),
    [
        (drive("0000:01:00.0", "vfio-pci"), "device:0000:01:00.0 vfio-pci all/same-groups-fallback"),
        (with_word("hostwright.nopassthrough", "intel_iommu=on"), "cmdline"),
        (filtered("ipv6", "fail"), "filter"),
        (
            put("groups", [{"devices": [one]} for one in lab.BY_ADDRESS]),
            "groups all/override-effect:uefi all/same-groups-fallback",
        ),
    ],
)
def test_fallback_is_judged_by_its_own_expectations(host: Machine, spoil: Spoil, rows: str) -> None:
    results = outcomes(host)
    document = copy.deepcopy(recorded(results[1].boot))
    spoil(document)
    results[1] = replace(results[1], document=document)
    wanted = {
        (ALL, row.removeprefix("all/")) if "/" in row else ("uefi-fallback", row) for row in rows.split()
    }
    assert red(judge.judge(results, host, ORIGIN)) == wanted


NETWORKS = """
[[bond]]
name = "bond0"
nics = ["52:54:00:4c:41:01", "52:54:00:4c:41:02"]
[[bond]]
name = "bond1"
nics = ["52:54:00:4c:41:03", "eno1"]
[network]
nic = "bond0"
[[bridge]]
name = "br1"
nic = "bond1"
[[bridge]]
name = "br2"
nic = "eno2"
[[bridge]]
name = "br3"
nic = "enp0s5"
[[bridge]]
name = "lan"
address = "10.9.0.1/24"
dhcp_range = "10.9.0.9-10.9.0.20"
"""


def test_bonds_and_bridges_are_expected_as_far_as_the_lab_has_their_cards(tmp_path: Path) -> None:
    host = odd(tmp_path, NETWORKS)
    fail, come = ("fail",), ("pass", "note")
    assert expect.expected_networks(host) == {
        "bond:bond0": fail,
        "bond:bond1": fail,
        "network:br0": come,
        "network:br1": fail,
        "network:br2": fail,
        "network:br3": come,
        "network:lan": come,
    }
    failures = expect.expected_failures(host, passthrough=False)
    assert failures == {"bond:bond0", "bond:bond1", "network:br1", "network:br2"}
    assert expect.expected_services(host)["dnsmasq-lan"] == "pass"


def test_a_network_row_that_waits_is_no_fault(host: Machine) -> None:
    results = outcomes(host)
    document = copy.deepcopy(recorded(results[0].boot))
    network("network:br0", "note")(document)
    results[0] = replace(results[0], document=document)
    assert red(judge.judge(results, host, ORIGIN)) == set()


@pytest.mark.parametrize(
    ("number", "change", "row"),
    [
        (0, {"console": POWER_OFF}, "firmware"),
        (0, {"platform": "pc"}, "firmware"),
        (2, {"platform": "efi"}, "firmware"),
        (2, {"console": "efi: EFI v2.7\n" + POWER_OFF}, "firmware"),
        (2, {"console": "reboot: Restarting system\n"}, "power-off"),
        (2, {"status": None}, "power-off"),
        (2, {"status": 1}, "power-off"),
    ],
)
def test_firmware_and_power_off(host: Machine, number: int, change: Document, row: str) -> None:
    results = outcomes(host)
    results[number] = replace(results[number], **change)
    assert red(judge.judge(results, host, ORIGIN)) == {(results[number].boot.name, row)}


@pytest.mark.parametrize(
    "document", [None, {}, {"kernel": "6.12"}, recorded(Boot("", Firmware.BIOS, "x")) | {"devices": 3}]
)
def test_boot_without_an_answer_fails_every_row(host: Machine, document: Document | None) -> None:
    results = outcomes(host)
    results[2] = Outcome(
        results[2].boot, document, error="no 'x' within 1 s; the console's last lines:\n    y"
    )
    rows = [row for row in judge.judge(results, host, ORIGIN) if row.boot == "bios"]
    assert len(rows) == 31
    # SeaBIOS has told its name by nothing, and nothing was read from the self-check.
    assert all(not row.ok for row in rows)
    assert red(judge.judge(results, host, ORIGIN)) >= {(ALL, "same-groups"), (ALL, "override-effect:bios")}


def test_no_boot_at_all_is_no_proof(host: Machine) -> None:
    assert not verdict([]).ok
    assert red(judge.judge([], host, ORIGIN))


# Other machines in the same lab.

T10 = paths.TREE / "hosts" / "proliant-t10.toml"


def test_machine_of_another_place_is_expected_absent() -> None:
    host = load.load(T10)
    assert expect.refusal(host.devices[0]).startswith("absent")
    assert expect.expected_failures(host, passthrough=True) == {"device:0000:82:00.0", "network:br0"}
    assert "vfio-pci" not in expect.expected_drivers(host, passthrough=True).values()


def odd(tmp_path: Path, text: str) -> Machine:
    (tmp_path / "odd.toml").write_text(f'name = "odd"\n{text}\n')
    return load.load(tmp_path / "odd.toml")


@pytest.mark.parametrize(
    ("device", "why", "failures"),
    [
        (
            'address = "01:00.0"\nid = "10de:1e37"',
            "left alone: the lab has 1b36:0010 there",
            "device:0000:01:00.0",
        ),
        ('address = "00:02.0"', "left alone: it is a bridge", "device:0000:00:02.0"),
        # It shares its group with the LPC bridge and the SMBus, whose drivers udev loads.
        (
            'address = "00:1f.2"',
            "left alone: it carries the root disk",
            "device:0000:00:1f.2 viable:0000:00:1f.2",
        ),
        # Without the override the port and both functions are together, and xhci_hcd has one of them.
        ('address = "03:00.0"', "", "viable:0000:03:00.0"),
        ('address = "03:00.1"', "", ""),
        ('address = "01:00.0"', "", ""),
    ],
)
def test_devices_that_this_lab_refuses(tmp_path: Path, device: str, why: str, failures: str) -> None:
    host = odd(tmp_path, f"[[device]]\n{device}")
    assert expect.refusal(host.devices[0]) == why
    assert expect.expected_failures(host, passthrough=True) == frozenset(failures.split())


def test_modules_without_hardware_are_expected_to_fail(tmp_path: Path) -> None:
    host = odd(tmp_path, '[kernel]\nmodules = ["kvm-intel nested=1", "igb"]')
    assert expect.expected_modules(host)[-2:] == ["kvm_intel", "igb"]
    assert expect.expected_failures(host, passthrough=False) == {"module:kvm_intel"}


@pytest.mark.parametrize(
    ("cmdline", "words"),
    [
        ("[]", ()),
        ('["quiet"]', ("loglevel=7",)),
        ('["loglevel=3"]', ("loglevel=7",)),
        ('["console=ttyS1,9600"]', ()),
        ('["console=tty0"]', ("console=ttyS0,115200",)),
        ('["console=ttyS1,9600", "console=tty1"]', ("console=ttyS1,9600",)),
    ],
)
def test_words_without_which_nothing_is_heard(tmp_path: Path, cmdline: str, words: tuple[str, ...]) -> None:
    assert expect.audible_words(odd(tmp_path, f"[kernel]\ncmdline = {cmdline}")) == words


def test_linux_is_told_one_serial_console(tmp_path: Path) -> None:
    host = odd(tmp_path, '[kernel]\ncmdline = ["console=ttyS1,115200"]')
    words = expect.expected_words(host, expect.plan_boots(host)[0], ORIGIN)
    assert [word for word in words if word.startswith("console=")] == ["console=tty0", "console=ttyS1,115200"]


# What is read from the artifacts.


def gpt_disk(file: Path, names: Sequence[str], signature: bytes = b"EFI PART") -> Path:
    entries = b"".join(
        bytes(16)
        + uuid.UUID(int=number + 1).bytes_le
        + struct.pack("<QQQ", 2048 * number, 2048 * number + 2047, 0)
        + name.encode("utf-16-le").ljust(72, b"\0")
        for number, name in enumerate(names)
    )
    header = bytearray(512)
    header[:8] = signature
    struct.pack_into("<QII", header, 72, 2, 8, 128)
    file.write_bytes(bytes(512) + header + entries.ljust(1024, b"\0"))
    return file


def test_partitions_of_an_image_are_found_by_their_names(tmp_path: Path) -> None:
    disk = gpt_disk(tmp_path / "disk", ["bios-boot", "esp", "root-a", "root-b", "data"])
    assert gpt.find(disk) == gpt.Found(str(uuid.UUID(int=3)), 2 << 20, 1 << 20)
    assert gpt.find(disk, "data") == gpt.Found(str(uuid.UUID(int=5)), 4 << 20, 1 << 20)


@pytest.mark.parametrize(
    ("names", "signature"),
    [(["esp"], b"EFI PART"), (["root-a", "root-a"], b"EFI PART"), (["root-a"], b"NOT PART")],
)
def test_image_without_a_root_partition(tmp_path: Path, names: list[str], signature: bytes) -> None:
    with pytest.raises(UserError, match="doit host"):
        gpt.find(gpt_disk(tmp_path / "disk", names, signature))


def test_release_of_a_kernel(tmp_path: Path) -> None:
    kernel = bytearray(0x4000)
    kernel[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", kernel, 0x20E, 0x3000)
    kernel[0x3200:0x3230] = b"6.12.63-hostwright (build@host) #1 SMP".ljust(0x30, b"\0")
    (tmp_path / "bzImage").write_bytes(kernel)
    assert boots.kernel_release(tmp_path / "bzImage") == "6.12.63-hostwright"
    (tmp_path / "bzImage").write_bytes(bytes(0x4000))
    with pytest.raises(UserError, match="not a Linux kernel"):
        boots.kernel_release(tmp_path / "bzImage")


# Boots of a stand-in.


@pytest.fixture
def inputs(host: Machine, tmp_path: Path) -> boots.Inputs:
    files = {name: tmp_path / name for name in ("image", "kernel", "code", "vars")}
    for name, file in files.items():
        file.write_text(name)
    return boots.Inputs(host, **files, tools=tmp_path)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[sandbox.Job]]:
    """Run a substitute with some fault instead of QEMU; returns the requested jobs."""
    jobs: list[sandbox.Job] = []

    def install(fault: str) -> list[sandbox.Job]:
        @contextmanager
        def entered(job: sandbox.Job, tools: Path) -> Iterator[list[str]]:
            jobs.append(job)
            document = FAKES / "selfcheck-passthrough.json"
            yield [sys.executable, str(FAKES / "firmware.py"), str(document), *([fault] if fault else [])]

        monkeypatch.setattr(sandbox, "entered", entered)
        return jobs

    return install


Install = Callable[[str], list[sandbox.Job]]


def start(inputs: boots.Inputs, out: Path, boot: Boot) -> Outcome:
    out.mkdir(exist_ok=True)
    return boots.start(inputs, Accelerator.TCG, out, boot, lambda _: None)


def test_boot_to_the_end(inputs: boots.Inputs, stand_in: Install, tmp_path: Path) -> None:
    jobs = stand_in("")
    boot = Boot("uefi-fallback", Firmware.UEFI, "fallback", ("hostwright.selfcheck", "quiet"))
    outcome = start(inputs, tmp_path / "out", boot)
    assert outcome.error == ""
    assert outcome.document == json.loads((FAKES / "selfcheck-passthrough.json").read_text())
    assert (outcome.platform, outcome.status) == ("efi", 0)
    assert list(outcome.seconds) == ["menu", "kernel", "self-check", "power-off"]
    assert "Command line: entry=1 hostwright.selfcheck quiet\n" in outcome.console
    assert jobs[0].argv == plan_boot(inputs.machine, Firmware.UEFI, Accelerator.TCG)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["uefi-fallback.log"]


def test_entry_alone(inputs: boots.Inputs, stand_in: Install, tmp_path: Path) -> None:
    stand_in("")
    outcome = start(inputs, tmp_path / "out", Boot("bios", Firmware.BIOS, "selfcheck"))
    assert "Command line: entry=2 \n" in outcome.console


@pytest.mark.parametrize(
    ("fault", "error", "reached"),
    [
        ("dies", "ended before 'executed automatically in' came", []),
        ("shell", "'UEFI Interactive Shell' came instead of", []),
        ("no-kernel", "vmlinuz' not found", ["menu"]),
        ("panic", "Unable to mount root fs", ["menu", "kernel"]),
        ("bad-json", "the self-check's JSON is damaged", ["menu", "kernel", "self-check"]),
        ("no-power-off", "did not end within", ["menu", "kernel", "self-check"]),
    ],
)
def test_boots_that_go_wrong(
    inputs: boots.Inputs,
    stand_in: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    error: str,
    reached: list[str],
) -> None:
    monkeypatch.setattr(boots, "POWER_OFF_LIMIT_S", 0.3)
    stand_in(fault)
    outcome = start(inputs, tmp_path / "out", Boot("uefi", Firmware.UEFI, "selfcheck"))
    assert error in outcome.error
    assert list(outcome.seconds) == reached
    assert (outcome.status, bool(outcome.document)) in (
        (None, fault == "no-power-off"),
        (1, False),
        (0, False),
    )
    assert (tmp_path / "out" / "uefi.log").exists()


def test_what_a_killed_run_left_is_no_hindrance(
    inputs: boots.Inputs, stand_in: Install, tmp_path: Path
) -> None:
    stand_in("")
    left = tmp_path / "out" / ".bios"
    left.mkdir(parents=True)
    (left / IMAGE).write_text("old")
    assert start(inputs, tmp_path / "out", Boot("bios", Firmware.BIOS, "selfcheck")).error == ""
    assert not left.exists()


# The accelerator.


def test_no_kvm_here(inputs: boots.Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "KVM", tmp_path / "nothing")
    assert process.find_accelerator(inputs.kernel, inputs.tools, tmp_path)[0] is Accelerator.TCG


@pytest.mark.parametrize(
    ("program", "accelerator"),
    [
        ("print('VFS: Unable to mount root fs on unknown-block(0,0)')", Accelerator.KVM),
        ("print('Linux version'); import time; time.sleep(60)", Accelerator.TCG),
        ("print('qemu: kvm_buf_set_msrs: Assertion failed.'); raise SystemExit(134)", Accelerator.TCG),
        ("print('Unable to mount root fs', flush=True); import time; time.sleep(60)", Accelerator.TCG),
    ],
)
def test_kvm_counts_only_when_a_kernel_runs_to_its_end(
    inputs: boots.Inputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    accelerator: Accelerator,
) -> None:
    @contextmanager
    def entered(job: sandbox.Job, tools: Path) -> Iterator[list[str]]:
        yield [sys.executable, "-c", program]

    monkeypatch.setattr(sandbox, "entered", entered)
    monkeypatch.setattr(process, "KVM", tmp_path)
    monkeypatch.setattr(process, "PROBE_LIMIT_S", 1.0)
    found, reason = process.find_accelerator(inputs.kernel, inputs.tools, tmp_path)
    assert found is accelerator
    assert reason


# The report.


def verdict(rows: Sequence[Row], host: Machine | None = None) -> Proof:
    results = tuple(outcomes(host)) if host else ()
    return Proof("lab", tuple(rows), results, "QEMU 10", "tcg: no KVM", {"host.img": "ab" * 32}, 61.5)


def whole(host: Machine) -> Proof:
    return verdict(judge.judge(outcomes(host), host, ORIGIN), host)


class Page(HTMLParser):
    """The visible text of a page, and the resources that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "style", "onclick")]

    def handle_data(self, data: str) -> None:
        self.shown += data


def test_page_shows_every_row_and_needs_no_network(host: Machine) -> None:
    page = Page(report.render_html(whole(host)))
    for row in whole(host).rows:
        assert row.name in page.shown and row.expectation in page.shown and row.evidence in page.shown
    assert page.loads == [f"{boot.name}.log" for boot in expect.plan_boots(host)]
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search("https?://|@import", report.render_html(whole(host)))
    assert "128 of 128 expectations met" in page.shown


def test_page_shows_drivers_and_groups_of_every_boot(host: Machine) -> None:
    text = report.render_html(whole(host))
    line = next(row for row in text.split("<tr>") if ">0000:03:00.1<" in row)
    assert re.findall("<td>([^<]*)</td>", line)[1:] == [
        "vfio-pci, group 10", "xhci_hcd, group 4", "vfio-pci, group 10", "xhci_hcd, group 4",
    ]  # fmt: skip


def test_what_a_machine_says_is_not_markup(host: Machine) -> None:
    evil = "<script>alert(1)</script>&"
    row = Row("uefi", evil, evil, evil, False)
    outcome = replace(
        good(expect.plan_boots(host)[0]), console=evil, document={"devices": [{"address": "x"}]}
    )
    text = report.render_html(replace(verdict([row]), outcomes=(outcome,), machine=evil, qemu=evil))
    assert "<script" not in text
    assert Page(text).shown.count(evil) >= 6


def test_pictures_lie_beside_the_page(host: Machine) -> None:
    page = Page(report.render_html(replace(whole(host), pictures={"The <screen>": "screen.png"})))
    assert page.tags.count("img") == 1
    assert page.loads.count("screen.png") == 2
    assert "The <screen>" in page.shown


def test_report_for_programs(host: Machine) -> None:
    content = json.loads(report.render_json(whole(host)))
    assert content["verdict"] == "pass"
    assert len(content["rows"]) == 128
    assert [boot["name"] for boot in content["boots"]] == ["uefi", "uefi-fallback", "bios", "bios-fallback"]
    assert content["boots"][0]["selfcheck"]["verdict"] == "pass"
    assert json.loads(report.render_json(verdict([Row("a", "b", "c", "d", False)])))["verdict"] == "fail"


def test_failed_proof_is_written_and_then_told(
    host: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = outcomes(host)
    results[0] = Outcome(results[0].boot, error="Kernel panic; the console's last lines:\n    end")
    rows = [*judge.judge(results, host, ORIGIN), Row("bios", "extra", "it holds", "it does not", False)]
    monkeypatch.setattr(prove, "examine", lambda *_: replace(verdict(rows), outcomes=tuple(results)))
    with pytest.raises(UserError) as caught:
        prove.prove(host, tmp_path / "image", tmp_path, lambda _: None)
    assert "uefi self-check: expected the image boots and its self-check answers; found Kernel panic" in str(
        caught.value
    )
    assert "bios extra: expected it holds; found it does not" in str(caught.value)
    # The rows that only say that there was no answer would bury the one that says why.
    assert "uefi groups" not in str(caught.value)
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "fail"
    assert "uefi <code>groups</code>" in (tmp_path / "report.html").read_text()


def test_good_proof_is_quiet(host: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "examine", lambda *_: whole(host))
    assert prove.prove(host, tmp_path / "image", tmp_path, lambda _: None).ok


def test_tail_of_a_console_has_no_escape_sequences(host: Machine) -> None:
    assert "\x1b" not in console.last_lines(console.plain("\x1b[1mbold\x1b[m\n"))
