"""shadow: login, passwd and the programs that keep accounts."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="shadow",
    version="4.17.4",
    license="BSD-3-Clause",
    home="https://github.com/shadow-maint/shadow",
    source=Source(
        "pool/main/s/shadow/shadow_4.17.4.orig.tar.xz",
        sha256="554801054694ff7d8a7abdf0d6ece34e2f16e111673cc01b8c9ee1278451181e",
    ),
    needs=("glibc", "libxcrypt"),
    build=Configure(
        before=("sed -i 's| po contrib doc etc tests/unit| etc|' Makefile.in",),
        options=words("shadow.options"),
        # Its own default is /bin and /sbin for some; and nobody but root logs in here.
        make=("exec_prefix=/usr", "suidperms=755"),
        after=(
            'set_word() { sed -i "s/^#\\?$1[[:blank:]].*/$1 $2/" "$OUT/etc/login.defs"; }',
            "set_word ENCRYPT_METHOD YESCRYPT",
            # For who asks chpasswd(8) for another method than that.
            "set_word SHA_CRYPT_MIN_ROUNDS 65536",
            "set_word SHA_CRYPT_MAX_ROUNDS 65536",
            # For accounts that the owner adds.
            "set_word UMASK 027",
            "set_word PASS_MIN_DAYS 1",
            "set_word PASS_MAX_DAYS 365",
            "set_word LOG_OK_LOGINS yes",
        ),
    ),
    smoke=("/usr/bin/passwd", "--help"),
    files=("usr/bin/login", "usr/bin/passwd", "usr/sbin/useradd", "etc/login.defs"),
)
