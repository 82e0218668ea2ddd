"""A report on IOMMU groups for people, programs and pages: text, JSON, SVG. Pure."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hostwright.base.escape import markup
from hostwright.pci.advice import Advice
from hostwright.pci.function import ROOT, Function
from hostwright.pci.groups import Column, Label, Report
from hostwright.pci.inventory import Capture, PciFunction, name_class

_MARKS = {Label.HARDWARE: "", Label.QUIRK: "q", Label.ASSUMED: "?", Label.OVERRIDE: "!"}
LEGEND = (
    "no mark: the hardware isolates the group; q: the kernel knows that it does (quirk);\n"
    "?: the kernel assumes it, nothing isolates there; !: the override says so (unsafe: the hardware does not)"
)


# Text.


def render_text(report: Report) -> str:
    """Table, tree, notes and advice."""
    capture = report.machine.capture
    parts = [_head(report), _table(report)]
    if report.columns:
        parts += [LEGEND, _tree(report, report.columns[-1] if len(report.columns) > 4 else report.columns[0])]
    parts += [_list("not in this source:", capture.missing)]
    parts += [_list("no prediction is made, since", report.machine.obstacles)]
    parts += [_list("notes:", (*report.notes, *report.differs))]
    if report.advice:
        parts.append(render_advice(report.advice))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: Report) -> str:
    capture = report.machine.capture
    name = " ".join(capture.dmi.get(key, "") for key in ("sys_vendor", "product_name")).strip()
    machine = f"{name or 'a machine'}, kernel {capture.release or 'unknown'}"
    return f"{capture.source}: {machine}\npredicted for series {report.series}, with pcie_acs_override= as in the heads"


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


def _table(report: Report) -> str:
    heads = ["address", "id", "class", "driver", "now", *(column.name for column in report.columns)]
    rows = [_row(one, report.columns) for one in report.machine.capture.functions]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [heads, *rows]
    )
    return "\n".join(line.rstrip() for line in lines)


def _row(one: PciFunction, columns: Sequence[Column]) -> list[str]:
    cells = [_cell(one.address, column) for column in columns]
    return [one.address, one.id, name_class(one), one.driver or "-", one.group or "-", *cells]


def _cell(address: str, column: Column) -> str:
    if address not in column.numbers:
        return "-"
    return f"{column.numbers[address]}{_MARKS[column.labels[address]]}"


def _tree(report: Report, column: Column) -> str:
    title = f"tree, with the groups predicted for: {column.name}"
    return "\n".join([title, *_branch(ROOT, "", report, column)])


def _branch(port: str, indent: str, report: Report, column: Column) -> Iterator[str]:
    below = [one for one in report.machine.functions if one.port == port]
    known = report.machine.capture.by_address
    for place, one in enumerate(below, 1):
        is_last = place == len(below)
        yield f"{indent}{'└─ ' if is_last else '├─ '}{_leaf(one, known[one.address], column)}"
        yield from _branch(one.address, indent + ("   " if is_last else "│  "), report, column)


def _leaf(one: Function, known: PciFunction, column: Column) -> str:
    group = column.numbers.get(one.address)
    if group is None:
        return f"{one.address} {name_class(known)}: no IOMMU"
    return f"{one.address} {name_class(known)}: group {group}, {column.labels[one.address].value}"


def render_advice(advice: Advice) -> str:
    """What frees a device, in the order in which to try."""
    if advice.is_free:
        return f"{advice.device} is free: no override is needed"
    lines = [f"{advice.device} would take along: {' '.join(advice.companions)}", "to free it, in this order:"]
    answers = {True: "frees it", False: "does not free it", None: "not predicted"}
    for number, remedy in enumerate(advice.remedies, 1):
        lines.append(f"  {number}. {remedy.kind}: {remedy.text} ({answers[remedy.does]})")
    if advice.smallest is None:
        lines.append("no override frees it")
    else:
        lines.append(f"the smallest override that frees it: pcie_acs_override={','.join(advice.smallest)}")
        lines.append("it changes what the kernel assumes, not what the hardware does")
    if advice.spared:
        lines.append(f"it would also speak for {' '.join(advice.spared)}")
    return "\n".join(lines)


# JSON.


def render_json(report: Report) -> str:
    """Everything as one document."""
    capture = report.machine.capture
    document = {
        "source": capture.source,
        "kernel": capture.release,
        "series": report.series,
        "devices": [_device(one, report) for one in capture.functions],
        "overrides": {column.name: list(column.words) for column in report.columns},
        "missing": list(capture.missing),
        "obstacles": list(report.machine.obstacles),
        "notes": [*report.notes, *report.differs],
        "advice": _advice_value(report.advice),
    }
    return json.dumps(document, indent=1) + "\n"


def _device(one: PciFunction, report: Report) -> dict[str, Any]:
    return {
        "address": one.address,
        "id": one.id,
        "class": f"{one.class_code:06x}",
        "driver": one.driver,
        "parent": one.parent,
        "group": one.group,
        "predicted": {
            column.name: {
                "group": column.numbers[one.address],
                "isolation": column.labels[one.address].value,
                "reason": column.prediction.judgements[one.address].reason,
            }
            for column in report.columns
            if one.address in column.numbers
        },
    }


def _advice_value(advice: Advice | None) -> dict[str, Any] | None:
    if not advice:
        return None
    return {
        "device": advice.device,
        "free": advice.is_free,
        "companions": list(advice.companions),
        "remedies": [{"kind": one.kind, "text": one.text, "frees": one.does} for one in advice.remedies],
        "smallest": None if advice.smallest is None else list(advice.smallest),
        "also": list(advice.spared),
    }


# SVG.

_LINE, _INDENT, _CHARACTER, _MARGIN = 22, 24, 7.3, 10
_COLORS = ("#dbe9f6", "#fde3cf", "#dff0d8", "#f6dbe9", "#fff3c4", "#e2dcf4", "#d9f1ef", "#eee5d8")
_EDGES = {
    Label.HARDWARE: "#2e7d32",
    Label.QUIRK: "#1565c0",
    Label.ASSUMED: "#b26a00",
    Label.OVERRIDE: "#c62828",
}


def render_svg(report: Report) -> str:
    """A box a function, behind its bridge: filled by predicted group, edged by what isolates the group."""
    column = report.columns[-1] if len(report.columns) > 4 else next(iter(report.columns), None)
    rows = list(_rows(report.machine.capture, report, ROOT, 0))
    boxes = [_box(place, depth, one, column, report) for place, (depth, one) in enumerate(rows)]
    width = max(
        (_x(depth) + len(_caption(one, column, report)) * _CHARACTER for depth, one in rows), default=0
    )
    height = len(rows) * _LINE + 2 * _MARGIN + _LINE
    legend = " ".join(
        f'<tspan fill="{color}">■ {markup(label.value)}</tspan>' for label, color in _EDGES.items()
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 4 * _MARGIN:.0f}" height="{height}" '
            'font-family="monospace" font-size="12">',
            f"<title>IOMMU groups of {markup(report.machine.capture.source)}</title>",
            *boxes,
            f'<text x="{_MARGIN}" y="{height - _MARGIN}">{legend}</text>',
            "</svg>\n",
        )
    )


def _rows(capture: Capture, report: Report, port: str, depth: int) -> Iterator[tuple[int, Function]]:
    for one in report.machine.functions:
        if one.port == port:
            yield depth, one
            yield from _rows(capture, report, one.address, depth + 1)


def _x(depth: int) -> int:
    return _MARGIN + depth * _INDENT


def _caption(one: Function, column: Column | None, report: Report) -> str:
    known = report.machine.capture.by_address[one.address]
    group = column.numbers.get(one.address) if column else None
    return f"{one.address} [{one.id}] {name_class(known)}{'' if group is None else f', group {group}'}"


def _box(place: int, depth: int, one: Function, column: Column | None, report: Report) -> str:
    x, y = _x(depth), _MARGIN + place * _LINE
    caption = _caption(one, column, report)
    group = column.numbers.get(one.address) if column else None
    fill = "#ffffff" if group is None else _COLORS[group % len(_COLORS)]
    edge = _EDGES[column.labels[one.address]] if column and group is not None else "#888888"
    width = len(caption) * _CHARACTER + _MARGIN
    line = f'<path d="M{x - _INDENT / 2:.0f} {y + 9}h{_INDENT / 2:.0f}" stroke="#888888"/>' if depth else ""
    return (
        f'{line}<rect x="{x}" y="{y}" width="{width:.0f}" height="{_LINE - 4}" rx="3" fill="{fill}" stroke="{edge}"/>'
        f'<text x="{x + 5}" y="{y + 13}">{markup(caption)}</text>'
    )
