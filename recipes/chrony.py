"""chrony: keeps the host's clock with time servers."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="chrony",
    version="4.6.1",
    license="GPL-2.0-only",
    home="https://chrony-project.org",
    source=Source(
        "pool/main/c/chrony/chrony_4.6.1.orig.tar.gz",
        sha256="571ff73fbf0ae3097f0604eca2e00b1d8bb2e91affe1a3494785ff21d6199c5c",
    ),
    needs=("glibc", "libcap"),
    build=Configure(
        options=(
            *("--with-user=chrony", "--chronyrundir=/run/chrony", "--with-pidfile=/run/chrony/chronyd.pid"),
            # NTS needs GnuTLS or Nettle, keys other than MD5 a library of hashes: the host has neither.
            *("--disable-nts", "--disable-sechash", "--disable-readline", "--without-seccomp"),
            # No clock but other servers, and the kernel itself keeps the one on the board.
            *("--disable-refclock", "--disable-rtc"),
        ),
    ),
    smoke=("/usr/sbin/chronyd", "--version"),
    files=("usr/sbin/chronyd", "usr/bin/chronyc"),
)
