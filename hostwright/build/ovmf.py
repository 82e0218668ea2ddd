"""OVMF as it leaves the package: the code, an empty variable store for it, and what QEMU's tools read about both.

    package edk2 --> usr/share/OVMF/{OVMF_CODE,OVMF_VARS}.fd --> dist/ovmf/
                 --> usr/share/qemu/firmware/60-ovmf-x86_64.json

A store belongs to the code of the same build: each machine gets its own copy of OVMF_VARS.fd beside the shared,
read-only OVMF_CODE.fd, as two flash drives.
"""

import json
from pathlib import Path

FOLDER = "usr/share/OVMF"
CODE = f"{FOLDER}/OVMF_CODE.fd"
VARS = f"{FOLDER}/OVMF_VARS.fd"
DESCRIPTOR = "usr/share/qemu/firmware/60-ovmf-x86_64.json"

# CODE_SIZE and VARS_SIZE of the 4 MB layout, OvmfPkg/Include/Fdf/OvmfPkgDefines.fdf.inc.
CODE_BYTES = 0x37C000
VARS_BYTES = 0x84000


def descriptor() -> str:
    """The firmware descriptor, as docs/interop/firmware.json of QEMU defines it.

    Its file names are those on the host, where the package is installed; `dist/ovmf` holds the same bytes.
    """
    return (
        json.dumps(
            {
                "description": "UEFI firmware for x86_64, without Secure Boot and SMM",
                "interface-types": ["uefi"],
                "mapping": {
                    "device": "flash",
                    "mode": "split",
                    "executable": {"filename": f"/{CODE}", "format": "raw"},
                    "nvram-template": {"filename": f"/{VARS}", "format": "raw"},
                },
                "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
                "features": ["acpi-s3"],
                "tags": [],
            },
            indent=4,
        )
        + "\n"
    )


def copies(package: Path, target: Path) -> dict[Path, Path]:
    """Which file of the staged tree `package` becomes which file of `target`, the folder dist/ovmf."""
    return {package / name: target / Path(name).name for name in (CODE, VARS, DESCRIPTOR)}
