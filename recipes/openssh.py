"""openssh: the way into the host from outside, and from it to other machines."""

from hostwright.recipe import Configure, Recipe, Source, words

RECIPE = Recipe(
    name="openssh",
    version="10.0p1",
    license="SSH-OpenSSH",
    home="https://www.openssh.com/",
    source=Source(
        "pool/main/o/openssh/openssh_10.0p1.orig.tar.gz",
        sha256="021a2e709a0edf4250b1256bd5a9e500411a90dddabea830ed59cef90eb9d85c",
    ),
    needs=("glibc", "libxcrypt", "openssl", "zlib"),
    build=Configure(
        # Its configure runs programs that it has linked with libcrypto, and looks for /proc, which only the host has.
        variables=("LD_LIBRARY_PATH=/sysroot/usr/lib", "CPPFLAGS=-DHAVE_PROC_PID"),
        options=words("openssh.options"),
        # Host keys are made at first boot.
        install=("install-nokeys",),
        # The first is for trust between hosts, and would be set-user-id; the other is the host's own, in rootfs/.
        after=('rm "$OUT/usr/libexec/openssh/ssh-keysign" "$OUT/etc/ssh/sshd_config"',),
    ),
    smoke=("/usr/sbin/sshd", "-V"),
    files=("usr/sbin/sshd", "usr/bin/ssh", "usr/bin/ssh-keygen", "usr/libexec/openssh/sshd-session"),
)
