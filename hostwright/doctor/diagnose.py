"""What of a captured machine can go to a guest, and what stands in the way.

    Capture + Setting --open_case--> Case --judge--> Verdict for each device that a person may want to pass
                                       \\--examine--> Diagnosis: all of them, and what concerns the whole machine

Pure. A red finding makes the answer no; what the capture does not say is a finding of its own.
"""

import difflib
from collections.abc import Iterator

from hostwright.base.errors import UserError
from hostwright.doctor.case import Answer, Case, Diagnosis, Verdict, open_case
from hostwright.doctor.device import find_own
from hostwright.doctor.findings import Severity
from hostwright.doctor.kinds import find_kind, is_wanted
from hostwright.doctor.placement import place
from hostwright.pci import advice, groups
from hostwright.pci.inventory import Capture, PciFunction
from hostwright.pci.isolation import Setting


def examine(capture: Capture, setting: Setting, device: str = "") -> Diagnosis:
    """Verdicts for all devices that may be wanted; UserError for a `device` that is not there."""
    case = open_case(capture, setting)
    if device and device not in case.known:
        near = difflib.get_close_matches(
            device, [one.address for one in capture.functions if is_wanted(one)], 1
        )
        hint = f"did you mean {near[0]}?" if near else "addresses are like 0000:82:00.0"
        raise UserError(f"{capture.source}: no device {device}", hint)
    chosen = judge(case, case.known[device]) if device else None
    is_open = chosen and not case.machine.obstacles and chosen.answer is not Answer.YES
    return Diagnosis(
        case=case,
        verdicts=tuple(judge(case, one) for one in capture.functions if is_wanted(one)),
        notes=(*case.machine.notes, *_find_differences(case)),
        chosen=chosen,
        advice=advice.advise(case.machine, device, case.setting) if is_open else None,
    )


def judge(case: Case, function: PciFunction) -> Verdict:
    """The answer, and every finding about the function, the gravest first."""
    blocking = [one for one in case.findings if one.severity is Severity.RED]
    if refused := list(find_kind(function)):
        return Verdict(function, Answer.NO, findings=(*refused, *blocking))
    placement = place(case, function)
    found = [*find_own(case, function), *placement.findings, *blocking]
    found.sort(key=lambda one: list(Severity).index(one.severity))
    is_refused = any(one.severity is Severity.RED for one in found)
    return Verdict(
        device=function,
        answer=Answer.NO if is_refused else placement.answer,
        companions=placement.companions,
        words=placement.words,
        findings=tuple(found),
    )


def _find_differences(case: Case) -> Iterator[str]:
    if not case.machine.obstacles:
        yield from groups.examine(case.machine, setting=case.setting).differs
