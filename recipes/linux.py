"""linux: the kernel, 6.12 LTS, with our ACS override; kconfig/ and host.toml say how it is configured."""

from hostwright.recipe import Kernel, Recipe, Source

RECIPE = Recipe(
    name="linux",
    version="6.12.107",
    license="GPL-2.0-only WITH Linux-syscall-note",
    home="https://www.kernel.org/",
    source=Source(
        "pool/main/l/linux/linux_6.12.107.orig.tar.xz",
        sha256="efc76d3c78a5d65f42724118c437d11db1c9f6309a5f024ee9a8b1978fdc6919",
    ),
    build=Kernel(),
    view="tools",
    files=("boot/vmlinuz", "boot/config", "boot/System.map"),
)
