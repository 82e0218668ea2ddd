"""The steps of each kind of build, as lines of shell."""

import hashlib
from collections.abc import Callable
from shlex import quote
from typing import Any

from hostwright.build import ovmf
from hostwright.recipe import (
    Build,
    Configure,
    Edk2,
    Files,
    Glibc,
    Grub,
    Kernel,
    KernelHeaders,
    Make,
    Meson,
    MesonPart,
    Openssl,
)

# The pinned gcc makes position independent executables by default.
CFLAGS = "-O2 -pipe -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=3 -ffile-prefix-map=/build=."
LDFLAGS = "-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed"


def plan(build: Build) -> list[str]:
    """The lines of shell that build and install, for the kind of `build`."""
    steps: Callable[[Any], list[str]] = _KINDS[type(build)]
    return steps(build)


def _configure(build: Configure) -> list[str]:
    options = ("--prefix=/usr", "--sysconfdir=/etc", "--localstatedir=/var", *build.options)
    flags = (f"CFLAGS={CFLAGS}", f"CXXFLAGS={CFLAGS}", f"LDFLAGS={LDFLAGS}")
    return [
        "cd src",
        *build.before,
        # As environment: a configure script that is not autoconf's does not take assignments as arguments.
        _line("env", *_override(flags, build.variables), "./configure", *options),
        _line("make", *build.make, *build.targets),
        *(_line("make", *build.make, "DESTDIR=/out", target) for target in build.install),
        *build.after,
    ]


def _override(defaults: tuple[str, ...], given: tuple[str, ...]) -> list[str]:
    """Assignments, those of the recipe in the place of the default of the same name."""
    values = dict(word.split("=", 1) for word in (*defaults, *given))
    return [f"{name}={value}" for name, value in values.items()]


def _make(build: Make) -> list[str]:
    export = f"export CFLAGS={quote(CFLAGS)} LDFLAGS={quote(LDFLAGS)}"
    return [
        "cd src",
        export,
        *build.before,
        _line("make", *build.variables, *build.targets),
        *(_line("make", *build.variables, "DESTDIR=/out", target) for target in build.install),
        *build.after,
    ]


def _meson(build: Meson) -> list[str]:
    return [
        *_meson_setup(build),
        'ninja -C ../obj -j "${JOBS:-1}"',
        "DESTDIR=/out meson install -C ../obj --no-rebuild",
        *build.after,
    ]


def _meson_part(build: MesonPart) -> list[str]:
    return [*_meson_setup(build), 'ninja -C ../obj -j "${JOBS:-1}" ' + _line(*build.targets), *build.after]


def _meson_setup(build: Meson) -> list[str]:
    fixed = (
        "--prefix=/usr",
        "--libdir=lib",
        "--sysconfdir=/etc",
        "--localstatedir=/var",
        "--buildtype=plain",
        "--wrap-mode=nodownload",
    )
    return [
        f"export CFLAGS={quote(CFLAGS)} CXXFLAGS={quote(CFLAGS)} LDFLAGS={quote(LDFLAGS)}",
        "cd src",
        *build.before,
        _line("meson", "setup", "../obj", *fixed, *build.options),
    ]


def _files(build: Files) -> list[str]:
    return ["cd src", *build.lines]


def _kernel_headers(_build: KernelHeaders) -> list[str]:
    return [
        "cd src",
        "make ARCH=x86 headers",
        "mkdir -p /out/usr",
        "find usr/include -type f ! -name '*.h' -delete",
        "cp -r usr/include /out/usr/",
    ]


def _glibc(build: Glibc) -> list[str]:
    options = (
        "--prefix=/usr",
        "--sysconfdir=/etc",
        "--localstatedir=/var",
        "--disable-werror",
        "--with-headers=/sysroot/usr/include",
        "--enable-kernel=6.1",
        "--enable-stack-protector=strong",
        "--enable-bind-now",
        "--disable-nscd",
        "libc_cv_slibdir=/usr/lib",
        *build.options,
    )
    return [
        # The archive's tarball lacks manual/, which only documents.
        "sed -i 's/ manual / /; s/ manual$//' src/Makeconfig",
        "cd obj",
        "echo rootsbindir=/usr/sbin > configparms",
        _line("../src/configure", *options, "CFLAGS=-O2 -pipe", "CXXFLAGS=-O2 -pipe"),
        "make",
        "make DESTDIR=/out install",
        "mkdir -p /out/lib64",
        "ln -sf ../usr/lib/ld-linux-x86-64.so.2 /out/lib64/ld-linux-x86-64.so.2",
        "sed -i 's|RTLDLIST=.*|RTLDLIST=/usr/lib/ld-linux-x86-64.so.2|' /out/usr/bin/ldd",
        # Locales are those of glibc-locales; nobody needs their sources, this tree's cache and libnss_db's Makefile.
        "rm -r /out/usr/share/i18n /out/etc/ld.so.cache /out/var",
    ]


