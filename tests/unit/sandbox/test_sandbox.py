"""The sandbox's argv: what a build can reach, and what it cannot."""

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import run
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.sandbox import account, chroot, sandbox, seccomp
from hostwright.sandbox.sandbox import Bind, Job

TOOLS = Path("/cache/buildroot/0123/tools")
JOB = Job(
    Path("/cache/buildroot/0123/target"),
    ("sh", "-x", "/build/script"),
    (Bind(Path("/w/sysroot"), "/sysroot"), Bind(Path("/w/build"), "/build", writable=True)),
    env=(("JOBS", "2"),),
)
MACHINE = replace(JOB, argv=("qemu-system-x86_64", "-M", "q35"), proc=True, machine=True)


def pairs(argv: list[str], option: str, count: int = 1) -> list[tuple[str, ...]]:
    return [tuple(argv[i + 1 : i + 1 + count]) for i, word in enumerate(argv) if word == option]


def test_bubblewrap_is_started_by_the_build_roots_own_loader() -> None:
    argv = sandbox.plan_bwrap(JOB, TOOLS)
    library = f"{TOOLS}/usr/lib/x86_64-linux-gnu"
    loader = [f"{TOOLS}/usr/lib64/ld-linux-x86-64.so.2", "--library-path", library]
    shell = [*loader, f"{TOOLS}/usr/bin/sh", "-c", 'exec "$@" 3<"$0"', str(seccomp.path())]
    start = [*shell, *loader, f"{TOOLS}/usr/bin/bwrap", "--seccomp", "3"]
    assert argv[: len(start)] == start


def test_no_network_and_no_namespace_is_shared() -> None:
    argv = sandbox.plan_bwrap(JOB, TOOLS)
    assert "--unshare-all" in argv and "--share-net" not in argv
    assert "--die-with-parent" in argv


def test_a_build_has_no_proc_as_it_has_none_in_a_chroot() -> None:
    assert "--proc" not in sandbox.plan_bwrap(JOB, TOOLS)
    assert pairs(sandbox.plan_bwrap(replace(JOB, proc=True), TOOLS), "--proc") == [("/proc",)]


def test_a_watched_machine_gets_the_network_and_nothing_else() -> None:
    closed = sandbox.plan_bwrap(JOB, TOOLS)
    shared = sandbox.plan_bwrap(replace(JOB, network=True), TOOLS)
    assert [word for word in shared if word != "--share-net"] == closed
    # bubblewrap takes options in order: sharing comes after the word that unshares everything.
    assert shared.index("--share-net") > shared.index("--unshare-all")


def test_only_what_is_declared_can_be_written() -> None:
    argv = sandbox.plan_bwrap(JOB, TOOLS)
    assert pairs(argv, "--bind", 2) == [("/w/build", "/build")]
    assert pairs(argv, "--ro-bind", 2) == [("/cache/buildroot/0123/target", "/"), ("/w/sysroot", "/sysroot")]


def test_no_capability_is_left() -> None:
    assert pairs(sandbox.plan_bwrap(JOB, TOOLS), "--cap-drop") == [("ALL",)]
    assert "--cap-add" not in sandbox.plan_bwrap(JOB, TOOLS)
    for argv in (sandbox.plan_chroot(JOB, TOOLS), sandbox.plan_apart(MACHINE, TOOLS, {})):
        inside = argv[argv.index("/usr/bin/setpriv") :]
        # The last word before the job's own: what comes first in a chroot still needs root's.
        for word in ("--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"):
            assert word in inside[: inside.index("--")]


def test_every_job_has_the_filter() -> None:
    for argv in (sandbox.plan_bwrap(JOB, TOOLS), sandbox.plan_apart(MACHINE, TOOLS, {})):
        assert argv[argv.index("-c") + 2] == str(seccomp.path())
        assert pairs(argv, "--seccomp") == [("3",)]
    assert pairs(sandbox.plan_chroot(JOB, TOOLS), "--seccomp-filter") == [(str(seccomp.path()),)]


def test_a_machine_that_root_starts_has_an_account_without_rights() -> None:
    argv = sandbox.plan_apart(MACHINE, TOOLS, {"/dev/kvm": Path("/cache/devices/kvm")})
    inside = argv[argv.index("/usr/bin/setpriv") :]
    assert inside[1:6] == ["--reuid", "65530", "--regid", "65530", "--clear-groups"]
    # In a user namespace the kernel would still know it as root.
    assert "--unshare-user" not in argv and "--unshare-all" not in argv
    assert {"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"} <= set(argv)
    assert "--unshare-net" not in sandbox.plan_apart(replace(MACHINE, network=True), TOOLS, {})
    assert pairs(argv, "--dev-bind", 2) == [("/cache/devices/kvm", "/dev/kvm")]
    assert inside[-3:] == list(MACHINE.argv)
    # Root has no capability here, and cannot enter the account's folder if that is closed to others.
    assert pairs(argv, "--chdir") == [("/",)]
    assert inside[-5:-3] == ["--chdir=/build", "--"]


def test_a_machine_of_a_plain_user_is_not_called_root_either() -> None:
    argv = sandbox.plan_bwrap(MACHINE, TOOLS)
    assert pairs(argv, "--uid") == pairs(argv, "--gid") == [(str(account.ACCOUNT),)]
    assert pairs(sandbox.plan_bwrap(JOB, TOOLS), "--uid") == [("0",)]


