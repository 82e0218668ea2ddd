"""The kernel that was built: configuration, modules, and what must not be in it."""

import getpass
import json
import lzma
import platform
import re
import zlib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.build import kconfig, kernel, recipes
from hostwright.machine import load
from hostwright.machine.firmware import FIRMWARE
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.workshop import open_at

MODULES = paths.KERNEL / "modules"


def module_names() -> set[str]:
    return {file.name.split(".ko")[0] for file in MODULES.rglob("*.ko*")}


def zstd(file: Path) -> bytes:
    """A module, unpacked by the build root's zstd."""
    root = buildroot.root(buildroot.load_lock())
    job = sandbox.Job(root / "tools", ("zstd", "-dc"), cwd="/")
    return sandbox.output(job, root / "tools", stdin=file.read_bytes())


def test_every_request_stands_in_the_configuration() -> None:
    values = kconfig.parse_config((paths.KERNEL / "config").read_text())
    assert kconfig.compare(kernel.requests(load.load(paths.TREE / "host.toml")), values) == []


def test_the_report_names_every_request() -> None:
    rows = json.loads((paths.KERNEL / "options.json").read_text())
    assert len(rows) == len(kernel.requests(load.load(paths.TREE / "host.toml")))
    assert all(row["kept"] for row in rows)
    assert (paths.KERNEL / "options.txt").read_text().count("\n") == len(rows) + 1


def test_the_configuration_is_the_committed_one() -> None:
    assert (paths.KERNEL / "config").read_text() == paths.RESOLVED_CONFIG.read_text()


@pytest.mark.parametrize(
    "name",
    [
        "vfio",
        "vfio_iommu_type1",
        "vfio-pci",
        "vfio-pci-core",
        "kvm-intel",
        "kvm-amd",
        "tun",
        "bridge",
        "vhost_net",
        "igb",
        "ixgbe",
        "tg3",
    ],
)
def test_a_module_is_there(name: str) -> None:
    assert name in module_names()


@pytest.mark.parametrize(
    "symbol",
    [
        "INTEL_IOMMU",
        "INTEL_IOMMU_SVM",
        "INTEL_IOMMU_DEFAULT_ON",
        "INTEL_IOMMU_SCALABLE_MODE_DEFAULT_ON",
        "AMD_IOMMU",
        "IOMMUFD",
        "VIRTIO_IOMMU",
        "IRQ_REMAP",
        "EFI_STUB",
        "EXT4_FS",
        "XFS_FS",
        "SATA_AHCI",
        "BLK_DEV_NVME",
        "SCSI_HPSA",
        "MEGARAID_SAS",
        "SCSI_MPT3SAS",
        "VFIO_PCI_VGA",
    ],
)
def test_what_the_host_stands_on_is_on(symbol: str) -> None:
    assert kconfig.parse_config((paths.KERNEL / "config").read_text()).get(f"CONFIG_{symbol}") in ("y", "m")


def test_unsafe_vfio_is_off() -> None:
    assert kconfig.parse_config((paths.KERNEL / "config").read_text()).get("CONFIG_VFIO_NOIOMMU", "n") == "n"


def test_the_override_is_in_the_kernel() -> None:
    assert re.search(r" pci_acs_override|acs_override", (paths.KERNEL / "System.map").read_text())


def test_modules_carry_the_release_and_no_debug_information() -> None:
    release = next(MODULES.iterdir()).name
    assert release == f"{recipes.load_recipe('linux').version}-hostwright"
    content = zstd(next(MODULES.rglob("vfio-pci.ko.zst")))
    assert f"vermagic={release} ".encode() in content
    assert b".debug_info" not in content


def test_no_byte_tells_who_built_it_when_and_where() -> None:
    image = (paths.KERNEL / "bzImage").read_bytes()
    texts = [image, (paths.KERNEL / "System.map").read_bytes(), unpacked(image)]
    said = [platform.node(), str(paths.TREE), str(Path.home()) + "/", "/build/src", "/build/obj"]
    said += [name for name in [getpass.getuser()] if len(name) > 4]
    for text in texts:
        assert [word for word in said if len(word) > 3 and word.encode() in text] == []
    assert b"(hostwright@hostwright)" in unpacked(image)


def unpacked(image: bytes) -> bytes:
    """The kernel proper inside bzImage, whichever way it is compressed."""
    for magic, how in (
        (b"\xfd7zXZ\x00", lzma.decompress),
        (b"\x28\xb5\x2f\xfd", _unzstd),
        (b"\x1f\x8b\x08", _gunzip),
    ):
        at = image.find(magic)
        if at >= 0:
            return how(image[at:])
    raise AssertionError("no known compression in bzImage")


def _gunzip(data: bytes) -> bytes:
    # bzImage goes on behind the compressed kernel.
    return zlib.decompressobj(wbits=31).decompress(data)


def _unzstd(data: bytes) -> bytes:
    root = buildroot.root(buildroot.load_lock())
    job = sandbox.Job(root / "tools", ("sh", "-c", "zstd -dcq || true"), cwd="/")
    return sandbox.output(job, root / "tools", stdin=data)


def test_every_dependency_of_a_module_is_there() -> None:
    listing = next(MODULES.rglob("modules.dep")).read_text()
    release = next(MODULES.iterdir())
    named = {name for line in listing.splitlines() for name in line.replace(":", " ").split()}
    assert named and all((release / name).exists() for name in named)


def test_a_dropped_option_names_file_line_and_the_unmet_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's own Kconfig says why."""
    for fragment in kernel.fragments():
        (tmp_path / fragment.name).write_text(fragment.read_text())
    (tmp_path / "zz.config").write_text("CONFIG_VFIO_PCII=m\nCONFIG_SND_HDA_INTEL=m\n")
    monkeypatch.setattr(paths, "KCONFIG", tmp_path)
    with pytest.raises(UserError) as error:
        kernel.resolve(load.load(paths.TREE / "host.toml"), open_at(tmp_path / "log"))
    message = error.value.message
    assert "kconfig/zz.config:1: CONFIG_VFIO_PCII: wanted m, got n" in message
    assert "no such option; the nearest name is CONFIG_VFIO_PCI" in message
    assert "kconfig/zz.config:2: CONFIG_SND_HDA_INTEL: wanted m, got n" in message
    assert "unmet dependency" in message and "CONFIG_SOUND is n" in message


def firmware_of_modules() -> dict[str, list[str]]:
    """Each module's files of firmware, as modinfo shows them; modpost puts a module's name behind them."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    packed = b"".join(file.read_bytes() for file in sorted(MODULES.rglob("*.ko.zst")))
    content = sandbox.output(sandbox.Job(tools, ("zstd", "-dc"), cwd="/"), tools, stdin=packed)
    found: dict[str, list[str]] = {}
    files: list[str] = []
    for key, value in re.findall(rb"\0(firmware|name)=([!-~]+)(?=\0)", content):
        if key == b"firmware":
            files.append(value.decode())
        elif files:
            found[value.decode()] = files
            files = []
    return found


def test_every_driver_that_loads_firmware_has_a_name_in_host_toml() -> None:
    """What a driver may load is in the part that `kernel.firmware` names after it."""
    found = firmware_of_modules()
    assert "bnx2/bnx2-mips-06-6.2.3.fw" in found["bnx2"] and "rtl_nic/rtl8168g-2.fw" in found["r8169"]
    patterns = {name: FIRMWARE[name].files if name in FIRMWARE else () for name in found}
    unknown = {
        f"{name}: {file}"
        for name, files in found.items()
        for file in files
        if not any(fnmatchcase(file, pattern) for pattern in patterns[name])
    }
    assert unknown == set()
