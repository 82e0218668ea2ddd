"""`./doit audit`: the booted host by the yardstick of lynis.

    audit/lock --fetch, unpack--> lynis.tar --onto a copy of dist/host.img--> boot --ssh--> report.dat
    report.dat --parse()--> Report + audit/lynis.toml --> faults, or a table

What lynis says is made untrue, or has its reason in audit/lynis.toml. docs/security.md shows the table.
"""

import io
import re
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH, limit
from hostwright.machine.model import Machine
from hostwright.proof import lab, login, login_rows
from hostwright.proof.boot import alter, find_inputs, opened
from hostwright.sandbox import workshop
from hostwright.upkeep import hardening
from hostwright.vm import login as ssh
from hostwright.vm import process

LYNIS = "lynis"
REFUSED = paths.AUDIT / "lynis.toml"
LEAST_INDEX = 80

# Seconds: it starts some ten thousand programs, which takes eight minutes in an emulated machine beside four compilers.
RUN_LIMIT_S = limit(2400.0)
COPY_LIMIT_S = limit(120.0)

PACKED = "lynis.tar"
REPORT, LOG = "report.dat", "lynis.log"
# In memory: nothing of it is on the file systems that it looks at.
PLACE = "/run/lynis"
UNPACK = f"mkdir -m 700 {PLACE} && tar -C {PLACE} -xf /root/{PACKED} && rm /root/{PACKED}"
RUN = (
    f"cd {PLACE} && sh ./lynis audit system --quick --no-colors"
    f" --report-file {PLACE}/{REPORT} --log-file {PLACE}/{LOG} </dev/null"
)
# Where the package has what lynis finds in its own folder, and the folder of plugins, which stays empty.
PARTS = {"usr/share/lynis/include": "include", "usr/share/lynis/db": "db"}
PARTS |= {"usr/sbin/lynis": "lynis", "etc/lynis/default.prf": "default.prf"}
PLUGINS = "plugins"

_DETAIL = re.compile(
    r"desc:(?P<what>.*?);field:(?P<field>[^;]+);prefval:(?P<wanted>[^;]*);value:(?P<found>[^;]*);"
)


@dataclass(frozen=True)
class Report:
    """What lynis found: the hardening index, and each warning and suggestion.

    A remark is named by its test, such as BOOT-5122; one about settings has a name for each, such as SSH-7408:Port.
    """

    index: int
    remarks: Mapping[str, str]


def parse(text: str) -> Report:
    """A report.dat; raises UserError if lynis did not come to its end."""
    index, remarks, settings = "", dict[str, str](), dict[str, dict[str, str]]()
    for line in text.splitlines():
        name, _, value = line.partition("=")
        test, what, *_ = (*value.split("|"), "")
        if name in ("warning[]", "suggestion[]"):
            remarks[test] = f"{remarks[test]}; {what}" if test in remarks else what
        elif name == "details[]" and (found := _DETAIL.search(value)):
            shown = f"{found['what']}: {found['found']}, not {found['wanted'] or 'another'}"
            settings.setdefault(test, {})[f"{test}:{found['field']}"] = shown
        elif name == "hardening_index":
            index = value
    if not index.isdecimal():
        raise UserError("lynis wrote no hardening index", f"see the logs below {paths.AUDITED}")
    named = [settings.get(test) or {test: what} for test, what in remarks.items()]
    return Report(int(index), {name: what for one in named for name, what in one.items()})


def faults(report: Report, refused: Mapping[str, str]) -> list[str]:
    """An index that is too low, each remark without a reason, and each reason without a remark."""
    low = [f"the hardening index is {report.index}, not {LEAST_INDEX} or more"]
    return [
        *(low if report.index < LEAST_INDEX else []),
        *hardening.compare(report.remarks, refused, LYNIS),
    ]


def render(report: Report, refused: Mapping[str, str]) -> str:
    """The remarks as a table in Markdown, below the index."""
    rows = [f"| `{name}` | {what} | {refused.get(name, '')} |\n" for name, what in report.remarks.items()]
    head = f"{LYNIS}: hardening index {report.index}.\n\n"
    return "".join([head, "| test | what lynis says | why not |\n|---|---|---|\n", *rows])


def pack(package: Path) -> bytes:
    """The unpacked package as a tar of one folder, owned by root: lynis reads no file of another user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo(PLUGINS)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(_plain(folder))
        for source, target in PARTS.items():
            tar.add(package / source, target, filter=_plain)
    return buffer.getvalue()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = EPOCH
    return member


def audit(machine: Machine, log: Path, progress: Callable[[str], None]) -> Report:
    """Boot a copy of the host's image, run lynis on it, and keep its report and logs below dist/audit.

    Raises UserError if the host cannot be reached in the lab's network, or if lynis did not come to its end.
    """
    if not login_rows.is_reachable(machine):
        raise UserError(
            f"lynis cannot reach the host {machine.name} in the emulated machine, whose network assigns addresses",
            "audit the host of the shipped machine file: ./doit audit machine=host.toml",
        )
    tree = pack(hardening.auditor(LYNIS, workshop.open_at(log).archives))
    paths.AUDITED.mkdir(parents=True, exist_ok=True)
    found = _visit(machine, tree, progress)
    files.write(paths.AUDITED / REPORT, found)
    return parse(found)


def _visit(machine: Machine, tree: bytes, progress: Callable[[str], None]) -> str:
    """What lynis reports from one boot."""
    inputs = find_inputs(machine, paths.HOST_IMAGE)
    accelerator, _ = process.find_accelerator(inputs.kernel, inputs.tools, paths.AUDITED)
    key, port, boot = ssh.generate_key(), ssh.free_port(), login_rows.HOST
    with ExitStack() as stack:
        given = stack.enter_context(opened(inputs, paths.AUDITED))
        folder = stack.enter_context(process.folder(paths.AUDITED, LYNIS))
        login.fill(folder, given, key)
        (folder / PACKED).write_bytes(tree)
        alter(folder, given, (f"write {PACKED} /root/{PACKED}",))
        (folder / PACKED).unlink()
        argv = lab.plan_boot(machine, boot.firmware, accelerator, port)
        visit = login.Visit(boot, process.plan_job(argv, folder, given.tools, accelerator), port, key)
        progress("booting the host")
        outcome, said = login.carry_out(
            visit, login.Record(), paths.AUDITED, lambda shell: _ask(shell, progress)
        )
    if said is None:
        raise UserError(
            f"lynis did not run on the host: {outcome.error}", f"the console's log is below {paths.AUDITED}"
        )
    return said


def _ask(shell: ssh.Session, progress: Callable[[str], None]) -> str:
    """Run lynis over ssh; what it wrote to its report."""
    progress("lynis runs")
    _require(shell, UNPACK, COPY_LIMIT_S)
    _require(shell, RUN, RUN_LIMIT_S)
    files.write(paths.AUDITED / LOG, _require(shell, f"cat {PLACE}/{LOG}", COPY_LIMIT_S))
    return _require(shell, f"cat {PLACE}/{REPORT}", COPY_LIMIT_S)


def _require(shell: ssh.Session, command: str, limit_s: float) -> str:
    status, said = shell.run(command, limit_s)
    if status != 0:
        raise UserError(f"lynis on the host: status {status} of {command}: {said[-500:]}")
    return said
