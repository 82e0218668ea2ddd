"""inetutils: ping and the system log's daemon."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="inetutils",
    version="2.6",
    license="GPL-3.0-or-later",
    home="https://www.gnu.org/software/inetutils/",
    source=Source(
        "pool/main/i/inetutils/inetutils_2.6.orig.tar.xz",
        sha256="68bedbfeaf73f7d86be2a7d99bcfbd4093d829f52770893919ae174c0b2357ca",
    ),
    needs=("glibc",),
    build=Configure(
        before=(
            "sed -i '/^SUBDIRS = lib/,/tests$/cSUBDIRS = lib libinetutils libicmp src ping' Makefile.in",
        ),
        options=(
            *("--disable-servers", "--disable-clients", "--enable-ping", "--enable-ping6"),
            *("--enable-syslogd", "--libexecdir=/usr/sbin"),
        ),
        make=("SUIDMODE=-m 755",),
    ),
    smoke=("/usr/bin/ping", "--version"),
    files=("usr/bin/ping", "usr/bin/ping6", "usr/sbin/syslogd"),
)
