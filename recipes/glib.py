"""glib: the base library that QEMU is written with."""

from hostwright.recipe import Meson, Recipe, Source, words

RECIPE = Recipe(
    name="glib",
    version="2.84.4",
    license="LGPL-2.1-or-later",
    home="https://gitlab.gnome.org/GNOME/glib",
    source=Source(
        "pool/main/g/glib2.0/glib2.0_2.84.4.orig.tar.xz",
        sha256="8a9ea10943c36fc117e253f80c91e477b673525ae45762942858aef57631bb90",
    ),
    needs=("glibc", "pcre2"),
    build=Meson(
        # QEMU and libslirp use the base alone: no objects, no GIO. It tries /proc, which a build has not.
        before=(
            "sed -ri \"/^subdir\\('(gobject|gio|girepository|fuzzing)'\\)/d\" meson.build",
            "sed -ri 's/^(libffi_dep|libz_dep) = .*/\\1 = not_found/; s/cmdline = rres.*/cmdline = true/' meson.build",
        ),
        options=words("glib.options"),
        # Tools and files for those who develop with it.
        after=('rm -r "$OUT/usr/bin" "$OUT/usr/share"',),
    ),
    files=("usr/lib/libglib-2.0.so.0", "usr/lib/pkgconfig/glib-2.0.pc"),
)
