"""The sandbox of every build and every emulated machine: no network unless requested, fixed paths, a clean environment.

    Job (argv, binds, view) --plan_bwrap()--> argv    user namespaces, or root with mounts
                            --plan_chroot()-> argv    root where neither is allowed (a plain container)

bubblewrap also comes from the build root and is started through the build root's own loader, so the machine needs no
package for it. bwrap(1), chroot(1), setpriv(1).
"""

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hostwright.base import canonical, run
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.sandbox import chroot

LOADER = "usr/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "usr/lib/x86_64-linux-gnu"

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin",
    "HOME": "/build",
    "TMPDIR": "/tmp",
    "SHELL": "/bin/sh",
    "LC_ALL": "C",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": str(EPOCH),
    "PYTHONDONTWRITEBYTECODE": "1",
}

CLOSED = (
    "no sandbox can be made here: user namespaces are closed and you are not root",
    "open them (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0) "
    "or run as root",
)
CHROOT_NOTICE = (
    "notice: namespaces are closed here; builds run in a chroot (network not cut off, build root writable)"
)


@dataclass(frozen=True)
class Bind:
    """A file or folder of this machine at a fixed place in the sandbox."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Job:
    """A program to run in the sandbox: `root` is a view of the build root, `binds` are further files."""

    root: Path
    argv: tuple[str, ...]
    binds: tuple[Bind, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/build"
    devices: tuple[str, ...] = field(default=())
    # For an emulated machine that uses loopback. A build never has the network.
    network: bool = False
    # For a program that is run, not built: configure scripts read /proc, and a chroot has none.
    proc: bool = False
    # For a person at a terminal, who wants job control: a build has a session of its own.
    terminal: bool = False


def environment(job: Job) -> dict[str, str]:
    """The complete environment of a program in the sandbox."""
    return {**ENVIRONMENT, **dict(job.env)}


def text(job: Job) -> str:
    """What a job finds inside and may do, as canonical text: the same wherever it runs and from whichever folders."""
    binds = [(bind.target, bind.writable) for bind in job.binds]
    return canonical.text([job.argv, binds, environment(job), job.cwd, job.devices, job.network, job.proc])


def plan_bwrap(job: Job, tools: Path) -> list[str]:
    """The argv that runs `job` under bubblewrap; `tools` is the build root that contains bwrap."""
    return [
        str(tools / LOADER), "--library-path", str(tools / LIBRARIES), str(tools / "usr/bin/bwrap"),
        "--unshare-all", *(("--share-net",) if job.network else ()),
        "--uid", "0", "--gid", "0",
        "--hostname", "hostwright",
        "--die-with-parent", *(() if job.terminal else ("--new-session",)), "--clearenv",
        "--ro-bind", str(job.root), "/",
        *(("--proc", "/proc") if job.proc else ()), "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run",
        *_binds(job.binds),
        *(word for name in job.devices for word in ("--dev-bind", name, name)),
        *(word for pair in environment(job).items() for word in ("--setenv", *pair)),
        "--chdir", job.cwd, "--",
        *job.argv,
    ]  # fmt: skip


def _binds(binds: Sequence[Bind]) -> list[str]:
    return [
        word
        for bind in binds
        for word in ("--bind" if bind.writable else "--ro-bind", str(bind.source), bind.target)
    ]


def plan_chroot(job: Job, tools: Path) -> list[str]:
    """The argv that runs `job` in a chroot whose binds have been placed by `chroot.placed`."""
    inside = ["env", "-i", *(f"{name}={value}" for name, value in environment(job).items())]
    change = ["sh", "-c", 'cd "$1" && shift && umask 022 && exec "$@"', "sh", job.cwd]
    loader = [str(tools / LOADER), "--library-path", str(tools / LIBRARIES)]
    return [
        *loader, str(tools / "usr/bin/setpriv"), "--pdeathsig", "KILL",
        *loader, str(tools / "usr/sbin/chroot"), str(job.root),
        *inside, *change, *job.argv,
    ]  # fmt: skip


@functools.cache
def mode(tools: Path) -> str:
    """`bwrap` or `chroot`, found by trying; HOSTWRIGHT_SANDBOX overrides it.

    Raises UserError if neither works.
    """
    found = _find_mode(tools)
    if found == "chroot":
        print(CHROOT_NOTICE, file=sys.stderr)
    return found


def _find_mode(tools: Path) -> str:
    if forced := os.environ.get("HOSTWRIGHT_SANDBOX"):
        return _forced(forced)
    status, _, _ = run.capture(plan_bwrap(Job(tools, ("true",), cwd="/", proc=True), tools))
    if status == 0:
        return "bwrap"
    if os.geteuid() != 0:
        raise UserError(*CLOSED)
    return "chroot"


def _forced(name: str) -> str:
    if name not in ("bwrap", "chroot"):
        raise UserError(
            f"HOSTWRIGHT_SANDBOX={name}: not a kind of sandbox", "use bwrap or chroot, or unset it"
        )
    if name == "chroot" and os.geteuid() != 0:
        raise UserError("HOSTWRIGHT_SANDBOX=chroot needs root", "unset it, or run as root")
    return name


@contextmanager
def entered(job: Job, tools: Path) -> Iterator[list[str]]:
    """The argv that runs `job`, with its binds in place as long as the `with` block runs."""
    os.umask(0o022)
    if mode(tools) == "bwrap":
        yield plan_bwrap(job, tools)
        return
    with chroot.placed(job.root, [(b.source, b.target, b.writable) for b in job.binds]) as root:
        yield plan_chroot(replace(job, root=root), tools)


def execute(what: str, job: Job, tools: Path, log: Path) -> None:
    """Run `job` and append its output to `log`; raises `run.ProgramError` for a status other than 0."""
    with entered(job, tools) as argv:
        run.check(what, argv, log)


def output(job: Job, tools: Path, stdin: bytes = b"") -> bytes:
    """Run a short `job` and return its standard output; raises UserError for a status other than 0."""
    with entered(job, tools) as argv:
        status, out, err = run.capture(argv, stdin=stdin)
    if status != 0:
        raise UserError(f"{job.argv[0]} ended with status {status}: {err.strip()}")
    return out
