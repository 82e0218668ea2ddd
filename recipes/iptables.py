"""iptables: packet filter and address translation, for guests behind the host's address."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="iptables",
    version="1.8.11",
    license="GPL-2.0-or-later",
    home="https://www.netfilter.org/projects/iptables/",
    source=Source(
        "pool/main/i/iptables/iptables_1.8.11.orig.tar.xz",
        sha256="d87303d55ef8c92bcad4dd3f978b26d272013642b029425775f5bad1009fe7b2",
    ),
    needs=("glibc",),
    build=Configure(options=words("iptables.options")),
    smoke=("/usr/sbin/iptables", "--version"),
    files=("usr/sbin/iptables", "usr/sbin/ip6tables", "usr/lib/libxtables.so.12"),
)
