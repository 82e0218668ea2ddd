"""linux-headers: the kernel's interface to user space, which glibc is built against."""

from hostwright.recipe import KernelHeaders, Recipe, Source

RECIPE = Recipe(
    name="linux-headers",
    version="6.12.107",
    license="GPL-2.0-only WITH Linux-syscall-note",
    home="https://www.kernel.org/",
    source=Source(
        "pool/main/l/linux/linux_6.12.107.orig.tar.xz",
        sha256="efc76d3c78a5d65f42724118c437d11db1c9f6309a5f024ee9a8b1978fdc6919",
    ),
    build=KernelHeaders(),
    view="tools",
    files=("usr/include/linux/kvm.h", "usr/include/linux/vfio.h"),
)
