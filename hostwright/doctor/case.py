"""TODO: doctor.case."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from hostwright.doctor import hostuse
from hostwright.doctor.findings import Finding
from hostwright.doctor.hostuse import Use
from hostwright.doctor.machine_wide import find_of_machine
from hostwright.doctor.window import Window, find_window
from hostwright.pci import firmware, hierarchy, iommu
from hostwright.pci.advice import Advice
from hostwright.pci.hierarchy import Hierarchy
from hostwright.pci.inventory import Capture, PciFunction, ReservedRegion
from hostwright.pci.iommu import Prediction
from hostwright.pci.isolation import Setting


class Answer(Enum):
    """Whether a device can go to a guest."""

    YES = "yes"
    COMPANIONS = "yes, with companions"
    OVERRIDE = "only with override"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Case:
    """A machine with what follows from its capture as a whole; `findings` are those about all devices."""

    capture: Capture
    machine: Hierarchy
    setting: Setting
    known: Mapping[str, PciFunction]
    uses: Mapping[str, tuple[Use, ...]]
    gaps: Mapping[str, str]
    regions: Mapping[str, tuple[ReservedRegion, ...]]
    window: Window | None
    findings: tuple[Finding, ...] = ()
    predictions: dict[tuple[str, ...], Prediction] = field(default_factory=dict, compare=False)

    def predict(self, words: tuple[str, ...]) -> Prediction:
        """The groups under these words; devices of one group ask for the same ones."""
        if words not in self.predictions:
            self.predictions[words] = iommu.predict(self.machine.functions, words, self.setting)
        return self.predictions[words]

    @property
    def tells_drivers(self) -> bool:
        """Whether the source names drivers at all."""
        return any(one.driver for one in self.capture.functions)


@dataclass(frozen=True)
class Verdict:
    """The answer for one device: `companions` leave the host with it, `words` are those of pcie_acs_override=."""

    device: PciFunction
    answer: Answer
    companions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All that `./doit doctor` says; `chosen` and `advice` are about the requested device."""

    case: Case
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    chosen: Verdict | None = None
    advice: Advice | None = None


def open_case(capture: Capture, setting: Setting, console_words: str = "") -> Case:
    """What a capture says, once for all devices; `setting` and `console_words` (console=) are of the kernel to come."""
    machine = hierarchy.describe(capture)
    case = Case(
        capture=capture,
        machine=machine,
        setting=replace(setting, platform=machine.platform),
        known=capture.by_address,
        uses=hostuse.find_uses(capture, console_words),
        gaps=hostuse.find_gaps(capture),
        regions=firmware.find_regions(capture),
        window=find_window(capture.cpuinfo),
    )
    return replace(case, findings=tuple(find_of_machine(capture)))
