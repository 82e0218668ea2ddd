"""What a login finds, and how it ends: the profile, sshd's settings, the banner, modules that nobody loads."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hostwright.base.paths import RESOLVED_CONFIG, ROOTFS
from tests.fakes.host import FakeHost

SHELL = ("dash",) if shutil.which("dash") else ("sh",)
PROFILE = ROOTFS / "etc/profile"
# What `tty` answers, and the seconds after which the shell ends.
TERMINALS = {"/dev/tty1": "900", "/dev/ttyS0": "900", "/dev/ttyS3": "900", "/dev/pts/0": "", "not a tty": ""}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, SHELL)


@pytest.mark.parametrize("terminal", TERMINALS)
def test_a_shell_at_a_console_ends_by_itself(host: FakeHost, terminal: str) -> None:
    host.command("tty", f"echo {terminal}")
    line = f'PATH={host.root}/bin:$PATH; . {tmp_profile(host)}; echo "[${{TMOUT-}}] $(umask) $(ulimit -c)"'
    done = subprocess.run([*SHELL, "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert re.fullmatch(rf"\[{TERMINALS[terminal]}\] 0?027 0\n", done.stdout), done.stdout


def tmp_profile(host: FakeHost) -> Path:
    """The profile, which keeps the PATH of the test."""
    return host.write("profile", re.sub(r"^PATH=.*$", "", PROFILE.read_text(), flags=re.MULTILINE))


def test_scripts_make_files_for_all_whoever_calls_them(host: FakeHost) -> None:
    line = f"umask 077; . {ROOTFS}/etc/rc.d/init.d/functions; umask"
    done = subprocess.run([*SHELL, "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip().lstrip("0") == "22"


def test_sshd_closes_what_is_dead_and_names_the_key() -> None:
    lines = (ROOTFS / "etc/ssh/sshd_config").read_text().splitlines()
    words = dict(line.split(None, 1) for line in lines if line[:1] not in "#")
    # 0 would switch the question off.
    assert 0 < int(words["ClientAliveInterval"]) <= 300
    assert int(words["ClientAliveCountMax"]) == 2
    assert (words["TCPKeepAlive"], words["LogLevel"]) == ("no", "VERBOSE")


def test_what_may_not_be_loaded_is_not_in_the_kernel() -> None:
    text = (ROOTFS / "etc/modprobe.d/unused.conf").read_text()
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert {tuple(line[::2]) for line in lines} == {("install", "/bin/false")}
    assert len(lines) == 5
    config = RESOLVED_CONFIG.read_text()
    for option in ("IP_DCCP", "IP_SCTP", "RDS", "TIPC", "FIREWIRE"):
        assert f"# CONFIG_{option} is not set" in config


def test_the_banner_comes_before_the_prompt_and_looks_like_none() -> None:
    """What waits for a login on the console must not find it in the banner."""
    banner = (ROOTFS / "etc/issue").read_text()
    assert "authorized users only" in banner
    assert "login:" not in banner
