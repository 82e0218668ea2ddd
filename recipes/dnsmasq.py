"""dnsmasq: Small caching DNS proxy and DHCP/TFTP server - system daemon."""

from hostwright.recipe import Make, Recipe, Source

RECIPE = Recipe(
    name="dnsmasq",
    version="2.91",
    license="GPL-2.0-only OR GPL-3.0-only",
    home="https://www.thekelleys.org.uk/dnsmasq/doc.html",
    source=Source(
        "pool/main/d/dnsmasq/dnsmasq_2.91.orig.tar.gz",
        sha256="2d26a048df452b3cfa7ba05efbbcdb19b12fe7a0388761eb5d00938624bd76c8",
    ),
    needs=("glibc",),
    build=Make(variables=("PREFIX=/usr",)),
)
