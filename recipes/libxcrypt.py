"""libxcrypt: password hashes, for login and sulogin."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="libxcrypt",
    version="4.4.38",
    license="LGPL-2.1-or-later",
    home="https://github.com/besser82/libxcrypt",
    source=Source(
        "pool/main/libx/libxcrypt/libxcrypt_4.4.38.orig.tar.xz",
        sha256="6a275a356622c64ba9f693892215dbb399c003a7a4afeed9c4c74070eaab20f4",
    ),
    needs=("glibc",),
    build=Configure(
        # The archive's tarball is a bare checkout; the macro is in libltdl alone, and ELF knows the answer.
        before=("sed -i 's/^LT_SYS_SYMBOL_USCORE$/sys_symbol_underscore=no/' configure.ac", "autoreconf -i"),
        options=(
            *("--disable-static", "--enable-hashes=strong,glibc", "--enable-obsolete-api=no"),
            "--disable-failure-tokens",
        ),
    ),
    files=("usr/lib/libcrypt.so.2",),
)
