"""The medium shows the installer on both consoles, and installs by itself as far as the network lasts.

Real installs on the real medium, broken off as soon as they have shown what they are about.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import store
from hostwright.guest import medium, workplace
from hostwright.guest.watch import STAGES
from hostwright.sandbox.workshop import open_at
from hostwright.source import mirrors
from hostwright.source.depot import Depot
from hostwright.vm import guest_argv, pictures
from hostwright.vm.board import Accelerator
from hostwright.vm.session import Session, started
from tests.install.runs import LAB, TOLD_LIMIT_S, Start

MENU_LIMIT_S = 240.0


def by_hand(entry: str, folder: Path, stack: ExitStack) -> Session:
    """The medium that asks a person, in a machine of its own, started with one of its two entries."""
    guest, inputs = (
        LAB.guests[0],
        workplace.find_inputs(store.read_stamp("grub").tree, open_at(folder / "medium.log")),
    )
    with Depot(paths.cache() / "archive", mirrors.find_mirrors()) as depot:
        workplace.prepare(LAB, guest, inputs, depot.mirrors[0], None, folder)
    start = medium.Start(default=entry)
    medium.write_iso(folder / guest_argv.MEDIUM, start, inputs.grub, inputs.shop)
    vnc = guest_argv.Vnc()
    argv = guest_argv.plan_install(guest, Accelerator.TCG, vnc, depot.port)
    return stack.enter_context(started(argv, folder, inputs.tools, Accelerator.TCG, vnc))


def wait(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MENU_LIMIT_S
    while not what():
        assert time.monotonic() < deadline, "the installer's first dialog did not come"
        time.sleep(2)


def is_dialog(frame: pictures.Frame) -> bool:
    """Whether the screen shows a newt dialog of the installer: grey (aaaaaa) on blue (0000aa)."""
    pixels = [frame.rgb[at : at + 3] for at in range(0, len(frame.rgb), 3)]
    return pixels.count(b"\xaa" * 3) > len(pixels) / 2 and pixels.count(b"\x00\x00\xaa") > len(pixels) / 20


def test_the_entry_for_the_screen_shows_the_first_dialog(tmp_path: Path) -> None:
    with ExitStack() as stack:
        session = by_hand("video", tmp_path, stack)
        wait(lambda: is_dialog(session.screen.capture()))
        assert "Select a language" not in session.console.path.read_text(errors="replace")


def test_the_entry_for_the_serial_line_shows_the_first_dialog(tmp_path: Path) -> None:
    with ExitStack() as stack:
        session = by_hand("serial", tmp_path, stack)
        wait(lambda: "Select a language" in session.console.path.read_text(errors="replace"))
        assert "Booting in blind mode" not in session.console.path.read_text(errors="replace")


def test_an_unattended_install_reaches_the_base_system_where_a_cut_network_is_told(start: Start) -> None:
    run = start(LAB.guests[0])
    run.reach("bootstrap-base")
    titles = [shot.title for shot in run.follower.shots]
    assert titles == [stage.title for stage in STAGES if stage.title in titles]
    assert {STAGES[0].title, "network", "archive", "partitions"} <= set(titles)
    assert run.depot.counts.files > 0
    run.depot.cut()
    fault, seconds = run.fault()
    assert seconds < TOLD_LIMIT_S
    assert isinstance(run.follower.failure(fault), UserError)
    assert "bootstrap" in fault.what or "does nothing" in fault.what
