"""The table of contents: what can be built, in build order. `./doit list` prints it, README.md says how.

sources -> buildroot -> package:* -> rootfs -> host -> prove
                   \\-> kernel-config -> kernel -^       ^
                    \\-> ovmf ---------------------------/
                           \\-> guest  <- medium
"""

from collections.abc import Iterator

from hostwright.tasks import checks, devices, guests, host, recipes, sources
from hostwright.tasks.define import Task

DOIT_CONFIG = host.CONFIG


def task_sources() -> Iterator[Task]:
    """fetch and check every source: host, prove and medium then need no network"""
    yield from sources.sources(guests.sources())


def task_passthrough() -> Task:
    """refuse what host.toml passes through and the capture that it names forbids"""
    return host.passthrough()


def task_buildroot() -> Task:
    """unpack the pinned compilers and tools"""
    return host.buildroot()


def task_package() -> Iterator[Task]:
    """build each package of the host from source"""
    yield from host.packages()


def task_kernel_config() -> Task:
    """resolve kconfig/ and host.toml into .config and compare it line by line"""
    return host.kernel_config()


def task_kernel() -> Task:
    """build bzImage and modules into dist/kernel"""
    return host.kernel()


def task_ovmf() -> Task:
    """build the UEFI firmware of the guests into dist/ovmf"""
    return host.ovmf()


def task_rootfs() -> Task:
    """lay packages, kernel and rootfs/ together as one archive"""
    return host.rootfs()


def task_host() -> Task:
    """write the bootable disk dist/host.img and dist/MANIFEST"""
    return host.host()


def task_prove() -> Task:
    """boot dist/host.img in an emulated VT-d machine and check it from inside"""
    return host.prove()


def task_medium() -> Task:
    """write Debian's installer as a bootable medium, dist/guest/installer.iso"""
    return guests.medium()


def task_guest() -> Iterator[Task]:
    """install Debian in a virtual machine for each [[guest]], watched over VNC, and check it"""
    yield from guests.guests()


def task_guest_fast() -> Iterator[Task]:
    """make the same guests without the installer, for quick loops"""
    yield from guests.fast()


def task_prove_guest() -> Task:
    """start the installed guest inside the booted host and check what is passed to it"""
    return guests.prove()


def task_groups() -> Task:
    """show the IOMMU groups of this or a captured machine, now and under each ACS override"""
    return devices.groups()


def task_doctor() -> Task:
    """say what of this or a captured machine can be passed through, and what stands in the way"""
    return devices.doctor()


def task_prove_groups() -> Task:
    """boot random topologies and compare the kernel's groups with the prediction"""
    return devices.prove_groups()


def task_accept_config() -> Task:
    """take the resolved kernel configuration as the committed one"""
    return host.accept_config()


def task_verify() -> Task:
    """read every artifact again and compare it with dist/MANIFEST"""
    return host.verify()


def task_reproduce() -> Task:
    """build everything again elsewhere, otherwise, and compare every artifact bit by bit"""
    return host.reproduce()


def task_lock() -> Task:
    """write the locks anew from the archive's signed indexes and check every source's pin"""
    return host.lock()


def task_add() -> Task:
    """write the first draft of a recipe from the archive: ./doit add NAME"""
    return recipes.add()


def task_outdated() -> Task:
    """list the recipes that are older than the archive's newest"""
    return recipes.outdated()


def task_lint() -> Task:
    """check style, types and shell scripts"""
    return checks.lint()


def task_test_fast() -> Task:
    """lint, unit and recipe tests: everything that needs no build"""
    return checks.test_fast()


def task_test_built() -> Task:
    """boot and inspect what was built, beside the proof"""
    return checks.test_built()


def task_test_installs() -> Task:
    """install Debian with what was built, and spoil it"""
    return checks.test_installs()


def task_test() -> Task:
    """all tests, on what was really built and booted"""
    return checks.test()