def _grub(build: Grub) -> list[str]:
    common = ("--prefix=/usr", "--sysconfdir=/etc", "--disable-nls", "--disable-werror", *build.options)
    # Only the tools take the hardening flags: the modules are freestanding, GRUB chooses their flags itself.
    flags = ("env", f"HOST_CFLAGS={CFLAGS}", f"HOST_LDFLAGS={LDFLAGS}")
    return [
        # The release tarball forgot this list of modules that another one needs unseen.
        "echo depends bli part_gpt > src/grub-core/extra_deps.lst",
        "mkdir obj/efi obj/pc",
        "cd /build/obj/efi",
        _line(*flags, "../../src/configure", *common, "--target=x86_64", "--with-platform=efi"),
        "make",
        "make DESTDIR=/out install",
        "cd /build/obj/pc",
        _line(*flags, "../../src/configure", *common, "--target=i386", "--with-platform=pc"),
        "make -C grub-core",
        "make -C grub-core DESTDIR=/out install",
        # For gdb only; and nobody on the host is to write a grub.cfg over the generated one.
        "cd /out/usr/lib/grub && rm -f */*.module */*.image */kernel.exec */gdb_grub */gdb_helper.py",
        "rm -rf /out/etc /out/usr/sbin/grub-mkconfig /out/usr/share/grub/grub-mkconfig_lib /out/usr/share/info",
    ]


def _openssl(build: Openssl) -> list[str]:
    options = ("--prefix=/usr", "--openssldir=/etc/ssl", "--libdir=lib", "shared", *build.options)
    return [
        "cd src",
        _line("env", f"CFLAGS={CFLAGS}", f"LDFLAGS={LDFLAGS}", "./Configure", "linux-x86_64", *options),
        "make build_generated",
        # By name: the static libraries would compile everything a second time.
        "make libcrypto.so libssl.so exporters/libcrypto.pc exporters/libssl.pc apps/openssl",
        "install -D -m 755 -t /out/usr/bin apps/openssl",
        "install -D -m 644 -t /out/usr/include/openssl include/openssl/*.h",
        "install -D -m 644 -t /out/usr/lib/pkgconfig exporters/libcrypto.pc exporters/libssl.pc",
        "install -D -m 755 -t /out/usr/lib libcrypto.so.3 libssl.so.3",
        "for one in libcrypto libssl; do ln -s $one.so.3 /out/usr/lib/$one.so; done",
        "install -D -m 644 -t /out/etc/ssl apps/openssl.cnf",
    ]


def _edk2(build: Edk2) -> list[str]:
    defines = (
        "FD_SIZE_4MB",
        "SECURE_BOOT_ENABLE=FALSE",
        "SMM_REQUIRE=FALSE",
        "TPM2_ENABLE=FALSE",
        *build.defines,
    )
    words = ["-q", "-a", "X64", "-t", "GCC", "-b", "RELEASE", "-p", "OvmfPkg/OvmfPkgX64.dsc"]
    return [
        "cd src",
        # What edksetup.sh would set and copy.
        "export WORKSPACE=$PWD EDK_TOOLS_PATH=$PWD/BaseTools CONF_PATH=$PWD/Conf PYTHON_COMMAND=python3",
        # Each module picks its stack cookie by the hash of a string.
        "export PYTHONHASHSEED=0",
        "export PATH=$PWD/BaseTools/BinWrappers/PosixLike:$PATH",
        "for one in target tools_def build_rule; do cp BaseTools/Conf/$one.template Conf/$one.txt; done",
        "make -C BaseTools/Source/C",
        "mkdir -p Build/OvmfX64/RELEASE_GCC",
        # build.py draws the stack cookies anew unless the files are there.
        *(_cookies(bits) for bits in (32, 64)),
        # Its makefiles race with themselves under -j; whole modules may run side by side.
        'MAKEFLAGS= build -n "${JOBS:-1}" '
        + _line(*words, *(word for define in defines for word in ("-D", define))),
        "cd Build/OvmfX64/RELEASE_GCC/FV",
        f"install -D -m 644 -t /out/{ovmf.FOLDER} OVMF_CODE.fd OVMF_VARS.fd",
        f"printf %s {quote(ovmf.descriptor())} > descriptor",
        f"install -D -m 644 descriptor /out/{ovmf.DESCRIPTOR}",
    ]


def _cookies(bits: int) -> str:
    values = [
        int(hashlib.sha256(f"{bits} {index}".encode()).hexdigest()[: bits // 4], 16) for index in range(100)
    ]
    return f"echo {quote(str(values))} > Build/OvmfX64/RELEASE_GCC/StackCookieValues{bits}.json"


def _line(*words: str) -> str:
    return " ".join(quote(word) for word in words)


def _unsupported(build: Build) -> list[str]:
    raise TypeError(f"{type(build).__name__} is not built by a package script")


_KINDS: dict[type, Callable[[Any], list[str]]] = {
    Configure: _configure,
    Make: _make,
    Meson: _meson,
    MesonPart: _meson_part,
    Files: _files,
    KernelHeaders: _kernel_headers,
    Glibc: _glibc,
    Grub: _grub,
    Openssl: _openssl,
    Edk2: _edk2,
    Kernel: _unsupported,
}
