"""`./doit audit`: the kernel's configuration by the yardstick of kernel-hardening-checker.

    audit/lock --fetch, unpack--> the checker --sandbox--> its results + audit/kernel.toml --> faults, or a table

Every recommendation is met, or refused with a reason in audit/kernel.toml. docs/security.md shows the table. The other
yardsticks, `lynis` and `checksec`, take from here how an auditor is fetched and how decisions are compared.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, paths, texts
from hostwright.formats import deb
from hostwright.machine import toml
from hostwright.sandbox import sandbox, workshop
from hostwright.source import fetch
from hostwright.source.pins import read_lock

LOCK = paths.AUDIT / "lock"
REFUSED = paths.AUDIT / "kernel.toml"
CHECKER = "kernel-hardening-checker"
PROGRAM = "import sys; from kernel_hardening_checker import main; sys.exit(main())"
LIBRARIES = "/sources/usr/lib/python3/dist-packages"


@dataclass(frozen=True)
class Check:
    """One recommendation: the option without CONFIG_, the wanted value, what was found, and whether it is met."""

    option: str
    wanted: str
    found: str
    met: bool


def plan_check(root: Path, package: Path, config: Path) -> sandbox.Job:
    """The job that checks `config`; its standard output is JSON."""
    argv = ("python3", "-c", PROGRAM, "-m", "json", "-c", f"/build/{config.name}")
    binds = (sandbox.Bind(package, "/sources"), sandbox.Bind(config.parent, "/build"))
    return sandbox.Job(root / "tools", argv, binds, env=(("PYTHONPATH", LIBRARIES),))


def parse(text: bytes) -> list[Check]:
    """The results of the checker's mode `json`."""
    return [
        Check(
            one["option_name"].removeprefix("CONFIG_"),
            one["desired_val"],
            one["check_result"].partition(": ")[2],
            one["check_result_bool"],
        )
        for one in json.loads(text)
    ]


def faults(checks: Sequence[Check], refused: Mapping[str, str]) -> list[str]:
    """What has no decision, or a decision that nothing needs: one line each."""
    unmet = {
        check.option: f"{CHECKER} wants {check.wanted}, found {check.found}"
        for check in checks
        if not check.met
    }
    return compare(unmet, refused, CHECKER)


def compare(unmet: Mapping[str, str], refused: Mapping[str, str], auditor: str) -> list[str]:
    """A line for each of `unmet` without a reason in `refused`, and for each reason that nothing needs."""
    without = [f"{name}: {what}; no reason is given" for name, what in unmet.items() if name not in refused]
    needless = [f"{name}: refused, but {auditor} does not miss it" for name in refused if name not in unmet]
    return [*without, *needless]


def render(checks: Sequence[Check], refused: Mapping[str, str]) -> str:
    """The refused recommendations as a table in Markdown, below the two sums."""
    unmet = [check for check in checks if not check.met]
    head = f"{CHECKER}: {len(checks) - len(unmet)} OK, {len(unmet)} FAIL.\n\n"
    rows = [f"| `{c.option}` | {c.wanted} | {refused.get(c.option, '')} |\n" for c in unmet]
    return "".join([head, "| option | recommended | why not |\n|---|---|---|\n", *rows])


def refusals(file: Path = REFUSED) -> dict[str, str]:
    """The refused recommendations: name to reason; UserError for a file that cannot be read."""
    parsed = toml.parse(file, texts.read_text(file))
    return {name: str(reason) for name, reason in parsed.items()}


def check(config: Path, log: Path) -> list[Check]:
    """Run the checker on a kernel configuration; raises UserError if it cannot be fetched or run."""
    shop = workshop.open_at(log)
    job = plan_check(shop.root, auditor(CHECKER, shop.archives), config)
    return parse(sandbox.output(job, shop.tools))


def auditor(name: str, archives: Sequence[str]) -> Path:
    """The unpacked package of an auditor of audit/lock; raises UserError if it cannot be fetched."""
    pin = next(one for one in read_lock(LOCK) if one.name == name)
    place = paths.cache() / "auditors" / pin.sha256
    if not place.exists():
        package = fetch.fetch(pin, archives, lambda _: None)
        with files.folder_replaced(place) as folder:
            deb.unpack(package, folder)
    return place
