"""ipmitool: asks the server's own management controller for sensors, power and events."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="ipmitool",
    version="1.8.19",
    license="BSD-3-Clause",
    home="https://codeberg.org/IPMITool/ipmitool",
    source=Source(
        "pool/main/i/ipmitool/ipmitool_1.8.19.orig.tar.gz",
        sha256="48b010e7bcdf93e4e4b6e43c53c7f60aa6873d574cbd45a8d86fa7aaeebaff9c",
    ),
    needs=("glibc", "openssl"),
    build=Configure(
        # Its installation would fetch IANA's registry of manufacturers, and without one it does not start.
        before=(
            "sed -i '/^install-data-local/,+2d; s/^SUBDIRS = .*/SUBDIRS = lib src/' Makefile.am",
            "autoreconf -i",
            "printf '%s\\n  %s\\n' 11 HP 343 Intel 674 Dell 10876 Supermicro > vendors",
        ),
        variables=("WGET=false",),
        options=("--disable-static", "--disable-ipmishell"),
        after=('install -D -m 644 vendors "$OUT/usr/share/misc/enterprise-numbers"',),
    ),
    smoke=("/usr/bin/ipmitool", "-V"),
    files=("usr/bin/ipmitool", "usr/share/misc/enterprise-numbers"),
)
