"""Updates of a host that runs: the file, its signature, and the way to the host."""

from functools import partial
from pathlib import Path

from hostwright.base import canonical, paths, texts
from hostwright.base.errors import UserError
from hostwright.machine import load as model
from hostwright.tasks import host as host_tasks
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step
from hostwright.tasks.inputs import BUILDROOT_STAMP, machine, workshop


def _require(name: str, value: str, example: str) -> str:
    if not value:
        raise UserError(f"{name}= is missing", f"name it, as in {example}")
    return value


def update_file() -> Task:
    """pack the root file system as an update of a host that runs"""

    def act() -> None:
        from hostwright.image import update

        update.write_update(machine(), paths.ROOTFS_TAR, paths.UPDATE, workshop("update-file"))

    return step(
        act,
        reads=[paths.ROOTFS_TAR, BUILDROOT_STAMP],
        writes=[paths.UPDATE],
        value=canonical.text([machine().name, model.fingerprint(machine())]),
    )


def prove_update() -> Task:
    """play all that may happen to an update, and cut the power at seeded moments: a whole host must start"""
    return step(_prove_update, after=["host"], always=True, counted=False)


def _prove_update() -> None:
    from hostwright.updates import cuts, prove

    planned = cuts.plan(variables.number("seed"), variables.number("cuts"))
    note = partial(reporter.board().note, "prove-update")
    verdict = prove.prove(machine(), paths.UPDATE_PROOF, workshop("prove-update"), planned, note)
    where = texts.name_file(paths.UPDATE_PROOF)
    reporter.board().say(
        f"{len(verdict.rows)} rows are green, {len(planned)} of them cuts; {where} has the report"
    )


def sign() -> Task:
    """sign the update with your ssh key: ./doit sign key=FILE"""

    def act() -> None:
        from hostwright.image import update

        key = Path(_require("key", variables.text("key"), "key=~/.ssh/id_ed25519")).expanduser()
        update.sign(paths.UPDATE, key, paths.SIGNED_UPDATE)
        reporter.board().say(
            f"{texts.name_file(paths.SIGNED_UPDATE)} is signed: copy it to the host, and run hostwright-update there"
        )

    return step(act, after=["update-file"], always=True)


def update() -> Task:
    """bring a host to what the tree says: ./doit update host=ADDRESS key=FILE"""
    after = ["host", "prove"] if variables.text("proof") == "all" else ["host"]
    return step(_update, after=after, always=True, counted=False)


def _update() -> None:
    from hostwright.image import disk
    from hostwright.updates import bring, deliver, way
    from hostwright.updates import host as hosts

    host = hosts.Host(_require("host", variables.text("host"), "host=192.168.1.10"))
    key = Path(_require("key", variables.text("key"), "key=~/.ssh/id_ed25519")).expanduser()
    keep = tuple(variables.text("keep").split(",")) if variables.text("keep") else ()
    wish = deliver.Wish(keep, variables.flag("discard"), variables.text("reboot") == "yes")
    archives = disk.Archives(paths.ROOTFS_TAR, paths.DATA_TAR)
    build = way.Build(machine(), archives, host_tasks.ready("grub").tree)
    places = bring.Places(paths.PARTIAL_UPDATE, paths.SIGNED_PARTIAL_UPDATE, paths.WAY_PROOF)
    bring.bring(host, key, build, wish, places, workshop("update"), reporter.board().say)