def test_a_machine_in_a_chroot_is_not_root() -> None:
    argv = sandbox.plan_chroot(MACHINE, TOOLS)
    assert pairs(argv, "--reuid") == [(str(account.ACCOUNT),)]
    assert "--reuid" not in sandbox.plan_chroot(JOB, TOOLS)


def test_proc_cannot_be_written() -> None:
    argv = sandbox.plan_apart(MACHINE, TOOLS, {})
    assert argv[argv.index("--proc") : argv.index("--proc") + 4] == [
        "--proc",
        "/proc",
        "--remount-ro",
        "/proc",
    ]


def kind_of_machine(
    monkeypatch: pytest.MonkeyPatch, kind: str, *, user: int, apart: bool = True, word: str | None = None
) -> str:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(sandbox, "_can_stand_apart", lambda _: apart)
    monkeypatch.delenv("HOSTWRIGHT_MACHINES", raising=False)
    if word is not None:
        monkeypatch.setenv("HOSTWRIGHT_MACHINES", word)
    return sandbox.machine_mode(TOOLS, kind)


def test_a_machine_runs_where_it_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kind_of_machine(monkeypatch, "bwrap", user=1000) == "bwrap"
    assert kind_of_machine(monkeypatch, "bwrap", user=0) == "apart"
    assert kind_of_machine(monkeypatch, "bwrap", user=0, word="uncontained") == "apart"


@pytest.mark.parametrize(("kind", "why"), [("chroot", "a chroot has"), ("bwrap", "root may not mount")])
def test_a_machine_that_nothing_contains_is_refused_unless_asked(
    kind: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=f"not contained here: {why}") as error:
        kind_of_machine(monkeypatch, kind, user=0, apart=False)
    assert "HOSTWRIGHT_MACHINES=uncontained" in error.value.hint
    assert kind_of_machine(monkeypatch, kind, user=0, apart=False, word="uncontained") == kind


@pytest.mark.parametrize("kind", ["bwrap", "chroot"])
def test_another_word_for_it_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="HOSTWRIGHT_MACHINES=yes: not known"):
        kind_of_machine(monkeypatch, kind, user=0, word="yes")


def test_a_refused_machine_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sandbox, "mode", lambda _: "chroot")
    monkeypatch.delenv("HOSTWRIGHT_MACHINES", raising=False)
    with pytest.raises(UserError, match="not contained here"), sandbox.entered(MACHINE, TOOLS):
        pass


def test_the_notice_of_a_chroot_names_what_stays_open() -> None:
    for what in ("network", "signals", "shared memory", "build root"):
        assert what in sandbox.CHROOT_NOTICE


def test_what_changes_no_bits_is_in_no_key() -> None:
    """The text of a job is part of the keys of packages."""
    assert sandbox.text(replace(JOB, machine=True, terminal=True)) == sandbox.text(JOB)


@pytest.mark.parametrize("plan", [sandbox.plan_bwrap, sandbox.plan_chroot])
def test_the_environment_is_the_same_everywhere(
    plan: Callable[[Job, Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    monkeypatch.setenv("CFLAGS", "-O0")
    words = " ".join(plan(JOB, TOOLS))
    assert "zh_CN" not in words and "-O0" not in words
    for value in (f"SOURCE_DATE_EPOCH{{}}{EPOCH}", "LC_ALL{}C", "TZ{}UTC", "JOBS{}2"):
        assert value.format(" ") in words or value.format("=") in words


def test_a_chroot_dies_with_its_parent_and_starts_clean() -> None:
    argv = sandbox.plan_chroot(JOB, TOOLS)
    assert argv[argv.index("--pdeathsig") + 1] == "KILL"
    assert "env -i" in " ".join(argv)
    assert argv[-3:] == ["sh", "-x", "/build/script"]


def test_an_unknown_kind_of_sandbox_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTWRIGHT_SANDBOX", "docker")
    with pytest.raises(UserError, match="HOSTWRIGHT_SANDBOX=docker: not a kind of sandbox"):
        sandbox._find_mode(TOOLS)


def test_chroot_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTWRIGHT_SANDBOX", "chroot")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="needs root"):
        sandbox._find_mode(TOOLS)


def test_a_plain_user_without_namespaces_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTWRIGHT_SANDBOX", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(run, "capture", lambda *_: (1, b"", "no"))
    with pytest.raises(UserError) as error:
        sandbox._find_mode(TOOLS)
    assert "kernel.unprivileged_userns_clone" in error.value.hint
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert sandbox._find_mode(TOOLS) == "chroot"


def test_what_a_chroot_writes_is_seen_outside_at_once(tmp_path: Path) -> None:
    outside, inside = tmp_path / "folder", tmp_path / "slot" / "output"
    outside.mkdir()
    (outside / "disk").write_text("before")
    with chroot._bound(outside, inside, writable=True):
        assert (inside / "disk").read_text() == "before"
        (inside / "log").write_text("after")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(inside / "qmp"))
        assert (outside / "log").read_text() == "after"
        assert (outside / "qmp").is_socket()
    assert not outside.is_symlink()
    assert {file.name for file in outside.iterdir()} == {"disk", "log"}
