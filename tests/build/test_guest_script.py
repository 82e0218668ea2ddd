"""guest in the host's own root file system, with its own QEMU and firmware: a machine that stops at the UEFI shell.

The sandbox has one account and no cgroup: tests/boot/test_confined.py has the confinement of a booted host.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.image import guest_files
from hostwright.machine.load import load
from hostwright.sandbox import buildroot, sandbox
from hostwright.sandbox.sandbox import Bind, Job
from hostwright.vm import guest_argv
from tests.fakes.confined import CONFINED

# A line before what each step says. Another network than none would have the firmware look for a server.
STEPS = """
log=/var/lib/hostwright/guests/shell/console.log
step() { echo "== $1"; shift; "$@" 2>&1; echo "status $?"; }
wait_for() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || return 1
        sleep 0.5
    done
}
# As a person on a terminal; the first one leaves again, with Ctrl-].
console() {
    tmux new-session -d 'guest console shell; echo "left with $?" >/run/left'
    sleep 2
    tmux capture-pane -p
    tmux send-keys C-]
    wait_for grep . /run/left
    rm /run/left
    tmux kill-server
    tmux new-session -d 'guest console shell; echo "ended with $?" >/run/left'
    sleep 2
    tmux send-keys 'reset -s' Enter
    wait_for grep . /run/left
}
export TERM=linux TMUX_TMPDIR=/run
mkdir -p /run/hostwright
step refused guest start passed
step dry guest start --dry-run shell
step started guest start shell
step status guest status shell
step shell wait_for grep -aq 'Shell>' $log
step console console
step ended guest status shell
step again guest start shell
step shell2 wait_for grep -aq 'Shell>' $log
step killed guest stop --limit 2 shell
dry=$(guest start --dry-run shell)
sh -c "$dry" >/dev/null 2>&1 &
step pasted wait_for test -e /run/hostwright/guests/shell/sockets/vnc
step running guest list
step killed2 guest stop --limit 1 shell
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each step said, its status last."""
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    if sandbox.mode(tools) != "bwrap":
        pytest.skip("a chroot has no pseudo terminals of its own")
    folder = tmp_path_factory.mktemp("host")
    root = folder / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "--no-same-owner", "-xf", paths.DIST / "rootfs.tar"], check=True)
    binds = tuple(arrange(folder))
    job = Job(root, ("sh", "-c", STEPS), binds, cwd="/", proc=True)
    text = sandbox.output(job, tools).decode(errors="replace").replace("\r", "")
    return {found[1]: found[2] for found in re.finditer(r"^== (\w+)\n(.*?)(?=^== |\Z)", text, re.M | re.S)}


def arrange(folder: Path) -> Iterator[Bind]:
    """The lab's guest under the name `passed`, and one without devices, each with an empty disk."""
    machine = load(paths.TREE / "host.toml")
    passed = replace(machine.guests[0], name="passed")
    shell = replace(passed, name="shell", devices=(), memory_mib=256)
    network = replace(machine.network, nic=None, address=None)
    for path, text in guest_files.render_host(replace(machine, guests=(passed, shell), network=network)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        # The sandbox has one account.
        (folder / path).write_text(re.sub(r"^account \d+$", "account 0", text, flags=re.M))
    extra = "-fw_cfg\nname=opt/org.tianocore/IPv4PXESupport,string=n\n"
    (folder / guest_argv.HOST_SETTINGS / "shell/extra.args").write_text(extra)
    for guest in (passed, shell):
        make_disk(folder / "data/guests" / guest.name)
    (folder / "sys").mkdir()
    (folder / "confined").write_text(CONFINED)
    (folder / "confined").chmod(0o755)
    yield Bind(folder / "confined", "/usr/libexec/hostwright/confined")
    yield Bind(folder / "sys", "/sys", writable=True)
    yield Bind(folder / "etc/hostwright", "/etc/hostwright")
    yield Bind(folder / "data", "/var/lib/hostwright", writable=True)


def make_disk(folder: Path) -> None:
    folder.mkdir(parents=True)
    tools = buildroot.root(buildroot.load_lock()) / "tools"
    argv = ("qemu-img", "create", "-q", "-f", "qcow2", "/output/disk.qcow2", "64M")
    sandbox.output(Job(tools, argv, (Bind(folder, "/output", writable=True),), cwd="/"), tools)


def test_a_device_that_is_not_there_is_refused_before_qemu_is_asked(said: dict[str, str]) -> None:
    assert re.search(r"^red +device-absent +0000:01:00.0 ", said["refused"], re.M)
    assert "guest: passed is not started: " in said["refused"]
    assert said["refused"].endswith("status 1\n")


def test_the_guest_runs_in_its_places(said: dict[str, str]) -> None:
    assert said["started"].endswith("status 0\n")
    assert re.search(r"^shell is running\n +process +\d+, for 0 h 0 min \d+ s\n", said["status"])
    assert "guest start" not in said["shell"] and said["shell"] == "status 0\n"


def test_the_console_reaches_the_firmware_and_ends_with_the_guest(said: dict[str, str]) -> None:
    assert "the console of shell; Ctrl-] leaves it" in said["console"]
    assert re.findall(r"^(?:left|ended) with .*", said["console"], re.M) == ["left with 0", "ended with 0"]
    assert said["ended"] == "shell is stopped\nstatus 3\n"


def test_what_does_not_hear_is_ended_and_starts_again(said: dict[str, str]) -> None:
    assert said["again"].endswith("status 0\n")
    assert said["shell2"] == "status 0\n"
    assert said["killed"] == "guest: shell has not shut down within 2 s: it is ended by force\nstatus 1\n"


def test_the_printed_command_line_is_whole(said: dict[str, str]) -> None:
    assert said["dry"].startswith(
        "/usr/libexec/hostwright/confined shell /usr/bin/qemu-system-x86_64 \\\n    -nodef"
    )
    assert said["pasted"].endswith("status 0\n")
    assert re.search(r"^shell +running ", said["running"], re.M)
    assert re.search(r"^passed +stopped ", said["running"], re.M)
