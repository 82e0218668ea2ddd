"""The medium shows the installer on both consoles, installs by itself, and every fault is told apart in time.

Real installs on the real medium, each broken off as soon as it has shown what it is about.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostwright import guest as making
from hostwright import installer, machine, mirrors, paths, pictures, store, vm
from hostwright.depot import Depot
from hostwright.errors import UserError
from hostwright.install import Follower, Plan
from hostwright.machine import Guest, Machine
from hostwright.qemu import Accelerator
from hostwright.session import Session, started
from hostwright.ssh import generate_key
from hostwright.watch import STAGES, Fault

MENU_LIMIT_S = 240.0
TOLD_LIMIT_S = 120.0
LAB: Machine = machine.load(paths.TREE / "host.toml")


def changed(**changes: object) -> Guest:
    """The lab's guest with other answers."""
    guest = LAB.guests[0]
    return replace(guest, install=replace(guest.install, **changes))  # type: ignore[arg-type]


@dataclass
class Run:
    """An install under way."""

    follower: Follower
    session: Session
    depot: Depot

    def reach(self, item: str) -> None:
        """Go on to a stage of the installer."""
        assert self.follower.follow(until=item) is None
        assert STAGES[self.follower.watch.stage].item == item

    def fault(self) -> tuple[Fault, float]:
        """Why the install is given up, and how long that took."""
        begin = time.monotonic()
        found = self.follower.follow()
        assert found is not None
        return found, time.monotonic() - begin


Start = Callable[[Guest], Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an unattended install; it is ended with the test."""
    inputs = making.find_inputs(store.read_stamp("grub").tree)
    known = installer.templates(installer.load_lock())
    with ExitStack() as stack:

        def begin(guest: Guest) -> Run:
            depot = stack.enter_context(Depot(paths.cache() / "archive", mirrors.find_mirrors()))
            source = making.Source(depot.mirrors[0], depot.port)
            making.prepare(LAB, guest, inputs, source, generate_key(), tmp_path)
            plan = Plan(guest, tmp_path, inputs.tools, Accelerator.TCG, vm.Vnc(unix=True), known)
            argv = vm.plan_install(guest, plan.accelerator, plan.vnc)
            session = stack.enter_context(started(argv, tmp_path, plan.tools, plan.accelerator, plan.vnc))
            return Run(Follower(plan, session, depot, lambda _: None), session, depot)

        yield begin


def by_hand(entry: str, folder: Path, stack: ExitStack) -> Session:
    """The medium that asks a person, in a machine of its own, started with one of its two entries."""
    guest, inputs = LAB.guests[0], making.find_inputs(store.read_stamp("grub").tree)
    with Depot(paths.cache() / "archive", mirrors.find_mirrors()) as depot:
        making.prepare(LAB, guest, inputs, making.Source(depot.mirrors[0], depot.port), None, folder)
    installer.write_iso(folder / vm.MEDIUM, inputs.grub, None, (), folder / "medium.log", default=entry)
    vnc = vm.Vnc(unix=True)
    argv = vm.plan_install(guest, Accelerator.TCG, vnc)
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


def test_a_wrong_answer_is_told_by_its_error_screen(start: Start) -> None:
    run = start(changed(preseed=("d-i passwd/username string root",)))
    run.reach("user-setup-udeb")
    fault, seconds = run.fault()
    assert "shows an error, passwd/username-reserved: Reserved username" in fault.what
    assert seconds < TOLD_LIMIT_S


def test_a_question_without_an_answer_is_named(start: Start) -> None:
    run = start(changed(preseed=("d-i partman/choose_partition seen false",)))
    run.reach("partman-base")
    fault, seconds = run.fault()
    assert "asks partman/choose_partition" in fault.what
    assert seconds < TOLD_LIMIT_S
    assert "guest.install.preseed" in fault.hint


def test_a_disk_that_is_too_small_is_told(start: Start) -> None:
    run = start(replace(LAB.guests[0], disk_gib=1))
    run.reach("partman-base")
    fault, seconds = run.fault()
    assert "partman" in fault.what
    assert seconds < TOLD_LIMIT_S


def test_a_killed_qemu_is_told(start: Start) -> None:
    run = start(LAB.guests[0])
    run.reach("ethdetect")
    run.session.child.kill()
    fault, seconds = run.fault()
    assert "QEMU ended with status -9" in fault.what
    assert seconds < 10
