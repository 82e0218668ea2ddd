"""The comparison of the differential proof: IOMMU groups as a kernel reports them, and as predicted. Pure.

    topologies, Words --plan_boot--> argv of QEMU
    console's text --read_console--> Found --compare--> Disagreement, with the rule at work

One machine contains many topologies, so a boot judges all of them under one set of words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hostwright.base.errors import UserError
from hostwright.pci import iommu
from hostwright.pci.function import Function
from hostwright.pci.iommu import Prediction
from hostwright.pci.isolation import Setting
from hostwright.proof.topologies import Placed
from hostwright.vm import board
from hostwright.vm.board import Accelerator

MEMORY_MIB = 512
INITRD = "initrd"
BEGIN, END = "HOSTWRIGHT-GROUPS-BEGIN", "HOSTWRIGHT-GROUPS-END"


@dataclass(frozen=True)
class Words:
    """One column of the proof: its name, the words of pcie_acs_override=, and further kernel words."""

    name: str
    override: tuple[str, ...] = ()
    setting: Setting = field(default_factory=Setting)

    @property
    def cmdline(self) -> tuple[str, ...]:
        """The words in the form of the kernel's command line."""
        pairs = (
            ("pcie_acs_override=", ",".join(self.override)),
            ("pci=config_acs=", self.setting.config_acs),
            ("pci=disable_acs_redir=", self.setting.disable_acs_redir),
        )
        return tuple(f"{key}{value}" for key, value in pairs if value)


_MANY_IDS = tuple(f"id:{number:04x}:{number:04x}" for number in range(0x1000, 0x1027))
COLUMNS = (
    Words("none"),
    Words("downstream", ("downstream",)),
    Words("multifunction", ("multifunction",)),
    Words("both", ("downstream", "multifunction")),
    # T9 names a port. T10 has a misspelt word, an id in capitals and, with it, forty ids.
    Words("id", ("id:8086:3420", "downstrem", "id:1B36:000D", *_MANY_IDS)),
    Words("disable_acs_redir", (), Setting(disable_acs_redir="pci:1b36:c")),
    # The first entry that names a function counts: redirects off in the first slot, all on elsewhere.
    Words("config_acs", ("downstream",), Setting(config_acs="00000x1@0000:00:01.0;0011101@pci:1b36:c")),
)


def replace_series(words: Words, series: str) -> Words:
    """The same words for another kernel series."""
    return replace(words, setting=replace(words.setting, series=series))


@dataclass(frozen=True)
class Found:
    """The result of a boot: address to id, the groups, the overridden functions, the console's text."""

    ids: Mapping[str, str]
    groups: frozenset[frozenset[str]]
    overridden: Mapping[str, str]
    text: str = ""


@dataclass(frozen=True)
class Disagreement:
    """A topology that the kernel groups differently from the prediction, under one set of words."""

    topology: str
    words: str
    what: str


@dataclass
class Tally:
    """The number of compared pairs of topology and words, and the disagreements."""

    compared: dict[str, int] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)
    boots: int = 0


# One boot.


def plan_boot(placed: Sequence[Placed], words: Words, accelerator: Accelerator) -> tuple[str, ...]:
    """The argv of QEMU: the board of the lab with these functions on it, a kernel and its initramfs."""
    options = (option for one in placed for option in one.options)
    return (
        *board.plan_board(accelerator),
        "-serial", "stdio",
        "-m", f"{MEMORY_MIB}M",
        "-kernel", f"{board.FOLDER}/{board.KERNEL}",
        "-initrd", f"{board.FOLDER}/{INITRD}",
        "-append", " ".join(plan_cmdline(placed, words)),
        *(word for option in options for word in ("-device", option)),
    )  # fmt: skip


def plan_cmdline(placed: Sequence[Placed], words: Words) -> tuple[str, ...]:
    """The kernel's words. The log is printed at the end, since a serial line is slow.

    Empty ports reserve no space for hotplug: there is not enough, and the kernel would retry again and again.
    """
    vfs = ",".join(f"{one.function.address}={one.vfs}" for one in placed if one.vfs)
    return (
        "console=ttyS0,115200", "loglevel=4", "log_buf_len=4M", "panic=-1", "no_timer_check", "nousb",
        "intel_iommu=on", "iommu=pt", "pci=hpiosize=0,hpmmiosize=0,hpmmioprefsize=0",
        *words.cmdline,
        *((f"hostwright.vfs={vfs}",) if vfs else ()),
    )  # fmt: skip


