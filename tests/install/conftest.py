"""Starts installs, and ends them with the test."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.build import store
from hostwright.guest import initrd, workplace
from hostwright.guest import plan as plans
from hostwright.guest.install import Follower
from hostwright.machine.model import Guest
from hostwright.sandbox.workshop import open_at
from hostwright.source import mirrors
from hostwright.source.depot import Depot
from hostwright.vm import guest_argv
from hostwright.vm.board import Accelerator
from hostwright.vm.login import generate_key
from hostwright.vm.session import started
from tests.install.runs import LAB, Run, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start an unattended install; it is ended with the test."""
    inputs = workplace.find_inputs(store.read_stamp("grub").tree, open_at(tmp_path / "medium.log"))
    known = initrd.templates(initrd.load_lock(), inputs.shop)
    with ExitStack() as stack:

        def begin(guest: Guest) -> Run:
            depot = stack.enter_context(Depot(paths.cache() / "archive", mirrors.find_mirrors()))
            workplace.prepare(LAB, guest, inputs, depot.mirrors[0], generate_key(), tmp_path)
            plan = plans.Run(guest, tmp_path, inputs.tools, Accelerator.TCG, guest_argv.Vnc(), known)
            argv = guest_argv.plan_install(guest, plan.accelerator, plan.vnc, depot.port)
            session = stack.enter_context(started(argv, tmp_path, plan.tools, plan.accelerator, plan.vnc))
            return Run(Follower(plan, session, depot, lambda _: None), session, depot)

        yield begin
