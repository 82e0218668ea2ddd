"""The proof's report for people and for programs: report.html and report.json.

    Verdict -> render_json, render_html -> write_reports -> dist/proof/

The page needs no network and no script. Rows are in the order of the boots, devices in the order of the lab.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hostwright.base import files
from hostwright.base.errors import UserError
from hostwright.base.escape import markup
from hostwright.base.page import STYLE
from hostwright.proof import lab
from hostwright.proof.expect import ALL_BOOTS, UNKNOWN
from hostwright.proof.verdict import Outcome, Proof, Row
from hostwright.vm.console import last_lines

FORMAT = 1
TAIL_LINES = 40


def write_reports(verdict: Proof, out: Path) -> None:
    """Write report.json and report.html, each atomically."""
    files.write(out / "report.html", render_html(verdict))
    files.write(out / "report.json", render_json(verdict))


def failure(verdict: Proof, out: Path) -> UserError:
    """The failed rows as an error, each with its evidence; `out` is the folder of the report."""
    red = [row for row in verdict.rows if not row.ok]
    # If a boot gave no answer, its first row has the reason; all others only repeat that there was none.
    telling = [row for row in red if not row.evidence.startswith(UNKNOWN)]
    lines = [f"  {row.boot} {row.name}: expected {row.expectation}; found {row.evidence}" for row in telling]
    count = f"{len(red)} of {len(verdict.rows)} expectations were not met"
    return UserError(
        "\n".join([f"the proof failed: {count}", *lines]), f"see {out / 'report.html'} and the logs beside it"
    )


def render_json(verdict: Proof) -> str:
    """The page's content, and each self-check's document unchanged."""
    content = {
        "format": FORMAT,
        "verdict": "pass" if verdict.ok else "fail",
        "machine": verdict.machine,
        "qemu": verdict.qemu,
        "accelerator": verdict.accelerator,
        "seconds": verdict.seconds,
        "artifacts": dict(verdict.artifacts),
        "rows": [_row_json(row) for row in verdict.rows],
        "boots": [_boot_json(outcome) for outcome in (*verdict.outcomes, *verdict.deeper)],
        "pictures": dict(verdict.pictures),
    }
    return json.dumps(content, indent=1) + "\n"


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "boot": row.boot,
        "name": row.name,
        "ok": row.ok,
        "expectation": row.expectation,
        "evidence": row.evidence,
    }


def _boot_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.boot.name,
        "firmware": outcome.boot.firmware.value,
        "entry": outcome.boot.entry,
        "extra": list(outcome.boot.extra),
        "platform": outcome.platform,
        "seconds": dict(outcome.seconds),
        "status": outcome.status,
        "error": outcome.error,
        "log": _log_name(outcome),
        "selfcheck": outcome.document,
    }


def _log_name(outcome: Outcome) -> str:
    return f"{outcome.boot.name}.log"


def render_html(verdict: Proof) -> str:
    """The report as one HTML page."""
    title = f"Hostwright proof: {verdict.machine}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{markup(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{markup(title)}</h1>",
            _summary(verdict),
            "<h2>Devices and groups</h2>",
            _device_table(verdict.outcomes),
            *(_boot_section(outcome, verdict.rows) for outcome in (*verdict.outcomes, *verdict.deeper)),
            "<h2>All boots together</h2>",
            _row_table(row for row in verdict.rows if row.boot == ALL_BOOTS),
            *(_picture(title, name) for title, name in verdict.pictures.items()),
            "<h2>Consoles</h2>",
            *(_tail(outcome) for outcome in (*verdict.outcomes, *verdict.deeper)),
            "<h2>What was proved</h2>",
            _artifact_table(verdict.artifacts),
            "</body></html>\n",
        ]
    )


def _summary(verdict: Proof) -> str:
    passed = sum(row.ok for row in verdict.rows)
    word = "pass" if verdict.ok else "fail"
    red = "".join(
        f"<li>{markup(row.boot)} <code>{markup(row.name)}</code></li>" for row in verdict.rows if not row.ok
    )
    return (
        f'<p class="verdict {word}">{word}: {passed} of {len(verdict.rows)} expectations met</p>'
        + (f"<ul>{red}</ul>" if red else "")
        + f"<p>{len((*verdict.outcomes, *verdict.deeper))} boots of the same image in {verdict.seconds:g} s. "
        f"{markup(verdict.qemu)}."
        f" Accelerator {markup(verdict.accelerator)}.</p>"
    )


def _boot_section(outcome: Outcome, rows: Sequence[Row]) -> str:
    boot = outcome.boot
    extra = f" with <code>{markup(' '.join(boot.extra))}</code> added" if boot.extra else ""
    times = ", ".join(f"{markup(step)} {seconds:.1f} s" for step, seconds in outcome.seconds.items())
    return (
        f"<h2>{markup(boot.name)}</h2><p>{boot.firmware.value.upper()}, menu entry <code>{markup(boot.entry)}</code>"
        f'{extra}. <span class="dim">{times}</span></p>'
        + _row_table(row for row in rows if row.boot == boot.name)
    )


def _row_table(rows: Iterable[Row]) -> str:
    return _table(("", "row", "expected", "found"), (_row_cells(row) for row in rows))


def _row_cells(row: Row) -> str:
    word = "pass" if row.ok else "fail"
    return (
        f'<tr class="{word}"><td class="name sign {word}">{word}</td><td class="name mono">{markup(row.name)}</td>'
        f"<td>{markup(row.expectation)}</td><td>{markup(row.evidence)}</td></tr>"
    )


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{markup(text)}</th>" for text in heads)
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _device_table(outcomes: Sequence[Outcome]) -> str:
    """The lab's functions, each with its driver and group in every boot."""
    heads = ("address", "id", "kind", *(outcome.boot.name for outcome in outcomes))
    found = [_devices(outcome) for outcome in outcomes]
    return _table(heads, (_device_cells(function.address, found) for function in lab.FUNCTIONS))


