"""The steps from sources to a proved image: what each reads, what it writes, and which part of the engine acts.

Modules that are slow to import or rarely needed are imported by the step that uses them, so that `./doit list` and a
run with nothing to do start at once.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hostwright.base import canonical, files, jobs, paths
from hostwright.build import kconfig, package, recipes, script, store
from hostwright.build import kernel as linux
from hostwright.build import ovmf as firmware
from hostwright.image import manifest
from hostwright.image import rootfs as assembly
from hostwright.machine import load as model
from hostwright.recipe import Recipe
from hostwright.sandbox import buildroot as root
from hostwright.tasks import reporter, variables
from hostwright.tasks.define import Task, made_from, step
from hostwright.tasks.inputs import (
    BUILDROOT_STAMP,
    CONFIG_FILE,
    host_packages,
    machine,
    machine_file,
    workshop,
)
from hostwright.tasks.state import Checker

CONFIG = {
    "default_tasks": ["host", "prove"],
    "backend": "state",
    "check_file_uptodate": Checker,
    "dep_file": str(paths.STATE),
    "reporter": reporter.Reporter,
    "num_process": jobs.jobs(),
    "par_type": "thread",
    "minversion": "0.37.0",
    "sort": "definition",
    "verbosity": 2,
}


def passthrough() -> Task:
    """refuse what host.toml passes through and the capture that it names forbids"""

    def act() -> None:
        from hostwright.doctor import refusal
        from hostwright.pci import hierarchy

        series = hierarchy.find_series(recipes.load_recipe("linux").version)
        for line in refusal.check(machine_file(), series):
            reporter.board().say(f"warning: {line}")

    capture = machine().capture
    return step(
        act if capture else None,
        reads=[machine_file(), capture] if capture else [],
        value=recipes.load_recipe("linux").version,
        counted=False,
    )


def buildroot() -> Task:
    """unpack the pinned compilers and tools"""

    def act() -> None:
        pins = root.load_lock()
        root.unpack(pins)
        files.write(BUILDROOT_STAMP, f'{{"key": "{root.key(pins)}"}}\n')

    return step(
        act,
        reads=[paths.LOCK],
        writes=[BUILDROOT_STAMP],
        # Every build reads the stamp, so that nothing is built for a machine that cannot be served.
        after=["passthrough", "sources:buildroot"],
        holds=[lambda: root.root(root.load_lock()).exists()],
    )


def package_() -> Iterator[Task]:
    """build each package of the host from source"""
    for name in recipes.closure([*host_packages(), "edk2"]):
        yield {"basename": "package", **_package(recipes.load_recipe(name))}


def _package(recipe: Recipe) -> Task:
    name = recipe.name

    def act() -> None:
        package.build_package(name, workshop(f"package:{name}"))

    return step(
        act,
        doc=f"build {name} {recipe.version}",
        reads=[
            BUILDROOT_STAMP,
            *recipes.patches(recipe),
            *(paths.package_stamp(need) for need in recipe.needs),
        ],
        writes=[paths.package_stamp(name)],
        after=[f"sources:{name}"],
        value=canonical.text([recipes.identity(recipe), script.script(recipe), recipe.files]),
        holds=[partial(store.is_stamped, name)],
        name=name,
    )


def kernel_config() -> Task:
    """resolve kconfig/ and host.toml into .config and compare it line by line"""

    def act() -> None:
        resolved = linux.resolve(machine(), workshop("kernel-config"))
        linux.check_golden(resolved, machine())
        values = kconfig.parse_config(resolved.config)
        files.write(paths.KERNEL / "options.txt", kconfig.render_option_report(resolved.requests, values))
        files.write(paths.KERNEL / "options.json", kconfig.render_option_json(resolved.requests, values))
        files.write(CONFIG_FILE, resolved.config)

    recipe = recipes.load_recipe("linux")
    return step(
        act,
        reads=[BUILDROOT_STAMP, *linux.fragments(), *recipes.patches(recipe), paths.RESOLVED_CONFIG],
        writes=[CONFIG_FILE, paths.KERNEL / "options.txt", paths.KERNEL / "options.json"],
        after=["sources:linux", "buildroot"],
        value=canonical.text([recipes.identity(recipe), machine().kernel.options]),
    )


def accept_config() -> Task:
    """take the resolved kernel configuration as the committed one"""

    def act() -> None:
        files.write(paths.RESOLVED_CONFIG, linux.resolve(machine(), workshop("accept-config")).config)

    return step(act, after=["sources:linux", "buildroot"], always=True)


def kernel() -> Task:
    """build bzImage and modules into dist/kernel"""

    def act() -> None:
        built = linux.build_kernel(CONFIG_FILE.read_text(), workshop("kernel"))
        linux.place(built, paths.KERNEL)

    return step(
        act,
        reads=[CONFIG_FILE],
        writes=[
            *(paths.KERNEL / name for name in ("bzImage", "System.map", "modules")),
            paths.package_stamp("linux"),
        ],
        after=["kernel-config"],
        holds=[partial(store.is_stamped, "linux")],
    )


def ovmf() -> Task:
    """build the UEFI firmware of the guests into dist/ovmf"""

    def act() -> None:
        for source, target in firmware.copies(ready("edk2").tree, paths.OVMF).items():
            files.write(target, source.read_bytes())

    return step(
        act,
        reads=[paths.package_stamp("edk2")],
        writes=list(firmware.copies(Path(), paths.OVMF).values()),
    )


def rootfs() -> Task:
    """lay packages, kernel and rootfs/ together as one archive"""

    def act() -> None:
        built = [ready(name) for name in [*_on_host(), "linux"]]
        release = linux.release(store.read_stamp("linux"))
        with files.replaced(paths.ROOTFS_TAR) as new, files.replaced(paths.DATA_TAR) as data:
            assembly.assemble(machine(), built, release, new, data)

    return step(
        act,
        reads=[
            *(paths.package_stamp(name) for name in [*_on_host(), "linux"]),
            *assembly.literal_files(),
            paths.PROJECT,
            *([paths.FIRMWARE_LOCK] if machine().kernel.firmware else []),
            *(file for guest in machine().guests for file in assembly.embedded_files(guest)),
        ],
        writes=[paths.ROOTFS_TAR, paths.DATA_TAR],
        after=["sources:firmware"],
        value=canonical.text([model.fingerprint(machine()), assembly.literal_nodes()]),
    )


def ready(name: str) -> store.Built:
    """A built package, with its files checked before they go into an image; a damaged one is built again."""
    if not store.is_whole(store.read_stamp(name).folder):
        reporter.board().say(f"package {name} is damaged in the cache: it is set aside and built again")
        if name == "linux":
            return linux.build_kernel(CONFIG_FILE.read_text(), workshop("kernel"))
    return package.ready(name, workshop(f"package:{name}"))


def _on_host() -> list[str]:
    return [name for name in [*host_packages(), "edk2"] if name not in assembly.NOT_ON_HOST]


def host() -> Task:
    """write the bootable disk dist/host.img and dist/MANIFEST"""

    def act() -> None:
        from hostwright.image import disk

        grub = ready("grub").tree
        archives = disk.Archives(paths.ROOTFS_TAR, paths.DATA_TAR)
        disk.write_image(machine(), archives, grub, paths.HOST_IMAGE, workshop("host"))
        manifest.write_manifest(paths.DIST, paths.MANIFEST, _made_from())

    return step(
        act,
        reads=[
            paths.ROOTFS_TAR,
            paths.DATA_TAR,
            paths.package_stamp("grub"),
            BUILDROOT_STAMP,
            paths.KERNEL / "bzImage",
            paths.OVMF / "OVMF_CODE.fd",
        ],
        writes=[paths.HOST_IMAGE, paths.MANIFEST],
        after=["passthrough"],
        # The manifest says what all artifacts were made from.
        value=lambda: canonical.text([machine().name, machine().disk, _inputs()]),
    )


def _made_from() -> str:
    return made_from([host()])


def _inputs() -> str:
    """The digest of all that decides what the image is made of."""
    return made_from([buildroot(), *package_(), kernel_config(), kernel(), ovmf(), rootfs()])


def prove() -> Task:
    """boot dist/host.img in an emulated VT-d machine and check it from inside"""

    def act() -> None:
        from hostwright.proof import prove as proof

        note = partial(reporter.board().note, "prove")
        proof.prove(machine(), paths.HOST_IMAGE, paths.PROOF, note)

    return step(
        act,
        reads=[paths.HOST_IMAGE, paths.OVMF / "OVMF_CODE.fd", paths.OVMF / "OVMF_VARS.fd"],
        writes=[paths.PROOF / "report.json", paths.PROOF / "report.html"],
        # A smoke test is no part of what is built, and of what is proved.
        value=canonical.text([
            model.fingerprint(machine()),
            [recipes.load_recipe(name).smoke for name in host_packages()],
        ]),
        counted=False,
    )  # fmt: skip


def machines() -> Task:
    """build and prove every machine of hosts/, each in its own folder of dist/"""

    def act() -> None:
        from hostwright.upkeep import fleet

        found = fleet.find(paths.HOSTS)
        fleet.build_all(sys.executable, found, reporter.board().say)

    return step(act, always=True, counted=False)


def verify() -> Task:
    """read every artifact again, and what the cache holds of it; repair=yes sets the damaged aside"""

    def act() -> None:
        from hostwright.guest import initrd
        from hostwright.image import firmware as firmware_files
        from hostwright.upkeep import audit

        pins = [*root.load_lock(), *firmware_files.load_lock(), *initrd.load_lock()]
        known = [recipes.load_recipe(name) for name in recipes.recipe_names()]
        found = audit.find_damaged(
            [one.name for one in known], [*pins, *(pin for one in known for pin in recipes.sources(one))]
        )
        for line in audit.repair(found) if variables.flag("repair") else audit.require_none(found):
            reporter.board().say(line)
        made = manifest.verify(paths.DIST, paths.MANIFEST)
        if made != _made_from():
            reporter.board().say(
                "dist/ is whole, and older than the tree: what it was made from has changed.\n"
                "  hint: ./doit host builds what the tree says now"
            )

    return step(act, always=True)


def lock() -> Task:
    """write the locks anew from the archive's signed indexes and check every source's pin"""

    def act() -> None:
        from hostwright.upkeep import installer_lock
        from hostwright.upkeep.lock import renew, renew_firmware

        shop = workshop("lock")
        sources_of = {name: recipes.sources(recipes.load_recipe(name)) for name in recipes.recipe_names()}
        tools = renew(shop, sources_of)
        parts = renew_firmware(shop)
        medium = installer_lock.renew(shop)
        for line in (*tools.changed, *tools.sources, f"buildroot/lock holds {tools.pins} packages"):
            reporter.board().say(line)
        for line in (*parts.changed, f"firmware/lock holds {parts.pins} packages"):
            reporter.board().say(line)
        for line in (*medium.changed, *medium.missing, f"guest/installer.lock holds {medium.pins} packages"):
            reporter.board().say(line)

    return step(act, after=["buildroot"], always=True)


def reproduce() -> Task:
    """build everything again elsewhere, otherwise, and compare every artifact bit by bit"""

    def act() -> None:
        from hostwright.image import reproduce as again

        count = again.reproduce(sys.executable, machine_file(), workshop("reproduce"))
        reporter.board().say(f"{count} artifacts are equal bit by bit")

    return step(act, after=["host"], always=True, counted=False)
