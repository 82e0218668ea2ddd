"""dnsmasq: addresses and names for guests on a bridge of their own."""

from hostwright.recipe import Make, Recipe, Source, words

RECIPE = Recipe(
    name="dnsmasq",
    # Debian 13's 2.91 has holes that its patches close, and this release.
    version="2.93",
    license="GPL-2.0-only OR GPL-3.0-only",
    home="https://www.thekelleys.org.uk/dnsmasq/doc.html",
    source=Source(
        "pool/main/d/dnsmasq/dnsmasq_2.93.orig.tar.gz",
        sha256="cc967771abdafeb43d10db18932d6b59fd4bed2c69c22acf8cb96aff6920d55f",
    ),
    needs=("glibc",),
    build=Make(variables=words("dnsmasq.options")),
    smoke=("/usr/sbin/dnsmasq", "--version"),
    files=("usr/sbin/dnsmasq",),
)
