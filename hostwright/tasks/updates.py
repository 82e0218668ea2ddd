"""Updates of a host that runs: the file, its signature, and the way to the host."""

from pathlib import Path

from hostwright.base import canonical, paths
from hostwright.base.errors import UserError
from hostwright.machine import load as model
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step
from hostwright.tasks.inputs import BUILDROOT_STAMP, ROOTFS_TAR, machine, workshop

UPDATE = paths.DIST / "host.update"
SIGNED = paths.DIST / "host.update.signed"


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
