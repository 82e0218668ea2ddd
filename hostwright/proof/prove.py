"""The proof: dist/host.img booted in an emulated VT-d machine, and judged by its output.

    image, bzImage, OVMF --> probe  --> accelerator
                         \\-> boots  --> console --> Outcome --> judge -----> rows --> report
                         \\-> deeper --> ssh ------> Facts ----> login_rows -^

Two boots run side by side. Logs are written continuously; report.json and report.html appear complete or not at all.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hostwright.base import files
from hostwright.formats import gpt
from hostwright.machine.model import Guest, Machine
from hostwright.proof import login, login_rows, report
from hostwright.proof.boot import Inputs, find_inputs, kernel_release, opened, start
from hostwright.proof.expect import plan_boots
from hostwright.proof.judge import judge
from hostwright.proof.verdict import Origin, Proof, Row
from hostwright.sandbox import sandbox
from hostwright.vm import process
from hostwright.vm.board import Accelerator

Progress = Callable[[str], None]


def prove(machine: Machine, image: Path, out: Path, progress: Progress) -> Proof:
    """Boot `image`, which is never written to, and write report and logs to `out`.

    Raises UserError after the report is written if an expectation was not met; it names each with its evidence.
    """
    verdict = examine(find_inputs(machine, image), out, progress)
    report.write_reports(verdict, out)
    if not verdict.ok:
        raise report.failure(verdict, out)
    return verdict


def examine(inputs: Inputs, out: Path, progress: Progress) -> Proof:
    """Boot and judge; writes only console logs, to `out`."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    origin = Origin(kernel_release(inputs.kernel), gpt.find(inputs.image).partuuid)
    progress("trying the accelerators")
    accelerator, reason = process.find_accelerator(inputs.kernel, inputs.tools, out)
    with (
        opened(inputs, out) as given,
        ThreadPoolExecutor(max_workers=2) as workers,
        _begun_deeper(given, accelerator, out, workers, progress) as asked,
    ):
        act = partial(start, given, accelerator, out, progress=progress)
        outcomes = tuple(workers.map(act, plan_boots(inputs.machine)))
        answers = [one.result() for one in asked]
    return Proof(
        machine=inputs.machine.name,
        rows=(*judge(outcomes, inputs.machine, origin), *_judge_deeper(answers, inputs.machine)),
        outcomes=outcomes,
        deeper=tuple(outcome for outcome, _ in answers),
        qemu=qemu_version(inputs.tools),
        accelerator=f"{accelerator.value}: {reason}",
        artifacts={
            file.name: files.digest(file) for file in (inputs.image, inputs.kernel, inputs.code, inputs.vars)
        },
        seconds=round(time.monotonic() - started, 1),
    )


@contextmanager
def _begun_deeper(
    inputs: Inputs, accelerator: Accelerator, out: Path, workers: ThreadPoolExecutor, progress: Progress
) -> Iterator[list[Future[login.Answered]]]:
    """The boots with a login, started first since they take longest; none if the lab cannot run them."""
    guest = _find_guest(inputs.machine)
    if not guest:
        yield []
        return
    with process.folder(out, "inner") as work:
        given = login.prepare(inputs, guest, work)
        yield [
            workers.submit(login.start, given, accelerator, out, boot, progress) for boot in login_rows.BOOTS
        ]


def _find_guest(machine: Machine) -> Guest | None:
    """The guest to start inside the host, if the lab's network and devices allow it."""
    return login_rows.find_guest(machine) if login_rows.is_reachable(machine) else None


def _judge_deeper(answers: list[login.Answered], machine: Machine) -> list[Row]:
    guest = _find_guest(machine)
    return login_rows.judge(answers, machine, guest, login.digest_samples()) if guest else []


def qemu_version(tools: Path) -> str:
    """What QEMU of the build root says of itself."""
    said = sandbox.output(sandbox.Job(tools, ("qemu-system-x86_64", "--version"), cwd="/"), tools)
    return said.decode(errors="replace").splitlines()[0]
