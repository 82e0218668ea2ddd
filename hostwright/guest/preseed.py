"""The answers of an unattended install: preseed.cfg and the data of its last command, checked before a machine starts.

    guest/preseed.cfg.j2 + Guest --> render --> check (against the medium's questions) --> entries --> medium

Sources: Debian's installation guide, appendix B; debconf-set-selections(1).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hostwright.base import paths, texts
from hostwright.base.errors import UserError
from hostwright.formats.control import Stanza
from hostwright.formats.cpio import Entry
from hostwright.guest.udeb import Template
from hostwright.image.templates import render_text
from hostwright.machine.grammar import nearest
from hostwright.machine.install import NON_FREE, PRESETS, Install
from hostwright.machine.model import Guest, Machine
from hostwright.source import closure
from hostwright.source.index import SUITE

TEMPLATE = paths.GUEST / "preseed.cfg.j2"
LATE = paths.GUEST / "late.sh"
WATCH = paths.GUEST / "watch.sh"

# Owners besides the installer itself: packages of the new system with questions during the install.
OWNERS = (
    "d-i",
    "tasksel",
    "popularity-contest",
    "tzdata",
    "locales",
    "keyboard-configuration",
    "console-setup",
)

# Without one of these the installer stops and asks, or cannot go on.
MANDATORY = (
    "debian-installer/locale",
    "keyboard-configuration/xkb-keymap",
    "netcfg/get_hostname",
    "mirror/http/hostname",
    "mirror/http/directory",
    "passwd/username",
    "passwd/user-password-crypted",
    "time/zone",
    "partman-auto/disk",
    "partman-auto/method",
    "partman-auto/choose_recipe",
    "partman/choose_partition",
    "partman/confirm",
    "base-installer/kernel/image",
    "grub-installer/bootdev",
    "preseed/late_command",
)

SERIAL_CONSOLES = ("console=tty0", "console=ttyS0,115200n8")


@dataclass(frozen=True)
class Answer:
    """One line of preseed.cfg, and its number."""

    owner: str
    question: str
    type: str
    value: str
    line: int


def packages(install: Install) -> list[str]:
    """The packages to install besides base system and kernel.

    They include a way to log in, dbus (without it the power button has no effect), certificates for an archive behind
    https, and lspci.
    """
    chosen = [name for preset in install.presets for name in PRESETS[preset]]
    return list(
        dict.fromkeys(
            ["openssh-server", "sudo", "dbus", "ca-certificates", "pciutils", *chosen, *install.packages]
        )
    )


def components(install: Install) -> tuple[str, ...]:
    """The components of the archive that the packages come from."""
    return ("main", "contrib", "non-free", "non-free-firmware") if _is_non_free(install) else ("main",)


def _is_non_free(install: Install) -> bool:
    return not NON_FREE.isdisjoint(install.presets)


def check_packages(install: Install, stanzas: Sequence[Stanza]) -> None:
    """Raise UserError for packages that are not in the archive, or that depend on one that is not.

    `stanzas` are the paragraphs of the components in use.
    """
    known = {one["Package"] for one in stanzas}
    hint = f"correct guest.install.packages; components in use: {', '.join(components(install))}"
    if missing := [name for name in packages(install) if name not in known]:
        raise UserError(f"guest.install: the archive's {SUITE} has no package {', '.join(missing)}", hint)
    if unmet := closure.find_unmet(stanzas, packages(install), "guest.install"):
        name, needed = unmet[0]
        raise UserError(
            f"guest.install: {name} depends on {needed}, which the archive's {SUITE} does not have", hint
        )


def render(machine: Machine, guest: Guest, archive: str) -> str:
    """preseed.cfg of `guest`; `archive` is host:port as the installer reaches it."""
    install = guest.install
    values = {
        "guest": guest,
        "install": install,
        "suite": SUITE,
        "archive": archive,
        "timezone": install.timezone or machine.timezone,
        "packages": packages(install),
        "non_free": _is_non_free(install),
        "kernel_words": (*SERIAL_CONSOLES, *install.cmdline),
    }
    return render_text(TEMPLATE.read_text(), TEMPLATE.name, values)


def parse(text: str) -> Iterator[Answer]:
    """The answers of a preseed file; continued lines are joined, comments removed."""
    joined = re.sub(r"\\\n\s*", lambda _: "\x00", text)
    number = 1
    for line in joined.split("\n"):
        words = line.replace("\x00", "").split(maxsplit=3)
        if words and not words[0].startswith("#"):
            owner, question, kind, value = (words + [""] * 3)[:4]
            yield Answer(owner, question, kind, value, number)
        number += 1 + line.count("\x00")


def check(text: str, known: Mapping[str, Template], where: str) -> None:
    """Reject unknown questions, invalid choices and missing answers.

    `known` contains the questions of the medium. Raises UserError with the line.
    """
    given = list(parse(text))
    for answer in given:
        _check_answer(answer, known, where)
    values = {answer.question: answer.value for answer in given}
    if missing := [question for question in MANDATORY if not values.get(question)]:
        raise UserError(
            f"{where}: no answer to {', '.join(missing)}: the installer would stop and ask",
            "remove the line that empties it from guest.install.preseed",
        )


def _check_answer(answer: Answer, known: Mapping[str, Template], where: str) -> None:
    place = f"{where}:{answer.line}: {answer.owner} {answer.question}"
    if answer.owner not in OWNERS:
        raise UserError(
            f"{place}: no part of the installer is called {answer.owner}", nearest(answer.owner, OWNERS)
        )
    if answer.owner != "d-i":
        return
    if answer.question not in known:
        raise UserError(
            f"{place}: the medium has no such question", _nearest_question(answer.question, known)
        )
    choices = known[answer.question].choices
    if known[answer.question].type == "select" and choices and answer.value not in choices:
        raise UserError(f"{place}: {answer.value!r} is not offered", nearest(answer.value, tuple(choices)))


def _nearest_question(question: str, known: Mapping[str, Template]) -> str:
    import difflib

    near = difflib.get_close_matches(question, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else "leave the line out"


def entries(guest: Guest, text: str, keys: tuple[str, ...], sources: str) -> list[Entry]:
    """The files that the medium gets besides its own: preseed.cfg, the watch, and the last command with its data.

    `keys` are lines of authorized_keys; `sources` is the sources.list(5) that the guest keeps.
    """
    files = {
        "preseed.cfg": (text, 0o600),
        "usr/lib/debian-installer-startup.d/S11hostwright": (WATCH.read_text(), 0o755),
        "hostwright/late": (LATE.read_text(), 0o755),
        "hostwright/user": (f"{guest.install.user}\n", 0o644),
        "hostwright/authorized_keys": ("".join(f"{key}\n" for key in keys), 0o600),
        "hostwright/sources.list": (sources, 0o644),
    }
    if guest.install.password_hash is None:
        files["hostwright/without-password"] = ("", 0o644)
    for number, script in enumerate(guest.install.late_commands):
        files[f"hostwright/late.d/{number:02}-{script.name}"] = (texts.read_text(script), 0o755)
    return [Entry(path, 0o100000 | mode, content.encode()) for path, (content, mode) in files.items()]


def sources_list(mirror: str, security: str | None, install: Install) -> str:
    """sources.list(5) of the installed guest: the machine's own mirror, and its security archive if there is one."""
    parts = " ".join(components(install))
    lines = [f"deb {mirror} {SUITE} {parts}", f"deb {mirror} {SUITE}-updates {parts}"]
    if security:
        lines.append(f"deb {security} {SUITE}-security {parts}")
    return "\n".join(lines) + "\n"
