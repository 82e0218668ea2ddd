"""lm-sensors: temperatures, fans and voltages, as the kernel's drivers read them."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="lm-sensors",
    version="3.6.2",
    license="LGPL-2.1-or-later AND GPL-2.0-or-later",
    home="https://github.com/hramrach/lm-sensors",
    source=Source(
        "pool/main/l/lm-sensors/lm-sensors_3.6.2.orig.tar.gz",
        sha256="c6a0587e565778a40d88891928bf8943f27d353f382d5b745a997d635978a8f0",
    ),
    needs=("glibc",),
    build=Make(
        # The other folders hold programs in Perl, and such as write to chips behind the kernel's back.
        variables=("PREFIX=/usr", "SRCDIRS=lib prog/sensors", "BUILD_STATIC_LIB=0", "EXLDFLAGS=$(LDFLAGS)"),
        after=(
            'install -D -m 644 etc/sensors.conf.default "$OUT/etc/sensors3.conf"',
            'rm -r "$OUT/usr/man" "$OUT/usr/share/zsh"',
        ),
    ),
    smoke=("/usr/bin/sensors", "--version"),
    files=("usr/bin/sensors", "usr/lib/libsensors.so.5", "etc/sensors3.conf"),
)
