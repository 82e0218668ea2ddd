"""A guest: installed by Debian's installer, booted and checked, and published in dist/guest/<name>.

    host.toml --preseed--> answers --installer--> medium --install--> disk, variable store
        --check--> booted twice, alone and with further devices --> dist/guest/<name>, whole or not there

During the install all files are in dist/guest/.<name>. A failed install leaves its logs and pictures there.
"""

from hostwright.guest import check, initrd, preseed
from hostwright.guest.install import install
from hostwright.guest.plan import Run, Voice
from hostwright.guest.workplace import (
    Inputs,
    Options,
    find_accelerator,
    prepare,
    publish,
    record,
    workplace,
)
from hostwright.machine.model import Guest, Machine
from hostwright.sandbox import signature
from hostwright.sandbox.workshop import Workshop
from hostwright.source.archive import reachable
from hostwright.source.depot import Depot
from hostwright.source.index import SUITE
from hostwright.vm.login import generate_key


def make(machine: Machine, guest: Guest, inputs: Inputs, options: Options, voice: Voice) -> None:
    """Install and check `guest`; raises UserError, and then keeps an earlier guest of that name unchanged."""
    known = initrd.templates(initrd.load_lock(), inputs.shop)
    preseed.check(preseed.render(machine, guest, "archive"), known, f"preseed.cfg of guest {guest.name}")
    shop = inputs.shop
    if not options.offline:
        _check_archive(guest, shop)
    key = None if guest.install.ssh_keys else generate_key()
    with (
        workplace(guest.name) as work,
        Depot(shop.served, shop.archives, offline=options.offline) as depot,
    ):
        voice.note("writing the medium")
        prepare(machine, guest, inputs, shop.archives[0], key, work)
        accelerator, reason = find_accelerator(inputs, work)
        plan = Run(guest, work, inputs.tools, accelerator, options.vnc, known)
        outcome = install(plan, depot, voice)
        checked = check.check(plan, outcome.network, voice.note)
    record(guest, outcome, checked, f"{accelerator.value}: {reason}", work)
    publish(work)


def _check_archive(guest: Guest, shop: Workshop) -> None:
    """Check that the archive answers, is signed, and has the packages to install."""
    if problem := reachable(shop.archives, SUITE):
        raise problem
    release = signature.signed_release(shop)
    stanzas = [
        stanza
        for component in preseed.components(guest.install)
        for stanza in signature.index(f"{component}/binary-amd64/Packages.xz", release, shop.archives)
    ]
    preseed.check_packages(guest.install, stanzas)
