"""A host that runs becomes the build in dist/.

ask -> pack and sign -> copy and check -> prove the way -> write, restart, wait for the verdict
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostwright.base import files, times
from hostwright.image import update
from hostwright.sandbox.workshop import Workshop
from hostwright.updates import deliver, way
from hostwright.updates import host as hosts
from hostwright.updates.host import Host

Say = Callable[[str], None]


@dataclass(frozen=True)
class Places:
    """Where the update, its signed copy, and the proof of the way are left."""

    update: Path
    signed: Path
    proof: Path


def bring(
    host: Host, key: Path, build: way.Build, wish: deliver.Wish, places: Places, shop: Workshop, say: Say
) -> None:
    """Bring `host` to `build`, or leave it as it is.

    Raises UserError with the reason if the host refuses the update, the way is not good, or the host goes back.
    """
    running = hosts.ask(host)
    say(f"{host.address}: {running.slot}")
    if running.build == build.id and not running.edits:
        say(f"{host.address} runs this build already: there is nothing to do")
        return
    update.write_update(build.machine, build.archives.root, places.update, shop, running.base)
    update.sign(places.update, key, places.signed)
    size = places.signed.stat().st_size
    say(f"the update has {times.name_size(size)}: what is not on the host yet")
    deliver.send(host, places.signed, wish)
    try:
        proof = way.prove(way.Way(host, running, places.signed, wish.words), build, places.proof, shop, say)
    except BaseException:
        deliver.drop(host)
        raise
    say(f"the way from build {running.build} to build {build.id} is proved: {len(proof.rows)} rows are green")
    deliver.write(host, build.id, wish, say)
    files.remove(places.update)
