"""acpid: hears the power button."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="acpid",
    version="2.0.34",
    license="GPL-2.0-or-later",
    home="https://sourceforge.net/projects/acpid2/",
    source=Source(
        "pool/main/a/acpid/acpid_2.0.34.orig.tar.xz",
        sha256="2d095c8cfcbc847caec746d62cdc8d0bff1ec1bc72ef7c674c721e04da6ab333",
    ),
    needs=("glibc",),
    build=Configure(
        options=("--sbindir=/usr/sbin",),
        # Programs that read the socket, which the host does not open, and that show raw events.
        after=('rm -f "$OUT/usr/bin/acpi_listen" "$OUT/usr/sbin/kacpimon"',),
    ),
    smoke=("/usr/sbin/acpid", "--version"),
    files=("usr/sbin/acpid",),
)
