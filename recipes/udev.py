"""udev: gives devices their names and loads their drivers; of systemd's tree, without systemd."""

from hostwright.recipe import MesonPart, Recipe, Source

OPTIONS = (
    *("-Dmode=release", "-Dlink-udev-shared=false", "--auto-features=disabled", "-Dkmod=enabled"),
    *("-Dblkid=enabled", "-Ddev-kvm-mode=0660", "-Dlogind=false", "-Dvconsole=false", "-Dhwdb=false"),
    "-Dtests=false",
)
# With those that are plain files; the rest is for desktops, or calls systemd.
RULES = ("rules.d/50-udev-default.rules", "rules.d/60-persistent-storage.rules")

RECIPE = Recipe(
    name="udev",
    version="257.13",
    license="LGPL-2.1-or-later AND GPL-2.0-or-later",
    home="https://systemd.io/",
    source=Source(
        "pool/main/s/systemd/systemd_257.13.orig.tar.gz",
        sha256="1eb7d5f9ff8a426ff880a3cded9ce819613ba8003ac5ddde9eca162f14ddabe7",
    ),
    needs=("glibc", "kmod", "libcap", "libxcrypt", "util-linux"),
    build=MesonPart(
        options=OPTIONS,
        targets=("udevadm", "ata_id", "cdrom_id", "scsi_id", *RULES),
        after=(
            'install -D -t "$OUT/usr/lib/udev" ../obj/*_id && install -D -t "$OUT/usr/sbin" ../obj/udevadm',
            'ln -s udevadm "$OUT/usr/sbin/udevd"',
            "mv rules.d/60-[bcdeis]*.rules rules.d/75-net*.rules rules.d/80-*.rules ../obj/rules.d",
            'install -D -m 644 -t "$OUT/usr/lib/udev/rules.d" ../obj/rules.d/*.rules',
            'install -D -m 644 -t "$OUT/usr/lib/systemd/network" network/99-default.link',
        ),
    ),
    smoke=("/usr/sbin/udevadm", "--version"),
    files=("usr/sbin/udevadm", "usr/sbin/udevd", "usr/lib/udev/rules.d/60-persistent-storage.rules"),
)
