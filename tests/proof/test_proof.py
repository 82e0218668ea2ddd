"""What `./doit prove` wrote about the very image in dist/."""

import json
import re
from typing import Any

import pytest

from hostwright.base import files, paths
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import expect, judge
from hostwright.proof.verdict import Origin, Outcome

BOOTS = ("uefi", "uefi-fallback", "bios", "bios-fallback")
ROWS = (
    "self-check",
    "firmware",
    "kernel",
    "cmdline",
    "lab",
    "dmar",
    "remapping",
    "module:vfio",
    "module:vfio_iommu_type1",
    "module:vfio_pci",
    "module:tun",
    *(f"service:{name}" for name in ("watchdog", "powerbutton", "time", "logs", "disks", "storage")),
    "network:br0",
    "device:0000:01:00.0",
    "device:0000:03:00.0",
    "device:0000:03:00.1",
    "twin:0000:00:01.0",
    "twin:0000:02:00.0",
    "root-disk:0000:00:1f.2",
    "vfio-pci",
    "by-address",
    "groups",
    "override",
    "filter",
    "verdict",
    "power-off",
)
DEEPER = {
    "host": (
        *(
            "ssh",
            "ssh-methods",
            "listening",
            "inbound",
            "power-button",
            "root-size",
            "grown",
            "fstab",
            "smoke",
            "check",
            "start",
        ),
        *("guest-port", "confined", "reached", "inner-lspci", "inner-data", "inner-again", "kept", "twin"),
    ),
    "host-unmapped": ("ssh", "ssh-methods", "listening", "inbound", "power-button", "check", "start"),
}
TOGETHER = ("override-effect:uefi", "override-effect:bios", "same-groups", "same-groups-fallback")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def report() -> Json:
    content: Json = json.loads((paths.PROOF / "report.json").read_text())
    return content


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


def selfcheck(report: Json, boot: str) -> Json:
    document: Json = next(one["selfcheck"] for one in report["boots"] if one["name"] == boot)
    return document


def groups(report: Json, boot: str) -> set[frozenset[str]]:
    return {frozenset(group["devices"]) for group in selfcheck(report, boot)["groups"]}


def test_every_expectation_was_met(report: Json) -> None:
    assert [row for row in report["rows"] if not row["ok"]] == []
    assert report["verdict"] == "pass"


def test_no_row_is_missing(report: Json) -> None:
    wanted = [(boot, name) for boot in BOOTS for name in ROWS] + [("all", name) for name in TOGETHER]
    wanted += [(boot, name) for boot, names in DEEPER.items() for name in names]
    assert [(row["boot"], row["name"]) for row in report["rows"]] == wanted


@pytest.mark.parametrize("firmware", ["uefi", "bios"])
def test_override_parts_the_look_alike_and_nothing_else(report: Json, firmware: str) -> None:
    port, display, second = "0000:00:04.0", "0000:03:00.0", "0000:03:00.1"
    with_words, without = groups(report, firmware), groups(report, f"{firmware}-fallback")
    assert with_words - without == {frozenset({port}), frozenset({display}), frozenset({second})}
    assert without - with_words == {frozenset({port, display, second})}


def test_it_is_about_this_image(report: Json) -> None:
    built = {
        "host.img": paths.HOST_IMAGE,
        "bzImage": paths.KERNEL / "bzImage",
        "OVMF_CODE.fd": paths.OVMF / "OVMF_CODE.fd",
        "OVMF_VARS.fd": paths.OVMF / "OVMF_VARS.fd",
    }
    assert report["artifacts"] == {name: files.digest(file) for name, file in built.items()}


def test_accelerator_was_chosen_for_a_reason(report: Json) -> None:
    assert re.fullmatch(r"(tcg|kvm): \S.+", report["accelerator"])


@pytest.mark.parametrize("boot", [*BOOTS, *DEEPER])
def test_console_logs_are_kept(report: Json, boot: str) -> None:
    log = (paths.PROOF / f"{boot}.log").read_text(errors="replace")
    assert "Linux version" in log
    assert ("HOSTWRIGHT-SELFCHECK-END" in log) == (boot in BOOTS)
    assert f'href="{boot}.log"' in (paths.PROOF / "report.html").read_text()


def test_the_guest_inside_the_host_tells_what_it_sees() -> None:
    said = (paths.PROOF / "host-guest.log").read_text(errors="replace")
    assert said.count("HOSTWRIGHT-INNER-END") == 2
    assert "Kernel driver in use: nvme" in said


def test_nothing_but_reports_and_logs_is_left() -> None:
    names = {file.name for file in paths.PROOF.iterdir()} - {"probe.log"}
    logs = {f"{boot}.log" for boot in (*BOOTS, *DEEPER, "host-guest")}
    assert names == {"report.json", "report.html"} | logs


def test_fallback_boot_does_not_pass_for_a_normal_one(report: Json, host: Machine) -> None:
    """A host that forgot override and passthrough, as a real kernel tells it."""
    boot = expect.plan_boots(host)[0]
    outcome = Outcome(boot, selfcheck(report, "uefi-fallback"))
    rows = {row.name for row in judge.judge([outcome], host, Origin("", "")) if not row.ok}
    assert rows >= {"cmdline", "device:0000:01:00.0", "device:0000:03:00.0", "vfio-pci", "groups", "override"}
