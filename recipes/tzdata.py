"""tzdata: the time zones of the world."""

from hostwright.recipe import Files, Recipe, Source

RECIPE = Recipe(
    name="tzdata",
    version="2026c",
    license="CC0-1.0",
    home="https://www.iana.org/time-zones",
    source=Source(
        "pool/main/t/tzdata/tzdata_2026c.orig.tar.gz",
        sha256="e4a178a4477f3d0ea77cc31828ff72aa38feff8d61aa13e7e99e142e9d902be4",
    ),
    needs=("glibc",),
    build=Files(
        (
            # Its files lie in no folder of their own.
            "tar -xf /sources/source-0 --no-same-owner --no-same-permissions",
            'zones="$OUT/usr/share/zoneinfo" && mkdir -p "$zones" && cp zone1970.tab iso3166.tab "$zones"',
            "set africa antarctica asia australasia europe northamerica southamerica etcetera backward",
            "loader=/sysroot/usr/lib/ld-linux-x86-64.so.2",
            '$loader --library-path /sysroot/usr/lib /sysroot/usr/sbin/zic -b slim -d "$zones" "$@"',
        ),
    ),
    files=("usr/share/zoneinfo/UTC", "usr/share/zoneinfo/Europe/Berlin", "usr/share/zoneinfo/Asia/Shanghai"),
)