def read_console(text: str) -> Found:
    """Parse the lines of groups_init.sh and of the kernel itself."""
    part = text.partition(BEGIN)[2].partition(END)[0]
    groups: dict[str, set[str]] = {}
    for number, address in re.findall(r"^group (\d+) (\S+)", part, re.MULTILINE):
        groups.setdefault(number, set()).add(address)
    return Found(
        ids=dict(re.findall(r"^function (\S+) (\S+)", part, re.MULTILINE)),
        groups=frozenset(frozenset(group) for group in groups.values()),
        overridden=dict(re.findall(r"pci (\S+): ACS overridden by pcie_acs_override=(\w+):", text)),
        text=text,
    )


# The verdict.


def compare(placed: Sequence[Placed], words: Words, found: Found) -> list[Disagreement]:
    """The differences between kernel and prediction, one per topology."""
    predicted = iommu.predict([one.function for one in placed], words.override, words.setting)
    wrong = _wrong_addresses(predicted, found)
    disagreements = []
    for name in dict.fromkeys(one.topology for one in placed):
        functions = [one.function for one in placed if one.topology == name]
        what = _find_other_ids(functions, found)
        if not what and any(function.address in wrong for function in functions):
            what = _describe(functions, predicted, found)
        if what:
            title = f"{name} with {' '.join(words.cmdline) or 'no words'}:"
            disagreements.append(Disagreement(name, words.name, f"{title}\n{what}"))
    return disagreements


def _find_other_ids(functions: Sequence[Function], found: Found) -> str:
    """The functions whose ids differ from the description."""
    pairs = ((one, found.ids.get(one.address, "absent")) for one in functions)
    return "\n".join(f"  {one.address} is {id} and not {one.id}" for one, id in pairs if id != one.id)


def _wrong_addresses(predicted: Prediction, found: Found) -> set[str]:
    groups = predicted.groups ^ found.groups
    words = dict(predicted.overridden).items() ^ dict(found.overridden).items()
    return {address for group in groups for address in group} | {address for address, _ in words}


def _describe(functions: Sequence[Function], predicted: Prediction, found: Found) -> str:
    """The topology with the prediction's reason for each function, and both results."""
    return "\n".join(
        (
            *(_describe_function(one, predicted) for one in functions),
            f"  predicted: {_describe_groups(functions, predicted.groups, predicted.overridden)}",
            f"  kernel:    {_describe_groups(functions, found.groups, found.overridden)}",
        )
    )


def _describe_function(function: Function, predicted: Prediction) -> str:
    judgement = predicted.judgements[function.address]
    several = ", one of several" if function.multifunction else ""
    return (
        f"  {function.address} {function.id} {function.kind.value}{several}, behind {function.port or 'the root bus'}: "
        f"{judgement.isolation.value}, {judgement.reason}"
    )


def _describe_groups(
    functions: Sequence[Function], groups: frozenset[frozenset[str]], overridden: Mapping[str, str]
) -> str:
    own = {function.address for function in functions}
    mine = sorted(" ".join(sorted(group)) for group in groups if group & own)
    named = (f"{address}={word}" for address, word in sorted(overridden.items()) if address in own)
    return f"{' | '.join(mine)}; overridden: {' '.join(named) or 'none'}"


def render_tally(tally: Tally) -> str:
    """The counts and every disagreement as text."""
    total = sum(tally.compared.values())
    counts = ", ".join(f"{name} {count}" for name, count in tally.compared.items())
    head = f"{total - len(tally.disagreements)} of {total} agree in {tally.boots} boots ({counts})"
    return "\n".join([head, *(one.what for one in tally.disagreements)]) + "\n"


def require_agreement(tally: Tally) -> None:
    """Raise UserError with the first disagreements if there are any."""
    if tally.disagreements:
        shown = "\n".join(one.what for one in tally.disagreements[:3])
        raise UserError(
            f"{len(tally.disagreements)} topologies are not grouped as predicted\n{shown}",
            "either the kernel has a rule that hostwright/pci/iommu.py lacks, or the machine is not the one described",
        )
