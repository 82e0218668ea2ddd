"""The parts of a proof: boots, their outcomes, rows, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hostwright.vm.board import Firmware

POWER_OFF_SIGN = "reboot: Power down"
# What the ids of the self-check's rows about services begin with.
SERVICE = "service:"
# The same for bonds and bridges.
NETWORKS = ("bond:", "network:")


@dataclass(frozen=True)
class Boot:
    """A start of the image: the firmware, the entry of GRUB's menu, and kernel words typed at its prompt."""

    name: str
    firmware: Firmware
    entry: str
    extra: tuple[str, ...] = ()

    @property
    def is_passthrough(self) -> bool:
        """Whether the entry binds devices to vfio-pci."""
        return self.entry != "fallback"


@dataclass(frozen=True)
class Origin:
    """The image's origin: `release` as uname -r shows it, `partuuid` of the root partition."""

    release: str
    partuuid: str


@dataclass(frozen=True)
class SelfCheck:
    """The fields of hostwright-selfcheck's document that the proof reads.

    `modules` maps a name to its loader, `filters` a family to the result of its packet filter, `services` a name to the
    result of its row (pass, note or fail) and the text of what was found, `networks` likewise the id of each row about
    a bond or a bridge.
    """

    kernel: str
    cmdline: str
    units: tuple[str, ...]
    ids: Mapping[str, str]
    drivers: Mapping[str, str]
    groups: frozenset[frozenset[str]]
    modules: Mapping[str, str]
    log: tuple[str, ...]
    failing: frozenset[str]
    filters: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    networks: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The result of a boot; `document` is the self-check's JSON, None if it is missing for the reason `error`.

    `platform` is GRUB's name of the firmware. `status` is QEMU's exit status (None: ended by force). `seconds` since
    the start at which each step was reached.
    """

    boot: Boot
    document: Mapping[str, Any] | None = None
    console: str = ""
    platform: str = ""
    status: int | None = None
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One expectation of one boot, and the evidence for or against it."""

    boot: str
    name: str
    expectation: str
    evidence: str
    ok: bool


@dataclass(frozen=True)
class Proof:
    """The whole proof: `accelerator` with its reason, `artifacts` as file name to sha256.

    `deeper` are the boots with a login; they have no self-check document. `pictures` are titles and names of files
    beside the report.
    """

    machine: str
    rows: tuple[Row, ...]
    outcomes: tuple[Outcome, ...]
    qemu: str
    accelerator: str
    artifacts: Mapping[str, str]
    seconds: float
    deeper: tuple[Outcome, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every expectation was met."""
        return bool(self.rows) and all(row.ok for row in self.rows)


class Checked(NamedTuple):
    """The result of a check."""

    expectation: str
    evidence: str
    ok: bool


def check_power_off(outcome: Outcome, expectation: str) -> Checked:
    """The kernel's last word was the power-off, and it ended QEMU."""
    said = POWER_OFF_SIGN in outcome.console
    evidence = (
        f"{POWER_OFF_SIGN if said else 'no power-off'} on the console, QEMU's exit status: {outcome.status}"
    )
    return Checked(expectation, evidence, said and outcome.status == 0)


def read_document(document: Mapping[str, Any]) -> SelfCheck:
    """The self-check's document as a value; raises ValueError with the key for another form."""
    try:
        return SelfCheck(
            kernel=document["kernel"],
            cmdline=document["cmdline"],
            units=tuple(document["iommu"]),
            ids={device["address"]: device["id"] for device in document["devices"]},
            drivers={device["address"]: device["driver"] for device in document["devices"]},
            groups=frozenset(frozenset(group["devices"]) for group in document["groups"]),
            modules={
                module["name"]: module["by"] if module["loaded"] else "" for module in document["modules"]
            },
            log=tuple(document["log"]),
            failing=frozenset(document["failing"]),
            filters={
                row["id"].removeprefix("filter:"): row["result"]
                for row in document["rows"]
                if row["id"].startswith("filter:")
            },
            services={
                row["id"].removeprefix(SERVICE): (row["result"], row["found"])
                for row in document["rows"]
                if row["id"].startswith(SERVICE)
            },
            networks={
                row["id"]: (row["result"], row["found"])
                for row in document["rows"]
                if row["id"].startswith(NETWORKS)
            },
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the self-check's document is not of the known form: {error}") from None
