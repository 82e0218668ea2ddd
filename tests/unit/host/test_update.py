"""hostwright-update on a made-up host: GRUB's environment, what was changed in a slot, and the verdict of a boot."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hostwright.image import grub, rootfs
from hostwright.image.rootfs import Node
from tests.fakes.host import FakeHost

ENVIRONMENT = "run/hostwright/update/esp/grub/grubenv"
RECORD = "var/lib/hostwright/update/failed"
SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
RELEASE = "VERSION_ID=1.2.3\nBUILD_ID=0123456789abcdef\nVARIANT_ID=lab\n"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, SHELLS[0])


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def two_shells(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    return FakeHost(tmp_path, request.param)


def arrange(host: FakeHost, running: str = "a", **environment: str) -> None:
    """A host that runs from a slot of sda; its EFI system partition is a folder that counts as mounted."""
    other = "b" if running == "a" else "a"
    for name, part in {f"root-{running}": "sda3", f"root-{other}": "sda4"}.items():
        host.write(f"sys/class/block/{part}/uevent", f"DEVNAME={part}\nPARTNAME={name}\n")
    host.write("dev/.keep", "")
    (host.root / "dev/hostwright").mkdir()
    for name, part in {"root": "sda3", "other": "sda4", "esp": "sda2"}.items():
        (host.root / f"dev/hostwright/{name}").symlink_to(f"../{part}")
    host.write(ENVIRONMENT, grub.environment(**{"good": "a", **environment}))
    host.write("etc/os-release", RELEASE)
    for name in ("mount", "umount", "mountpoint", "sync"):
        host.command(name)


def environment(host: FakeHost) -> dict[str, str]:
    text = (host.root / ENVIRONMENT).read_text()
    assert len(text) == 1024 and text.startswith("# GRUB Environment Block\n")
    return dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))


def update(host: FakeHost, *words: str, stdin: str = "") -> tuple[int, str]:
    done = host.run("usr/sbin/hostwright-update", *words, stdin=stdin)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("running", ["a", "b"])
def test_a_green_slot_that_is_tried_starts_from_then_on(two_shells: FakeHost, running: str) -> None:
    arrange(two_shells, running, good="b" if running == "a" else "a", tried=running)
    status, said = update(two_shells, "verdict", "green")
    assert status == 0
    assert f"[ OK ] update: slot {running} (version 1.2.3, build 0123456789abcdef) is green" in said
    assert environment(two_shells) == {"good": running, "try": "", "tried": ""}


def test_a_red_slot_leaves_the_host_to_the_other_one_and_says_why(two_shells: FakeHost) -> None:
    arrange(two_shells, "b", good="a", tried="b")
    two_shells.command("shutdown")
    assert update(two_shells, "verdict", "red", stdin="FAIL  module:x  not loaded\n")[0] == 0
    assert (two_shells.root / RECORD).read_text() == (
        "slot b was tried, and its self-check was red:\nFAIL  module:x  not loaded\n"
    )
    assert "shutdown -r now" in two_shells.calls()
    assert environment(two_shells)["good"] == "a"


@pytest.mark.parametrize("known", [True, False])
def test_the_old_slot_reports_what_became_of_the_try(two_shells: FakeHost, known: bool) -> None:
    arrange(two_shells, "a", good="a", tried="b")
    if known:
        two_shells.write(RECORD, "slot b was tried, and its self-check was red:\nFAIL x\n")
    said = update(two_shells, "verdict", "green")[1]
    reason = "its self-check was red" if known else "did not reach the end of its self-check"
    assert f"{reason}" in said and "slot a runs again" in said
    assert environment(two_shells) == {"good": "a", "try": "", "tried": ""}
    assert reason in (two_shells.root / RECORD).read_text()


@pytest.mark.parametrize("result", ["green", "red"])
def test_a_boot_without_a_try_changes_nothing(host: FakeHost, result: str) -> None:
    arrange(host)
    before = (host.root / ENVIRONMENT).read_bytes()
    assert update(host, "verdict", result) == (0, "")
    assert (host.root / ENVIRONMENT).read_bytes() == before


def test_a_slot_on_trial_without_a_verdict_is_left_after_a_while(two_shells: FakeHost) -> None:
    host = two_shells
    arrange(host, "b", good="a", tried="b")
    host.command("sleep", "exec /bin/sleep 0.1")
    host.command("reboot")
    assert "slot b is on trial, and has 900 s" in update(host, "deadline")[1]
    wait_for(lambda: "reboot -f -n -d" in host.calls())
    assert (host.root / RECORD).read_text() == "slot b was tried, and had no verdict after 900 s\n"
    assert "sleep 900" in host.calls()


def test_a_verdict_in_time_ends_the_wait(host: FakeHost) -> None:
    arrange(host, "b", good="a", tried="b")
    # The marker is there before the wait is over, as a boot leaves it.
    host.command("sleep", f"touch {host.root}/run/hostwright/verdict; touch {host.root}/slept")
    host.command("reboot")
    assert update(host, "deadline")[0] == 0
    wait_for((host.root / "slept").exists)
    time.sleep(0.2)
    assert "reboot -f -n -d" not in host.calls()
    assert not (host.root / RECORD).exists()


@pytest.mark.parametrize("given", [{}, {"good": "a", "tried": "b"}, {"good": "b", "tried": "a"}])
def test_only_a_slot_on_trial_has_a_deadline(host: FakeHost, given: dict[str, str]) -> None:
    running = "b" if given.get("good") == "b" else "a"
    arrange(host, running, **given)
    assert update(host, "deadline") == (0, "")


@pytest.mark.parametrize("word", ["", "hostwright.nopassthrough", "hostwright.selfcheck"])
def test_entries_that_give_no_verdict_have_no_deadline(host: FakeHost, word: str) -> None:
    script = host.root / "usr/sbin/hostwright-update"
    host.write("usr/sbin/hostwright-update", f'#!/bin/sh\necho "$1" >{host.root}/called\n')
    script.chmod(0o755)
    host.write("proc/cmdline", f"root=/dev/sda3 ro {word}\n")
    assert host.init("trial", "start").returncode == 0
    assert (host.root / "called").exists() == (word == "")


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20.0
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def write_manifest(host: FakeHost) -> None:
    """What the build would list of this host as it is now."""
    paths = [path for path in sorted(host.root.rglob("*")) if path.is_symlink() or path.is_file()]
    nodes = [
        Node(str(path.relative_to(host.root)), 0o777, "fake", link=str(path.readlink()))
        if path.is_symlink()
        else Node(str(path.relative_to(host.root)), path.stat().st_mode & 0o7777, "fake", path)
        for path in paths
        if not path.is_relative_to(host.root / "var")
    ]
    text = rootfs.list_slot(rootfs.digested(nodes)).content
    assert isinstance(text, bytes)
    host.write(rootfs.MANIFEST, text.decode())


def listed(said: str) -> set[str]:
    return {line for line in said.splitlines() if line.split()[0] in ("changed", "removed", "added")}


def test_what_was_changed_is_listed_and_what_the_host_writes_itself_is_not(two_shells: FakeHost) -> None:
    """Content, modes and links: a service that was switched off is an edit too."""
    host = two_shells
    arrange(host)
    for name in ("etc/same", "etc/changed", "etc/opened", "etc/gone", "root/.bash_history"):
        host.write(name, "1").chmod(0o600)
    for name in ("kept", "moved", "off"):
        (host.root / f"etc/{name}.link").symlink_to("same")
    write_manifest(host)
    host.write("etc/changed", "2")
    (host.root / "etc/opened").chmod(0o644)
    (host.root / "etc/gone").unlink()
    (host.root / "etc/off.link").unlink()
    (host.root / "etc/moved.link").unlink()
    (host.root / "etc/moved.link").symlink_to("changed")
    (host.root / "etc/on.link").symlink_to("same")
    host.write("root/.bash_history", "2")
    host.write("etc/new file", "1")
    host.write("etc/resolv.conf", "nameserver 10.0.0.1")
    host.write("var/log/messages", "a line")
    said = listed(update(host, "changes")[1])
    assert {line for line in said if "/etc/" in line or "/root/" in line or "/var/" in line} == {
        *("changed /etc/changed", "changed /etc/opened", "changed /etc/moved.link"),
        *("removed /etc/gone", "removed /etc/off.link", "added /etc/on.link", "added /etc/new file"),
    }


Spoil = Callable[[FakeHost], None]
NO_UPDATE: dict[str, tuple[Spoil, str]] = {
    "absent": (lambda host: None, "is no file"),
    "text": (lambda host: put(host, b"not a tar"), "is no whole update of Hostwright"),
    "other members": (lambda host: put_tar(host, "manifest", "evil"), "is no whole update of Hostwright"),
    "unsigned": (lambda host: put_tar(host, "manifest", "root.tar.xz"), "is not signed"),
    "no key": (
        lambda host: put_tar(host, "manifest", "manifest.sig", "root.tar.xz"),
        "no key may sign updates",
    ),
}


def put(host: FakeHost, content: bytes) -> None:
    (host.root / "file").write_bytes(content)


def put_tar(host: FakeHost, *names: str) -> None:
    from hostwright.image.update import write_tar

    write_tar(host.root / "file", [(name, b"x") for name in names])


@pytest.mark.parametrize("case", NO_UPDATE)
def test_what_is_no_update_is_refused_in_one_line_and_nothing_is_written(host: FakeHost, case: str) -> None:
    arrange(host, tried="b")
    before = (host.root / ENVIRONMENT).read_bytes()
    spoil, reason = NO_UPDATE[case]
    spoil(host)
    status, said = update(host, str(host.root / "file"))
    assert (status, reason in said, len(said.splitlines())) == (1, True, 1)
    assert (host.root / ENVIRONMENT).read_bytes() == before
    assert not [call for call in host.calls() if call.startswith(("mkfs", "mount "))]


@pytest.mark.parametrize("given", [{"good": "a"}, {"good": "a", "tried": "b"}])
def test_the_good_slot_is_not_given_up_by_one_that_is_not(host: FakeHost, given: dict[str, str]) -> None:
    arrange(host, "b", **given)
    put_tar(host, "manifest", "manifest.sig", "root.tar.xz")
    status, said = update(host, str(host.root / "file"))
    assert (status, "slot a is the one that starts, and slot b runs" in said) == (1, True)
    assert not [call for call in host.calls() if call.startswith("mkfs")]


@pytest.mark.parametrize(
    "words",
    [(), ("--keep",), ("--keep", "relative", "f"), ("--no", "f"), ("status", "x"), ("verdict", "blue")],
)
def test_wrong_calls(host: FakeHost, words: tuple[str, ...]) -> None:
    status, said = update(host, *words)
    assert (status, "hostwright-update status" in said) == (2, True)


def test_a_host_without_slots_says_so(host: FakeHost) -> None:
    status, said = update(host, "status")
    assert (status, "does not run from a disk with two slots" in said) == (1, True)


def test_the_way_back_needs_something_that_starts(host: FakeHost, tmp_path: Path) -> None:
    arrange(host)
    status, said = update(host, "back")
    assert (status, "slot b has nothing that starts" in said) == (1, True)
    slot = "run/hostwright/update/slot"
    host.write(f"{slot}/boot/grub/grub.cfg", "menu")
    host.write(f"{slot}/etc/os-release", RELEASE)
    assert update(host, "back")[0] == 0
    assert environment(host) == {"good": "b", "try": "", "tried": ""}
