"""A diagnosis for people and programs: text, JSON, and a section of host.toml. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hostwright.doctor import machine_wide
from hostwright.doctor.case import Answer, Diagnosis, Verdict
from hostwright.doctor.findings import Finding, Severity
from hostwright.pci.inventory import PciFunction, name_class
from hostwright.pci.view import render_advice

_WIDTH, _MOST_LINES = 8, 3


# Text.


def render_text(diagnosis: Diagnosis) -> str:
    """The table of verdicts, what concerns the whole machine, and each device's findings.

    Notes on single devices are left to the page of the requested device.
    """
    case = diagnosis.case
    blocks = [_head(diagnosis)]
    if diagnosis.chosen:
        blocks += [_block(diagnosis.chosen, case.findings, with_notes=True)]
        blocks += [render_advice(diagnosis.advice)] if diagnosis.advice else []
        blocks += ["for host.toml:", section.rstrip()] if (section := render_section(diagnosis)) else []
    else:
        blocks += [_table(diagnosis.verdicts)]
        blocks += [_block(one, case.findings, with_notes=False) for one in diagnosis.verdicts]
    blocks += [_section("the machine:", _lines(case.findings))]
    blocks += [_section("not in this source:", case.capture.missing)]
    blocks += [_section("groups are not predicted, since", _some(case.machine.obstacles))]
    blocks += [_section("notes:", diagnosis.notes)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(diagnosis: Diagnosis) -> str:
    capture = diagnosis.case.capture
    name = " ".join(capture.dmi.get(key, "") for key in ("sys_vendor", "product_name")).strip()
    return (
        f"{capture.source}: {name or 'a machine'}, kernel {capture.release or 'unknown'}\n"
        f"judged for a host with kernel series {diagnosis.case.setting.series}"
    )


def _table(verdicts: Iterable[Verdict]) -> str:
    rows = [("address", "id", "class", "driver", "can it be passed?")]
    rows += [
        (one.device.address, one.device.id, name_class(one.device), one.device.driver or "-", _answer(one))
        for one in verdicts
    ]
    if len(rows) == 1:
        return "no device here that a person may want to pass"
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _answer(verdict: Verdict) -> str:
    words = f" {','.join(verdict.words)}" if verdict.answer is Answer.OVERRIDE else ""
    return f"{verdict.answer.value}{words}"


def _block(verdict: Verdict, of_machine: Iterable[Finding], *, with_notes: bool) -> str:
    """A device with its findings; those about the whole machine stand elsewhere."""
    shown = [
        one
        for one in verdict.findings
        if one not in of_machine and (with_notes or one.severity is not Severity.NOTE)
    ]
    title = f"{verdict.device.address} {name_class(verdict.device)} [{verdict.device.id}]: {_answer(verdict)}"
    return "\n".join([title, *(f"  {line}" for line in _lines(shown))]) if shown or with_notes else ""


def _lines(findings: Iterable[Finding]) -> Iterator[str]:
    for one in findings:
        yield f"{one.severity.value:<{_WIDTH}}{one.text}"
        yield f"{'':<{_WIDTH}}-> {one.remedy}"


def _some(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"and {more} more"] if more > 1 else list(lines)


def _section(title: str, lines: Iterable[str]) -> str:
    body = [f"  {line}" for line in lines]
    return "\n".join([title, *body]) if body else ""


# A section of host.toml.


def render_section(diagnosis: Diagnosis) -> str:
    """The tables [iommu] and [[device]] for the requested device; empty where it cannot be passed."""
    chosen = diagnosis.chosen
    if chosen is None or chosen.answer is Answer.NO:
        return ""
    case = diagnosis.case
    vendor = machine_wide.find_vendor(case.capture)
    members = [chosen.device, *(case.known[one] for one in chosen.companions)]
    parts = [
        *_heading(chosen, case.capture.source),
        "[iommu]",
        f'vendor = "{vendor or "intel"}"' + ("" if vendor else " # not known: intel or amd"),
        f"acs_override = [{', '.join(_quote(word) for word in chosen.words)}]",
        *(line for one in members for line in _device(one)),
        "",
        "# In the [[guest]] that gets it:",
        f"# devices = [{', '.join(_quote(one.address) for one in members)}]",
    ]
    return "\n".join(parts) + "\n"


def _heading(chosen: Verdict, source: str) -> Iterator[str]:
    yield f"# {chosen.device.address}: {_answer(chosen)}. At the top of the file, so that builds check it:"
    yield f"# capture = {_quote(source)}"


def _device(function: PciFunction) -> Iterator[str]:
    yield from ("", "[[device]]", f"address = {_quote(function.address)}")
    yield f"id = {_quote(function.id)}"
    yield f"label = {_quote(name_class(function))}"


def _quote(text: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own."""
    return json.dumps(text)


# JSON.


def render_json(diagnosis: Diagnosis) -> str:
    """Everything as one document."""
    case = diagnosis.case
    document = {
        "source": case.capture.source,
        "kernel": case.capture.release,
        "series": case.setting.series,
        "devices": [_verdict(one) for one in diagnosis.verdicts],
        "machine": [_finding(one) for one in case.findings],
        "missing": list(case.capture.missing),
        "obstacles": list(case.machine.obstacles),
        "notes": list(diagnosis.notes),
        "device": _verdict(diagnosis.chosen) if diagnosis.chosen else None,
        "section": render_section(diagnosis) or None,
    }
    return json.dumps(document, indent=1) + "\n"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "address": verdict.device.address,
        "id": verdict.device.id,
        "class": f"{verdict.device.class_code:06x}",
        "driver": verdict.device.driver,
        "answer": verdict.answer.value,
        "companions": list(verdict.companions),
        "override": list(verdict.words),
        "findings": [_finding(one) for one in verdict.findings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "text": finding.text,
        "remedy": finding.remedy,
    }
