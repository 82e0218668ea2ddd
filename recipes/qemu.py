"""qemu: virtual machines with KVM or TCG, passed-through devices, virtio and a VNC screen."""

from hostwright.recipe import Configure, Recipe, Source

# All other features and devices are off, but for the parts of q35 itself; libfdt would serve microvm alone.
OPTIONS = (
    *("--target-list=x86_64-softmmu", "--without-default-devices", "--with-devices-x86_64=host"),
    *("--without-default-features", "--disable-debug-info", "--disable-download", "--disable-install-blobs"),
    *("--enable-kvm", "--enable-tcg", "--enable-tools", "--enable-vnc", "--enable-pixman", "--enable-iconv"),
    *("--enable-slirp", "--enable-vhost-net", "--enable-vhost-kernel", "--enable-linux-aio"),
    *("--enable-linux-io-uring", "--enable-zstd", "--enable-malloc-trim", "--enable-membarrier"),
)
DEVICES = (
    "Q35 HPET VMPORT VMMOUSE VTD AMD_IOMMU IOMMUFD PCIE_PORT PCI_BRIDGE PCIE_PCI_BRIDGE XIO3130 VFIO_PCI "
    "VIRTIO_PCI VIRTIO_BLK VIRTIO_SCSI VIRTIO_NET VIRTIO_RNG VIRTIO_SERIAL VIRTIO_BALLOON VIRTIO_MEM "
    "VIRTIO_GPU VIRTIO_VGA VIRTIO_INPUT VHOST_VSOCK VGA_PCI BOCHS_DISPLAY USB_XHCI_PCI USB_HID "
    "USB_STORAGE_BOT NVME_PCI E1000E_PCI_EXPRESS HDA IVSHMEM_DEVICE PVPANIC_PCI WDT_IB6300ESB ISA_DEBUG"
)
BEFORE = (
    f"for one in {DEVICES}; do echo CONFIG_$one=y; done > configs/devices/x86_64-softmmu/host.mak",
    # The archive's tarball has no firmware; OVMF is edk2's.
    "sed -i 's/unpack_edk2_blobs = bzip2.found()/unpack_edk2_blobs = false/' meson.build",
    # The Python of the build root has no pip, and all that it would fetch is there.
    "sed -i 's/with_pip: bool = True/with_pip: bool = False/' python/scripts/mkvenv.py",
)

AFTER = (
    # Its configure asks for a C library of 32 bits, which nothing in a ROM uses.
    "cd build/pc-bios/optionrom",
    "printf '%s\\n' TOPSRC_DIR=/build/src CC=gcc OBJCOPY=objcopy PYTHON=python3 > config.mak",
    "make && cd ../..",
    'install -D -t "$OUT/usr/bin" qemu-system-x86_64 qemu-img',
    'install -D -t "$OUT/usr/libexec" qemu-bridge-helper',
    'install -D -m 644 -t "$OUT/usr/share/qemu" pc-bios/optionrom/*.bin',
    'install -D -m 644 -t "$OUT/usr/share/qemu/keymaps" ../pc-bios/keymaps/en-us',
)

RECIPE = Recipe(
    name="qemu",
    version="10.0.13",
    license="GPL-2.0-or-later",
    home="https://www.qemu.org/",
    source=Source(
        "pool/main/q/qemu/qemu_10.0.13+ds.orig.tar.xz",
        sha256="6a0888e806c2ffc0c5f0733e974f9aea55491950d3c47c98669c8b236dde59ae",
    ),
    needs=("glibc", "glib", "libaio", "libslirp", "liburing", "pixman", "zlib", "zstd"),
    build=Configure(
        before=BEFORE,
        options=OPTIONS,
        make=("-C", "build"),
        targets=("qemu-system-x86_64", "qemu-img", "qemu-bridge-helper"),
        install=(),
        after=AFTER,
    ),
    smoke=("/usr/bin/qemu-system-x86_64", "--version"),
    files=("usr/bin/qemu-system-x86_64", "usr/bin/qemu-img", "usr/libexec/qemu-bridge-helper"),
)