def _device_cells(address: str, found: Sequence[Mapping[str, str]]) -> str:
    function = lab.BY_ADDRESS[address].function
    cells = "".join(f"<td>{markup(boot.get(address, 'unknown'))}</td>" for boot in found)
    return (
        f'<tr><td class="name mono">{address}</td><td class="name mono">{function.id}</td>'
        f"<td>{markup(function.kind.value)}</td>{cells}</tr>"
    )


def _devices(outcome: Outcome) -> dict[str, str]:
    """Address to driver and group, from the self-check; empty if its document has another form."""
    try:
        return {
            device["address"]: f"{device['driver'] or 'no driver'}, group {device['group'] or 'none'}"
            for device in (outcome.document or {})["devices"]
        }
    except (KeyError, TypeError):
        return {}


def _tail(outcome: Outcome) -> str:
    name = _log_name(outcome)
    status = "ended by force" if outcome.status is None else f"exit status {outcome.status}"
    return (
        f"<details{' open' if outcome.error else ''}>"
        f'<summary>{markup(outcome.boot.name)}: last lines, QEMU {status} (<a href="{markup(name)}">'
        f"{markup(name)}</a>)</summary><pre>{markup(last_lines(outcome.console, TAIL_LINES))}</pre></details>"
    )


def _picture(title: str, name: str) -> str:
    """A screen, scaled to the page; the linked file has the full size."""
    return (
        f'<h2>{markup(title)}</h2><p><a href="{markup(name)}">'
        f'<img src="{markup(name)}" alt="{markup(title)}"></a></p>'
    )


def _artifact_table(artifacts: Mapping[str, str]) -> str:
    return _table(
        ("file", "sha256"),
        (
            f'<tr><td class="name mono">{markup(name)}</td><td class="mono">{markup(digest)}</td></tr>'
            for name, digest in artifacts.items()
        ),
    )
