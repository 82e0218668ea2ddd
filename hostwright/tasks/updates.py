"""Updates of a host that runs: the file, its signature, and the way to the host."""

import time
from functools import partial
from pathlib import Path

from hostwright.base import canonical, paths, texts
from hostwright.base.errors import UserError
from hostwright.machine import load as model
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step
from hostwright.tasks.inputs import BUILDROOT_STAMP, ROOTFS_TAR, machine, workshop
from hostwright.vm.board import Accelerator

UPDATE = paths.DIST / "host.update"
SIGNED = paths.DIST / "host.update.signed"
PROOF = paths.DIST / "proof-update"


def _require(name: str, value: str, example: str) -> str:
    if not value:
        raise UserError(f"{name}= is missing", f"name it, as in {example}")
    return value


def update_file() -> Task:
    """pack the root file system as an update of a host that runs"""

    def act() -> None:
        from hostwright.image import update

        update.write_update(machine(), ROOTFS_TAR, UPDATE, workshop("update-file"))

    return step(
        act,
        reads=[ROOTFS_TAR, BUILDROOT_STAMP],
        writes=[UPDATE],
        value=canonical.text([machine().name, model.fingerprint(machine())]),
    )


def prove_update() -> Task:
    """cut the power at seeded moments of an update: a whole host must start, the old one or the new"""
    return step(_prove_update, after=["host"], always=True, counted=False)


def _prove_update() -> None:
    from hostwright.base import files
    from hostwright.proof import boot, prove, report
    from hostwright.proof.verdict import Proof
    from hostwright.torture import cuts

    note, shop = partial(reporter.board().note, "prove-update"), workshop("prove-update")
    inputs, started = boot.find_inputs(machine(), paths.HOST_IMAGE), time.monotonic()
    files.remove(PROOF)
    PROOF.mkdir(parents=True)
    scene = cuts.prepare(machine(), inputs, PROOF, ROOTFS_TAR, shop)
    planned = cuts.plan(variables.number("seed"), variables.number("cuts"))
    rows = tuple(cuts.prove(scene, planned, note))
    for left in PROOF.glob("*.img"):
        left.unlink()
    verdict = Proof(
        machine=machine().name,
        rows=rows,
        outcomes=(),
        qemu=prove.qemu_version(inputs.tools),
        accelerator=f"{Accelerator.TCG.value}: the machine is killed at a moment that must not depend on it",
        artifacts={file.name: files.digest(file) for file in (inputs.image, inputs.kernel)},
        seconds=round(time.monotonic() - started, 1),
    )
    report.write_reports(verdict, PROOF)
    if not verdict.ok:
        raise report.failure(verdict, PROOF)
    reporter.board().say(
        f"{len(rows)} cuts: each time a whole host started; {texts.name_file(PROOF)} has the report"
    )


def sign() -> Task:
    """sign the update with your ssh key: ./doit sign key=FILE"""

    def act() -> None:
        from hostwright.image import update

        update.sign(
            UPDATE, Path(_require("key", variables.text("key"), "key=~/.ssh/id_ed25519")).expanduser(), SIGNED
        )
        reporter.board().say(f"{SIGNED.name} is signed: copy it to the host, and run hostwright-update there")

    return step(act, after=["update-file"], always=True)


def update() -> Task:
    """build, prove and sign an update, and bring it to a host: ./doit update host=ADDRESS key=FILE"""

    def act() -> None:
        from hostwright.upkeep import deliver

        host = deliver.Host(_require("host", variables.text("host"), "host=192.168.1.10"))
        note = reporter.board().say
        deliver.deliver(host, SIGNED, ROOTFS_TAR, reboot=variables.text("reboot") == "yes", say=note)

    return step(act, after=["prove", "sign"], always=True)
