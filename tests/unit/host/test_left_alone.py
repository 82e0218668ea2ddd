"""What keeps a host going for a year: watchdog, power button, time, logs and disks, run on made-up hosts."""

import gzip
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS, TREE
from hostwright.image import templates
from hostwright.machine import load
from tests.fakes.host import FakeHost

SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
LIMIT_S = 20.0
# A number that no process has: above the largest pid of Linux (proc_sys_kernel(5), pid_max).
NOBODY = "9999999"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, SHELLS[0])


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def each_shell(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    return FakeHost(tmp_path, request.param)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def note(host: FakeHost, name: str) -> list[str]:
    """What the script has written down for the self-check."""
    lines = (host.root / f"run/hostwright/service.{name}").read_text().splitlines()
    return [line.replace(str(host.root), "") for line in lines]


def end(host: FakeHost, pid_file: str) -> int:
    """End the process of a service by force, if it runs; its number."""
    pid = int((host.root / pid_file).read_text())
    os.kill(pid, signal.SIGKILL)
    return pid


def has_ended(pid: int) -> bool:
    """Whether the process has ended, also when nobody has taken it away."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# ---- the watchdog


@pytest.fixture
def fed(each_shell: FakeHost) -> FakeHost:
    """A host with a watchdog that wants food every six seconds."""
    each_shell.write("dev/watchdog0", "")
    each_shell.write("dev/kmsg", "")
    each_shell.write("sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n")
    each_shell.write("sys/class/watchdog/watchdog0/timeout", "6\n")
    each_shell.command("wdctl")
    each_shell.command("sleep", "exec /bin/sleep 0.05")
    return each_shell


def eaten(host: FakeHost) -> str:
    return (host.root / "dev/watchdog0").read_text()


def test_the_watchdog_is_fed_until_it_is_stopped(fed: FakeHost) -> None:
    done = fed.init("watchdog", "start")
    assert (done.returncode, done.stdout) == (
        0,
        "[ OK ] watchdog: iTCO_wdt resets a host that hangs for 6 s\n",
    )
    assert f"wdctl --settimeout 60 {fed.root}/dev/watchdog0" in fed.calls()
    wait_until(lambda: eaten(fed).startswith("...."))
    assert note(fed, "watchdog") == ["/run/hostwright/watchdog.pid", "iTCO_wdt is fed"]
    assert (fed.root / "proc/self/oom_score_adj").read_text() == "-1000\n"
    assert fed.init("watchdog", "stop").stdout == "[ OK ] watchdog: stopped\n"
    assert set(eaten(fed)[:-1]) == {"."}
    assert eaten(fed).endswith("V")


def test_a_second_start_leaves_the_feeder_alone(fed: FakeHost) -> None:
    fed.init("watchdog", "start")
    before = (fed.root / "run/hostwright/watchdog.pid").read_text()
    assert fed.init("watchdog", "start").stdout == ""
    assert (fed.root / "run/hostwright/watchdog.pid").read_text() == before
    end(fed, "run/hostwright/watchdog.pid")


def test_a_hung_init_gets_the_watchdog_no_food(fed: FakeHost) -> None:
    """The program that has ended is still in /proc: init has not taken it away."""
    fed.command("sleep", f'[ "$1" != 0 ] || mkdir -p {fed.root}/proc/$$; exec /bin/sleep 0.05')
    fed.init("watchdog", "start")
    wait_until(lambda: "the watchdog is not fed" in (fed.root / "dev/kmsg").read_text())
    end(fed, "run/hostwright/watchdog.pid")
    assert eaten(fed) == "."


def test_a_shutdown_is_fed_for_a_while_and_then_bitten(fed: FakeHost) -> None:
    """300 seconds at a meal every 100 seconds; no V at the end."""
    fed.write("sys/class/watchdog/watchdog0/timeout", "600\n")
    fed.init("watchdog", "start")
    done = fed.init("watchdog", "stop", RUNLEVEL="6")
    assert done.stdout == "[ OK ] watchdog: a shutdown that hangs for 300 s ends in a reset\n"
    pid = int((fed.root / "run/hostwright/watchdog.pid").read_text())
    wait_until(lambda: has_ended(pid))
    # The new feeder opens the file from its beginning.
    assert eaten(fed) == "..."


def test_a_machine_without_a_watchdog_needs_none(host: FakeHost) -> None:
    done = host.init("watchdog", "start")
    assert (done.returncode, done.stdout) == (0, "")
    assert note(host, "watchdog")[0] == "-"
    assert host.init("watchdog", "stop").returncode == 0


def test_the_watchdog_of_a_management_controller_has_the_old_name(fed: FakeHost) -> None:
    shutil.rmtree(fed.root / "sys/class/watchdog")
    (fed.root / "dev/watchdog0").rename(fed.root / "dev/watchdog")
    assert (
        fed.init("watchdog", "start").stdout
        == "[ OK ] watchdog: watchdog resets a host that hangs for 60 s\n"
    )
    end(fed, "run/hostwright/watchdog.pid")
    assert note(fed, "watchdog")[1] == "watchdog is fed"


def test_a_watchdog_that_somebody_else_holds_is_told(fed: FakeHost) -> None:
    (fed.root / "dev/watchdog0").unlink()
    (fed.root / "dev/watchdog0").mkdir()
    done = fed.init("watchdog", "start")
    assert (done.returncode, done.stdout) == (1, "[FAIL] watchdog: /dev/watchdog0 cannot be opened\n")


# ---- the power button


def test_the_power_button_has_a_listener_without_a_socket(host: FakeHost) -> None:
    host.command("acpid")
    assert (
        host.init("powerbutton", "start").stdout
        == "[ OK ] powerbutton: it shuts the host down, guests first\n"
    )
    assert host.calls() == [f"acpid --netlink --nosocket --pidfile {host.root}/run/acpid.pid"]


def test_a_power_button_without_a_listener_is_told(host: FakeHost) -> None:
    done = host.init("powerbutton", "start")
    assert (done.returncode, done.stdout) == (1, "[FAIL] powerbutton: acpid cannot be started\n")
    assert note(host, "powerbutton")[0] == "/run/acpid.pid"


def test_the_button_shuts_down_as_the_owner_would() -> None:
    lines = dict(
        line.split("=", 1)
        for line in (ROOTFS / "etc/acpi/events/power").read_text().splitlines()
        if line[:1] not in "#"
    )
    assert lines["event"] == "button/power"
    assert lines["action"].startswith("/usr/sbin/shutdown -h -P now ")


# ---- the time


def settings(*servers: str) -> str:
    """chrony.conf of the lab with these time servers."""
    lab = load.load(TREE / "host.toml")
    machine = replace(lab, network=replace(lab.network, timeservers=servers))
    text = (ROOTFS / "etc/chrony.conf.j2").read_text()
    return templates.render_text(text, "chrony.conf.j2", {"machine": machine})


def test_nobody_is_asked_for_the_time_unless_host_toml_says_so(host: FakeHost) -> None:
    host.write("etc/chrony.conf", settings())
    done = host.init("time", "start")
    assert (done.returncode, done.stdout, host.calls()) == (0, "", [])
    assert note(host, "time")[0] == "-"


def test_the_time_is_kept_with_the_servers(host: FakeHost) -> None:
    host.write("etc/chrony.conf", settings("time.example.org", "fd00::1"))
    for name in ("chown", "chronyd"):
        host.command(name)
    assert host.init("time", "start").stdout == "[ OK ] time: kept with time.example.org fd00::1 \n"
    assert host.calls() == [
        f"chown chrony:chrony {host.root}/var/lib/chrony",
        f"chronyd -f {host.root}/etc/chrony.conf",
    ]
    assert note(host, "time") == ["/run/chrony/chronyd.pid", "chronyd keeps the clock"]


def test_a_chronyd_that_does_not_start_is_told(host: FakeHost) -> None:
    host.write("etc/chrony.conf", settings("192.0.2.1"))
    host.command("chown")
    done = host.init("time", "start")
    assert (done.returncode, done.stdout) == (1, "[FAIL] time: chronyd cannot be started\n")


def test_chronyd_listens_nowhere() -> None:
    lines = settings("192.0.2.1").splitlines()
    assert {"port 0", "cmdport 0"} <= set(lines)
    assert not any(line.startswith(("allow", "bindcmdaddress", "bindaddress")) for line in lines)


# ---- the logs


@pytest.fixture
def logs(each_shell: FakeHost) -> FakeHost:
    """A host whose last kernel panicked."""
    shutil.copytree(
        ROOTFS / "usr/libexec/hostwright", each_shell.root / "usr/libexec/hostwright", dirs_exist_ok=True
    )
    each_shell.command("dmesg", "echo a new boot")
    each_shell.command("sync")
    each_shell.command("sleep", "exec /bin/sleep 2")
    each_shell.write("var/log/dmesg", "the last boot\n")
    each_shell.write("sys/fs/pstore/dmesg-efi_pstore-1", "Kernel panic\n")
    return each_shell


def rotate(host: FakeHost, *files: str) -> str:
    done = host.run("usr/libexec/hostwright/rotate-logs", *files)
    return done.stderr


def unpack(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def test_a_boot_keeps_the_last_kernels_words(logs: FakeHost) -> None:
    done = logs.init("logs", "start")
    end(logs, "run/hostwright/logs.pid")
    log = logs.root / "var/log"
    assert done.stdout.splitlines() == [
        "[WARN] logs: the last kernel panicked: 1 records are in /var/log/pstore",
        "[ OK ] logs: the kernel's log is in /var/log/dmesg",
    ]
    assert (log / "dmesg").read_text() == "a new boot\n"
    assert unpack(log / "dmesg.1.gz") == "the last boot\n"
    (record,) = (log / "pstore").iterdir()
    assert record.name.endswith("Z-dmesg-efi_pstore-1")
    assert record.read_text() == "Kernel panic\n"
    assert not list((logs.root / "sys/fs/pstore").iterdir())
    assert note(logs, "logs")[0] == "/run/hostwright/logs.pid"


def test_last_words_stay_where_they_are_without_room_for_them(logs: FakeHost) -> None:
    logs.command("cp", "exit 1")
    done = logs.init("logs", "start")
    end(logs, "run/hostwright/logs.pid")
    assert "[FAIL] logs: /sys/fs/pstore/dmesg-efi_pstore-1 stays where it is" in done.stdout
    assert (logs.root / "sys/fs/pstore/dmesg-efi_pstore-1").exists()
    assert not list((logs.root / "var/log/pstore").iterdir())


def test_a_large_log_is_rotated_and_four_older_ones_are_kept(logs: FakeHost) -> None:
    log = logs.root / "var/log"
    for name in "abcdef":
        (log / "messages").write_text(name * (4 << 20) + name)
        (log / "small.log").write_text("small\n")
        assert rotate(logs) == ""
    assert {path.name for path in log.iterdir()} == {
        *("dmesg", "small.log", "messages"),
        *(f"messages.{number}.gz" for number in (1, 2, 3, 4)),
    }
    assert (log / "messages").stat().st_size == 0
    assert [unpack(log / f"messages.{number}.gz")[0] for number in (1, 2, 3, 4)] == list("fedc")


def test_who_has_a_log_open_goes_on_in_it(logs: FakeHost) -> None:
    log = logs.root / "var/log/messages"
    with log.open("a") as writer:
        writer.write("x" * (5 << 20))
        writer.flush()
        rotate(logs)
        writer.write("after\n")
    assert log.read_text() == "after\n"


def test_on_a_full_disk_the_old_lines_make_room(logs: FakeHost) -> None:
    logs.command("gzip", "echo half; exit 1")
    log = logs.root / "var/log"
    (log / "messages").write_text("x" * (5 << 20))
    rotate(logs)
    assert (log / "messages").stat().st_size == 0
    assert not (log / "messages.1.gz").exists()


def test_what_is_older_than_a_year_goes(logs: FakeHost) -> None:
    old = time.time() - 366 * 86400
    names = ("messages.4.gz", "pstore/record", "mine.txt")
    for name in names:
        os.utime(logs.write(f"var/log/{name}", "old\n"), (old, old))
    logs.write("var/log/auth.log.4.gz", "of this year\n")
    rotate(logs)
    log = logs.root / "var/log"
    assert [(log / name).exists() for name in (*names, "auth.log.4.gz")] == [False, False, True, True]


# ---- the disks


@pytest.mark.parametrize(
    "status, code, said, kept",
    [
        (0, 0, "[ OK ] disks: smartd watches their health\n", "/run/smartd.pid"),
        (17, 0, "", "-"),
        (2, 1, "[FAIL] disks: smartd cannot be started (status 2): bad line\n", "/run/smartd.pid"),
    ],
)
def test_smartd_watches_disks_that_can_tell(
    host: FakeHost, status: int, code: int, said: str, kept: str
) -> None:
    host.command("smartd", f"echo smartd 7.4; echo bad line; exit {status}")
    done = host.init("disks", "start")
    assert (done.returncode, done.stdout) == (code, said)
    assert note(host, "disks")[0] == kept


def test_a_finding_is_what_root_reads_at_the_login(host: FakeHost) -> None:
    for message in (
        "Device: /dev/sda, FAILED SMART self-check",
        "Device: /dev/sdb, \x1b[31m8 pending sectors",
    ):
        for _ in range(2):
            done = host.run("usr/libexec/hostwright/disk-finding", SMARTD_MESSAGE=message)
            assert (done.returncode, done.stderr) == (0, "")
    found = (host.root / "run/hostwright/motd").read_text().splitlines()
    assert [line.partition("UTC: ")[2] for line in found] == [
        "Device: /dev/sda, FAILED SMART self-check",
        "Device: /dev/sdb, [31m8 pending sectors",
    ]
    assert (ROOTFS / "etc/motd").readlink() == Path("../run/hostwright/motd")
