"""qemu: virtual machines with KVM or TCG, passed-through devices, virtio and a VNC screen."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="qemu",
    version="10.0.13",
    license="GPL-2.0-or-later",
    home="https://www.qemu.org/",
    source=Source(
        "pool/main/q/qemu/qemu_10.0.13+ds.orig.tar.xz",
        sha256="6a0888e806c2ffc0c5f0733e974f9aea55491950d3c47c98669c8b236dde59ae",
    ),
    needs=("glibc", "glib", "libaio", "libseccomp", "libslirp", "liburing", "pixman", "zlib", "zstd"),
    build=Configure(
        before=(
            f"for one in {' '.join(words('qemu.devices'))}; do echo CONFIG_$one=y; done "
            "> configs/devices/x86_64-softmmu/host.mak",
            # The archive's tarball has no firmware, and the Python of the build root has no pip; nothing is fetched.
            "sed -i 's/unpack_edk2_blobs = bzip2.found()/unpack_edk2_blobs = false/' meson.build",
            "sed -i 's/with_pip: bool = True/with_pip: bool = False/' python/scripts/mkvenv.py",
        ),
        options=words("qemu.options"),
        make=("-C", "build"),
        targets=("qemu-system-x86_64", "qemu-img"),
        install=(),
        after=(
            # Its configure asks for a C library of 32 bits, which nothing in a ROM uses.
            "cd build/pc-bios/optionrom",
            "printf '%s\\n' TOPSRC_DIR=/build/src CC=gcc OBJCOPY=objcopy PYTHON=python3 > config.mak",
            "make && cd ../..",
            'install -D -t "$OUT/usr/bin" qemu-system-x86_64 qemu-img',
            'install -D -m 644 -t "$OUT/usr/share/qemu" pc-bios/optionrom/*.bin',
            'install -D -m 644 -t "$OUT/usr/share/qemu/keymaps" ../pc-bios/keymaps/en-us',
        ),
    ),
    smoke=("/usr/bin/qemu-system-x86_64", "--version"),
    files=("usr/bin/qemu-system-x86_64", "usr/bin/qemu-img"),
)
