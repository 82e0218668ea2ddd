"""The sandbox of every build and every emulated machine: no network unless requested, fixed paths, a clean environment.

    Job (argv, binds, view) --plan_bwrap()--> argv    user namespaces
                            --plan_apart()--> argv    an emulated machine that root starts: an account of its own
                            --plan_chroot()-> argv    root where neither is allowed (a plain container)

No kind leaves a job a capability, or a system call of `seccomp`. bubblewrap also comes from the build root and is
started through the build root's own loader, so the machine needs no package for it. bwrap(1), chroot(1), setpriv(1).
"""

import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hostwright.base import canonical, run
from hostwright.base.errors import UserError
from hostwright.base.times import EPOCH
from hostwright.sandbox import account, chroot, seccomp

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
MACHINES_VARIABLE = "HOSTWRIGHT_MACHINES"
ASKED = "uncontained"
CHROOT_NOTICE = (
    "notice: namespaces are closed here; builds run in a chroot, as root without capabilities. It does not contain "
    "the network, signals to root's processes, shared memory, and changes to the build root's copy; emulated "
    f"machines are refused unless {MACHINES_VARIABLE}={ASKED} (docs/security.md)"
)
REFUSED = (
    "emulated machines are not contained here: {why}",
    "run as a plain user where namespaces are open, or as root where mounts are; if you trust what the machine runs, "
    f"set {MACHINES_VARIABLE}={ASKED} (docs/security.md says what that leaves open)",
)

# What a job loses, last of all. The loss needs the capability to lose one.
WITHOUT_CAPABILITIES = ("--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs")
# Until the job has its account, bubblewrap needs these of root's.
CHANGING_ACCOUNT = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
FILTER_FD = "3"


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
    # An emulated machine: what runs in it is not trusted, so it has no account that owns anything else.
    machine: bool = False
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
    number = str(account.ACCOUNT if job.machine else 0)
    return [
        *_bwrap(tools), "--unshare-all", *(("--share-net",) if job.network else ()),
        "--uid", number, "--gid", number, "--cap-drop", "ALL",
        *_closed(job), *_devices({name: Path(name) for name in job.devices}), "--",
        *job.argv,
    ]  # fmt: skip


def plan_apart(job: Job, tools: Path, nodes: Mapping[str, Path]) -> list[str]:
    """The argv that runs an emulated machine for root: no user namespace, and an account without rights.

    A namespace would show root as another number, yet the machine's kernel would still see root.
    """
    return [
        *_bwrap(tools), "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try",
        *(() if job.network else ("--unshare-net",)),
        "--cap-drop", "ALL", *(word for name in CHANGING_ACCOUNT for word in ("--cap-add", name)),
        *_closed(replace(job, cwd="/")), *_devices(nodes), "--",
        # The account may enter its folder, which can be closed to root without capabilities.
        *_losing(job), "/usr/bin/env", f"--chdir={job.cwd}", "--",
        *job.argv,
    ]  # fmt: skip


def _started(tools: Path, program: str) -> list[str]:
    """The first words of an argv that starts a program of the build root."""
    return [str(tools / LOADER), "--library-path", str(tools / LIBRARIES), str(tools / program)]


def _bwrap(tools: Path) -> list[str]:
    """bubblewrap reads its filter from a file that a shell has opened for it."""
    opened = f'exec "$@" {FILTER_FD}<"$0"'
    shell = [*_started(tools, "usr/bin/sh"), "-c", opened, str(seccomp.path())]
    return [*shell, *_started(tools, "usr/bin/bwrap"), "--seccomp", FILTER_FD]


def _closed(job: Job) -> list[str]:
    """What each kind of bubblewrap gives a job: files, an environment, and nothing else."""
    return [
        "--hostname", "hostwright",
        "--die-with-parent", *(() if job.terminal else ("--new-session",)), "--clearenv",
        "--ro-bind", str(job.root), "/",
        # All of it read-only: /proc/sys belongs to the machine's root, whatever a namespace calls it.
        *(("--proc", "/proc", "--remount-ro", "/proc") if job.proc else ()),
        "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run",
        *_binds(job.binds),
        *(word for pair in environment(job).items() for word in ("--setenv", *pair)),
        "--chdir", job.cwd,
    ]  # fmt: skip


def _devices(nodes: Mapping[str, Path]) -> list[str]:
    return [word for name, node in nodes.items() for word in ("--dev-bind", str(node), name)]


def _losing(job: Job) -> list[str]:
    """The words that take from a job what root has: capabilities, and for a machine the account too."""
    number = str(account.ACCOUNT)
    apart = ("--reuid", number, "--regid", number, "--clear-groups") if job.machine else ()
    return ["/usr/bin/setpriv", *apart, *WITHOUT_CAPABILITIES, "--"]


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
    return [
        *_started(tools, "usr/bin/setpriv"), "--pdeathsig", "KILL",
        "--no-new-privs", "--seccomp-filter", str(seccomp.path()), "--",
        *_started(tools, "usr/sbin/chroot"), str(job.root),
        *_losing(job), *inside, *change, *job.argv,
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
    seccomp.place()
    if _works(plan_bwrap(Job(tools, ("true",), cwd="/", proc=True), tools)):
        return "bwrap"
    if os.geteuid() != 0:
        raise UserError(*CLOSED)
    return "chroot"


def _works(argv: Sequence[str]) -> bool:
    return run.capture(argv)[0] == 0


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
    seccomp.place()
    kind = mode(tools)
    if job.machine:
        kind = machine_mode(tools, kind)
    with ExitStack() as stack:
        yield _ENTER[kind](job, tools, stack)


def _enter_bwrap(job: Job, tools: Path, _: ExitStack) -> list[str]:
    return plan_bwrap(job, tools)


def _enter_apart(job: Job, tools: Path, stack: ExitStack) -> list[str]:
    stack.enter_context(account.lent([bind.source for bind in job.binds if bind.writable]))
    return plan_apart(job, tools, account.nodes(job.devices))


def _enter_chroot(job: Job, tools: Path, stack: ExitStack) -> list[str]:
    binds = [(bind.source, bind.target, bind.writable) for bind in job.binds]
    root = stack.enter_context(chroot.placed(job.root, binds))
    if job.machine:
        lent = [root / bind.target.lstrip("/") for bind in job.binds if bind.writable]
        stack.enter_context(account.lent(lent))
    return plan_chroot(replace(job, root=root), tools)


_ENTER = {"bwrap": _enter_bwrap, "apart": _enter_apart, "chroot": _enter_chroot}


def machine_mode(tools: Path, kind: str) -> str:
    """The kind for an emulated machine where builds use `kind`: `apart` is bubblewrap for root.

    Raises UserError if nothing here contains it, unless that was asked for.
    """
    asked = _is_asked()
    if kind == "bwrap" and os.geteuid() != 0:
        return kind
    if kind == "bwrap" and _can_stand_apart(tools):
        return "apart"
    if asked:
        return kind
    why = "a chroot has the machine's network and processes" if kind == "chroot" else "root may not mount"
    raise UserError(REFUSED[0].format(why=why), REFUSED[1])


def _is_asked() -> bool:
    word = os.environ.get(MACHINES_VARIABLE, "")
    if word not in ("", ASKED):
        raise UserError(f"{MACHINES_VARIABLE}={word}: not known", f"use {ASKED}, or unset it")
    return bool(word)


@functools.cache
def _can_stand_apart(tools: Path) -> bool:
    return _works(plan_apart(Job(tools, ("true",), cwd="/", proc=True, machine=True), tools, {}))


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
