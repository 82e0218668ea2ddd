"""`./doit prove-update`: the scenes of an update under both kinds of firmware, then power cuts; a row for each."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hostwright.base import files, paths
from hostwright.machine.model import Machine
from hostwright.proof import boot as boots
from hostwright.proof.verdict import Proof, Row
from hostwright.sandbox.workshop import Workshop
from hostwright.updates import cuts, scenes
from hostwright.updates.emulated import conclude
from hostwright.vm import process
from hostwright.vm.board import Firmware

Note = Callable[[str], None]


def prove(machine: Machine, out: Path, shop: Workshop, planned: Sequence[cuts.Cut], note: Note) -> Proof:
    """Play all scenes, cut the power as planned, and write report and logs to `out`.

    Raises UserError after the report is written if a row is not green.
    """
    started, inputs = time.monotonic(), boots.find_inputs(machine, paths.HOST_IMAGE)
    files.remove(out)
    out.mkdir(parents=True)
    with process.folder(out, "work") as folder:
        rows = [row for firmware in Firmware for row in _play(machine, firmware, folder, shop, note)]
        rows += cuts.make(inputs, folder, shop, planned, note)
        for log in folder.glob("*.log"):
            log.rename(out / log.name)
        return conclude(inputs, rows, (), inputs.image, out, time.monotonic() - started)


def _play(machine: Machine, firmware: Firmware, folder: Path, shop: Workshop, note: Note) -> list[Row]:
    rows = []
    with scenes.begun(machine, firmware, folder, shop) as visited:
        for scene in scenes.chosen(firmware):
            note(f"{firmware.value}: {scene.name}")
            rows.append(scenes.play(visited, scene, firmware))
    return rows
