"""openssl: cryptography and TLS, for OpenSSH and for people."""

from hostwright.recipe import Openssl, Recipe, Source, words

RECIPE = Recipe(
    name="openssl",
    version="3.5.7",
    license="Apache-2.0",
    home="https://openssl-library.org/",
    source=Source(
        "pool/main/o/openssl/openssl_3.5.7.orig.tar.gz",
        sha256="a8c0d28a529ca480f9f36cf5792e2cd21984552a3c8e4aa11a24aa31aeac98e8",
    ),
    needs=("glibc",),
    build=Openssl(options=words("openssl.options")),
    smoke=("/usr/bin/openssl", "version"),
    files=("usr/lib/libcrypto.so.3", "usr/lib/libssl.so.3", "usr/bin/openssl"),
)
