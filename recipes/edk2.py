"""edk2: OVMF, the UEFI firmware of the guests and of the emulated machines."""

from hostwright.recipe import Edk2, Recipe, Source

BROTLI = "pool/main/b/brotli/brotli_1.1.0.orig.tar.gz"
BROTLI_SHA256 = "10973f4b4199eafa1d5735ef661ddb2ec2f97319ee9fd1824d4aabe08cff5265"

RECIPE = Recipe(
    name="edk2",
    version="2025.02",
    license="BSD-2-Clause-Patent",
    home="https://www.tianocore.org/",
    source=Source(
        "pool/main/e/edk2/edk2_2025.02.orig.tar.xz",
        sha256="b63b6053d6d89c74d9291f9e96fde1584be99e6fb9c169ba9511505129d6b049",
    ),
    # The archive's tarball leaves this submodule out.
    extra=(
        Source(BROTLI, BROTLI_SHA256, into="MdeModulePkg/Library/BrotliCustomDecompressLib/brotli"),
        Source(BROTLI, BROTLI_SHA256, into="BaseTools/Source/C/BrotliCompress/brotli"),
    ),
    # A guest here has local disks and is not confidential: nobody would read the measurements.
    build=Edk2(defines=("CC_MEASUREMENT_ENABLE=FALSE", "NETWORK_ISCSI_ENABLE=FALSE")),
    view="tools",
    files=("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"),
)
