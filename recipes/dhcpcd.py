"""dhcpcd: asks the network for an address, by DHCP or router advertisement."""

from hostwright.recipe import Configure, Recipe, Source

RECIPE = Recipe(
    name="dhcpcd",
    version="10.1.0",
    license="BSD-2-Clause",
    home="https://roy.marples.name/projects/dhcpcd",
    source=Source(
        "pool/main/d/dhcpcd/dhcpcd_10.1.0.orig.tar.gz",
        sha256="98b396730159902464714f1762da29fb19e748ede1ade3516f0aabc8059d9c4d",
    ),
    needs=("glibc",),
    build=Configure(
        # A call that glibc makes since 2.41, and that its filter kills the program for.
        before=(
            "sed -i 's/SECCOMP_ALLOW(__NR_rt_sigreturn),/& SECCOMP_ALLOW(__NR_rt_sigprocmask),/' src/privsep-linux.c",
        ),
        options=(
            *("--sbindir=/usr/sbin", "--libexecdir=/usr/libexec/dhcpcd", "--dbdir=/var/lib/dhcpcd"),
            *("--runstatedir=/run", "--privsepuser=dhcpcd", "--without-udev", "--without-openssl"),
        ),
    ),
    smoke=("/usr/sbin/dhcpcd", "--version"),
    files=("usr/sbin/dhcpcd", "usr/libexec/dhcpcd/dhcpcd-run-hooks"),
)
