"""`[guest.install]` of host.toml: the answers for Debian's installer, as a checked value.

host.toml -> machine.load -> Guest.install: Install -> preseed
"""

import re
from dataclasses import dataclass
from pathlib import Path

from hostwright.machine import values, words
from hostwright.machine.grammar import (
    BadValueError,
    Field,
    Section,
    line,
    matching,
    nearest,
    one_of,
    sequence,
    text,
)

# NVIDIA's driver without a screen: CUDA, the tools, and the headers that its kernel module is built against.
_CUDA = ("libcuda1", "nvidia-smi", "nvidia-persistenced", "nvidia-modprobe", "linux-headers-amd64")
# The packages of each preset, in addition to Debian's base system, the kernel and OpenSSH.
PRESETS = {
    "minimal": (),
    "docker": ("docker.io", "docker-cli", "containerd", "iptables"),
    "nvidia": ("nvidia-kernel-dkms", *_CUDA),
    "nvidia-open": ("nvidia-open-kernel-dkms", *_CUDA),
}
NON_FREE = frozenset({"nvidia", "nvidia-open"})


@dataclass(frozen=True)
class Install:
    """The answers to the installer. A `timezone` of None means the host's; without `ssh_keys` a key pair is made.

    `preseed` contains further lines of preseed.cfg. `late_commands` are scripts that run in the new system, in order.
    """

    user: str
    ssh_keys: tuple[str, ...]
    password_hash: str | None
    locale: str
    keyboard: str
    timezone: str | None
    filesystem: str
    presets: tuple[str, ...]
    packages: tuple[str, ...]
    cmdline: tuple[str, ...]
    preseed: tuple[str, ...]
    late_commands: tuple[Path, ...]


# Accounts of base-passwd, which the installer rejects (user-setup's reserved-usernames).
_RESERVED = frozenset(
    (
        *("root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy"),
        *("www-data", "backup", "list", "irc", "nobody", "sshd", "admin"),
    )
)


def _user(raw: object) -> str:
    name = text(raw)
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
        raise BadValueError("not a user name", "begin with a letter; then a-z, 0-9, _ and -, 31 in all")
    if name in _RESERVED:
        raise BadValueError("belongs to the system", 'choose another name, such as "debian"')
    return name


def _preset(raw: object) -> str:
    name = text(raw)
    if name not in PRESETS:
        raise BadValueError("no such preset", nearest(name, PRESETS))
    return name


_locale = matching(
    r"C\.UTF-8|[a-z]{2,3}_[A-Z]{2}\.UTF-8", "not a UTF-8 locale", 'write it as in "de_DE.UTF-8"'
)
_keyboard = matching(r"[a-z]{2,8}", "not a keyboard layout", 'write the name that XKB gives it: "us", "de"')
# Debian Policy, section 5.6.7. apt-get(8) would remove a package that is written with a - at its end.
_package = matching(
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]",
    "not a package name",
    "write it as `apt search` shows it, with no - at its end",
)


# Without our own answers the guest would have no keys, no list of its packages, and no end that is seen.
_OURS = {
    "preseed/late_command": "name the script in late_commands: it runs in the new system, after our own",
    "preseed/early_command": "leave it out: the installer's watch starts there; late_commands runs at the end",
}


def _preseed_line(raw: object) -> str:
    """A line in the form of debconf-set-selections(1): owner, question, type, value."""
    parts = line(raw).split(maxsplit=3)
    if len(parts) < 3 or "/" not in parts[1]:
        raise BadValueError(
            "not a line of preseed.cfg", 'write "d-i owner/question type value": "d-i time/zone string UTC"'
        )
    if hint := _OURS.get(parts[1]):
        raise BadValueError("the answer of this question is not to be replaced", hint)
    return " ".join(parts)


def _script(raw: object) -> Path:
    return Path(line(raw))


INSTALL = Section(
    Install,
    {
        "user": Field(_user, 'user = "debian"', default="debian"),
        "ssh_keys": Field(
            sequence(values.ssh_key, values.ssh_key_data), 'ssh_keys = ["ssh-ed25519 AAAA..."]', default=[]
        ),
        "password_hash": Field(values.password_hash, 'password_hash = "$6$..."'),
        "locale": Field(_locale, 'locale = "en_US.UTF-8"', default="en_US.UTF-8"),
        "keyboard": Field(_keyboard, 'keyboard = "us"', default="us"),
        "timezone": Field(values.timezone, 'timezone = "Europe/Berlin"'),
        "filesystem": Field(one_of("ext4", "xfs"), 'filesystem = "ext4"', default="ext4"),
        "presets": Field(sequence(_preset), 'presets = ["docker"]', default=["minimal"]),
        "packages": Field(sequence(_package), 'packages = ["htop"]', default=[]),
        "cmdline": Field(sequence(words.cmdline_word), 'cmdline = ["quiet"]', default=[]),
        "preseed": Field(
            sequence(_preseed_line), 'preseed = ["d-i clock-setup/ntp boolean true"]', default=[]
        ),
        "late_commands": Field(sequence(_script), 'late_commands = ["setup.sh"]', default=[]),
    },
)
