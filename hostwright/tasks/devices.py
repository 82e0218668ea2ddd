"""What a machine can pass through: the groups of a capture, and the proof that predictions hold.

Options are doit's variables: `./doit groups capture=FILE override=downstream device=0000:82:00.0 json=yes`,
`./doit doctor capture=FILE device=0000:82:00.0 json=yes`,
`./doit prove-groups n=100 seed=1`, `./doit prove-groups kernel=bzImage n=30`.
"""

import sys
from pathlib import Path

from hostwright.base import files, paths
from hostwright.base.escape import visible
from hostwright.build import recipes
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, step

FOLDER, DOCTOR_FOLDER, PROOF_FOLDER = paths.GROUPS, paths.DOCTOR, paths.GROUPS_PROOF


def groups() -> Task:
    """show the IOMMU groups of this or a captured machine, now and under each ACS override"""
    return step(_groups, always=True, counted=False)


def doctor() -> Task:
    """say what of this or a captured machine can be passed through, and what stands in the way"""
    return step(_doctor, always=True, counted=False)


def prove_groups() -> Task:
    """boot random topologies and compare the kernel's groups with the prediction"""
    return step(_prove_groups, after=["kernel"], always=True, counted=False)


def _groups() -> None:
    from hostwright.pci import capture, groups, hierarchy, isolation, view

    source = variables.text("capture")
    machine = hierarchy.describe(capture.load(Path(source) if source else None))
    series = variables.text("series") or hierarchy.find_series(machine.capture.release)
    setting = isolation.Setting(series, variables.text("config_acs"), variables.text("disable_acs_redir"))
    override = [word for word in variables.text("override").split(",") if word]
    found = groups.examine(machine, override, setting, variables.address("device"))
    text, document = visible(view.render_text(found)), view.render_json(found)
    files.write(FOLDER / "groups.txt", text)
    files.write(FOLDER / "groups.json", document)
    files.write(FOLDER / "groups.svg", view.render_svg(found))
    sys.stdout.write(document if variables.flag("json") else text)
    reporter.board().say(f"text, JSON and a drawing are in {FOLDER}")


def _doctor() -> None:
    from hostwright.doctor import diagnose
    from hostwright.doctor.view import render_json, render_text
    from hostwright.pci import capture, isolation

    source = variables.text("capture")
    setting = isolation.Setting(_host_series(), variables.text("config_acs"))
    found = capture.load(Path(source) if source else None)
    diagnosis = diagnose.examine(found, setting, variables.address("device"))
    text, document = visible(render_text(diagnosis)), render_json(diagnosis)
    files.write(DOCTOR_FOLDER / "doctor.txt", text)
    files.write(DOCTOR_FOLDER / "doctor.json", document)
    sys.stdout.write(document if variables.flag("json") else text)
    reporter.board().say(f"text and JSON are in {DOCTOR_FOLDER}")


def _host_series() -> str:
    """The series with known rules that the host's own kernel is of."""
    from hostwright.pci import hierarchy

    return hierarchy.find_series(recipes.load_recipe("linux").version)


def _prove_groups() -> None:
    from hostwright.proof import groups_boot, groups_rows
    from hostwright.sandbox import buildroot

    tools = buildroot.root(buildroot.load_lock()) / "tools"
    image, series = variables.text("kernel"), variables.text("series")
    tally = groups_boot.prove_random(
        groups_boot.other_kernel(Path(image), series)
        if image
        else groups_boot.find_kernel(series, PROOF_FOLDER),
        count=variables.number("n"),
        seed=variables.number("seed"),
        tools=tools,
        out=PROOF_FOLDER,
        progress=lambda text: reporter.board().note("prove-groups", text),
    )
    files.write(PROOF_FOLDER / "agreement.txt", groups_rows.render_tally(tally))
    reporter.board().say(groups_rows.render_tally(tally))
    groups_rows.require_agreement(tally)
