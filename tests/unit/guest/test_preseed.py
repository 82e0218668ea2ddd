"""Answers are checked before a machine starts: unknown questions, invalid choices, missing answers."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.guest import preseed
from hostwright.guest.udeb import Template
from hostwright.machine.load import load
from hostwright.machine.model import Guest, Machine
from hostwright.vm import guest_argv

MACHINE: Machine = load(paths.TREE / "host.toml")
GUEST: Guest = MACHINE.guests[0]
GOLDEN = paths.GOLDEN / "preseed.cfg"
ARCHIVE = guest_argv.ARCHIVE


def with_install(**changes: object) -> Guest:
    return replace(GUEST, install=replace(GUEST.install, **changes))  # type: ignore[arg-type]


def known(text: str) -> dict[str, Template]:
    """Questions of a medium that has exactly those with an answer."""
    found = {answer.question: Template("x", "string") for answer in preseed.parse(text)}
    return found | {"partman-auto/method": Template("partman-auto", "select", ("regular", "lvm"))}


def refusal(guest: Guest) -> UserError:
    with pytest.raises(UserError) as caught:
        preseed.check(
            preseed.render(MACHINE, guest, ARCHIVE),
            known(preseed.render(MACHINE, GUEST, ARCHIVE)),
            "preseed.cfg",
        )
    return caught.value


def test_the_answers_are_the_reviewed_ones() -> None:
    assert preseed.render(MACHINE, GUEST, ARCHIVE) == GOLDEN.read_text()


def test_the_answers_of_the_lab_are_good() -> None:
    text = preseed.render(MACHINE, GUEST, ARCHIVE)
    preseed.check(text, known(text), "preseed.cfg")


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("di netcfg/get_hostname string a", "no part of the installer is called di", 'did you mean "d-i"?'),
        ("d-i netcfg/get_hostnam string a", "the medium has no such question", "netcfg/get_hostname"),
        ("d-i partman-auto/method select lvn", "'lvn' is not offered", 'did you mean "lvm"?'),
        ("d-i partman-auto/disk string", "no answer to partman-auto/disk", "guest.install.preseed"),
    ],
)
def test_a_bad_line_is_refused_before_anything_starts(line: str, what: str, hint: str) -> None:
    error = refusal(with_install(preseed=(line,)))
    assert what in error.message
    assert hint in error.hint


def test_a_bad_line_is_named_by_its_number() -> None:
    text = preseed.render(MACHINE, with_install(preseed=("di a/b string c",)), ARCHIVE)
    number = text.splitlines().index("di a/b string c") + 1
    assert refusal(with_install(preseed=("di a/b string c",))).message.startswith(f"preseed.cfg:{number}: ")


def test_a_package_may_be_told_things_too() -> None:
    text = preseed.render(MACHINE, with_install(preseed=("tzdata tzdata/Areas select Europe",)), ARCHIVE)
    preseed.check(text, known(text), "preseed.cfg")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"filesystem": "xfs"}, "filesystem{ xfs }"),
        ({"presets": ("docker",)}, "docker.io"),
        ({"presets": ("nvidia",)}, "apt-setup/non-free boolean true"),
        ({"packages": ("htop",)}, " htop"),
        ({"cmdline": ("quiet",)}, "console=ttyS0,115200n8 quiet"),
        ({"timezone": "Europe/Berlin"}, "time/zone string Europe/Berlin"),
        ({"password_hash": "$6$x$y"}, "password $6$x$y"),
    ],
)
def test_what_host_toml_says_reaches_the_installer(changes: dict[str, object], line: str) -> None:
    assert line in preseed.render(MACHINE, with_install(**changes), ARCHIVE)
    assert line not in preseed.render(MACHINE, GUEST, ARCHIVE)


def test_the_medium_gets_keys_hooks_and_the_last_command(tmp_path: Path) -> None:
    hook = tmp_path / "setup.sh"
    hook.write_text("#!/bin/sh\ntrue\n")
    found = {
        entry.path: entry
        for entry in preseed.entries(
            with_install(late_commands=(hook,)), "text", ("key one", "key two"), "deb x\n"
        )
    }
    assert found["preseed.cfg"].content == b"text"
    assert found["hostwright/authorized_keys"].content == b"key one\nkey two\n"
    assert found["hostwright/late.d/00-setup.sh"].content == hook.read_bytes()
    assert stat.S_IMODE(found["hostwright/late"].mode) == 0o755
    assert "hostwright/without-password" in found


def test_with_a_password_sudo_asks_for_it() -> None:
    found = preseed.entries(with_install(password_hash="$6$x$y"), "", (), "")
    assert "hostwright/without-password" not in {entry.path for entry in found}


def test_the_guest_keeps_the_machines_own_archive() -> None:
    text = preseed.sources_list("http://127.0.0.1/debian", "http://127.0.0.1/security", GUEST.install)
    assert text.splitlines() == [
        "deb http://127.0.0.1/debian trixie main",
        "deb http://127.0.0.1/debian trixie-updates main",
        "deb http://127.0.0.1/security trixie-security main",
    ]


def test_a_package_that_the_archive_lacks_is_named_before_anything_starts() -> None:
    install = with_install(packages=("htop", "no-such-thing")).install
    with pytest.raises(UserError) as caught:
        preseed.check_packages(install, archive(*preseed.packages(GUEST.install), "htop"))
    assert caught.value.message.endswith("has no package no-such-thing")
    preseed.check_packages(install, archive(*preseed.packages(install)))


def archive(*names: str, **depends: str) -> list[dict[str, str]]:
    return [{"Package": name, "Depends": depends.get(name.replace("-", "_"), "")} for name in names]


def test_a_package_that_depends_on_another_component_is_named_before_anything_starts() -> None:
    install = with_install(packages=("driver",)).install
    names = (*preseed.packages(install), "library")
    preseed.check_packages(install, archive(*names, driver="nothing | library (>= 1)"))
    with pytest.raises(
        UserError, match="library depends on firmware, which the archive's trixie does not have"
    ):
        preseed.check_packages(install, archive(*names, driver="library", library="firmware (= 1)"))


@pytest.mark.parametrize("preset", ["nvidia", "nvidia-open"])
def test_the_drivers_firmware_is_in_a_component_that_the_guest_gets(preset: str) -> None:
    guest = with_install(presets=(preset,))
    text = preseed.render(MACHINE, guest, "archive")
    assert "d-i apt-setup/non-free-firmware boolean true\n" in text
    assert "non-free-firmware" in preseed.sources_list("http://127.0.0.1/debian", None, guest.install)
    assert not [name for name in preseed.packages(guest.install) if "xorg" in name or name == "nvidia-driver"]
