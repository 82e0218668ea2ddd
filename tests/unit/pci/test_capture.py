"""Captures: every kind of source gives the same facts, and what is no capture is one clear error."""

import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostwright.base import paths
from hostwright.base.errors import UserError
from hostwright.pci import capture, groups, hierarchy, lspci, registers, sysfs
from hostwright.pci.function import PCIE_TYPES, Acs, Kind
from hostwright.pci.inventory import Bar, Capture, ReservedRegion

GOLDEN = paths.GOLDEN / "groups" / "t1-to-t10.tar.xz"
SCRIPT = paths.ROOTFS / "usr/sbin/hostwright-capture"
PORT, END = "0000:00:01.0", "0000:01:00.0"
FOLDER = f"sys/devices/pci0000:00/{PORT}"


@pytest.fixture(scope="module")
def golden() -> Capture:
    """A machine that was booted, captured by its own hostwright-capture."""
    return capture.load(GOLDEN)


def test_capture_of_a_booted_machine(golden: Capture) -> None:
    port = golden.by_address[PORT]
    assert (port.id, port.class_code, port.driver, port.group) == ("1b36:000c", 0x060400, "pcieport", "1")
    assert port.parent == ""
    assert golden.by_address[END].parent == PORT
    assert registers.find_kind(port.config) is Kind.ROOT_PORT
    assert registers.find_acs(port.config, wide=False, is_firmwares=True) == Acs(0x5F, 0x1D)
    assert golden.release.endswith("-hostwright")
    assert golden.by_address["0000:04:00.0"].resets == ("flr", "bus")
    assert golden.groups["1"].regions == (ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"),)
    assert set(golden.tables) == {"DMAR"}
    assert golden.missing == ()
    assert golden.dmi["product_name"].startswith("Standard PC (Q35")


def test_bars_have_sizes(golden: Capture) -> None:
    (bar,) = golden.by_address["0000:04:00.0"].bars
    assert (bar.index, bar.size, bar.is_memory, bar.is_64bit) == (0, 1 << 14, True, True)


# The script, on a host below a folder.


def write(root: Path, name: str, content: str | bytes) -> None:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)


def link(root: Path, name: str, goal: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(goal)


def config_with_serial() -> bytes:
    """A port with ACS, and behind that capability a device serial number."""
    config = bytearray(registers.make(Kind.ROOT_PORT, 1, (0x1D, 0)))
    config[0x100:0x104] = (0x000D | 1 << 16 | 0x148 << 20).to_bytes(4, "little")
    config[0x148:0x154] = (0x0003 | 1 << 16).to_bytes(4, "little") + b"\xde\xad\xbe\xef\x11\x22\x33\x44"
    return bytes(config)


# A default route, one half of the addresses (of a VPN, before the other half), a network, a route that rejects.
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0102030A\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t00000000\t0102030A\t0003\t0\t0\t0\t00000080\t0\t0\t0
eth1\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
NOWHERE = 32 * "0"
BTRFS = "9a4f2c1e-0b7d-4e8a-a1c3-5d6e7f801234"
IPV6_ROUTES = f"""\
fe800000000000000000000000000000 40 {NOWHERE} 00 {NOWHERE} 00000100 00000002 00000000 00000001     eth2
{NOWHERE} 00 {NOWHERE} 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth3
{NOWHERE} 01 {NOWHERE} 00 {NOWHERE} 00000400 00000003 00000000 00000001     tun0
{NOWHERE} 00 {NOWHERE} 00 {NOWHERE} ffffffff 00000001 00000000 00200200       lo
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A machine with a port and an NVMe drive behind it."""
    root = tmp_path / "host"
    fill_devices(root)
    fill_disks_and_net(root)
    fill_rest(root)
    return root


def fill_devices(root: Path) -> None:
    for folder, ids, config in (
        (FOLDER, ("0x1b36", "0x000c", "0x060400"), config_with_serial()),
        (f"{FOLDER}/{END}", ("0x1b36", "0x0010", "0x010802"), bytes(256)),
    ):
        for name, value in zip(("vendor", "device", "class"), ids, strict=True):
            write(root, f"{folder}/{name}", f"{value}\n")
        write(root, f"{folder}/config", config)
        write(root, f"{folder}/numa_node", "-1\n")
        link(
            root,
            f"sys/bus/pci/devices/{folder.rpartition('/')[2]}",
            f"../../../{folder.removeprefix('sys/')}",
        )
    lines = ("0x00000000fe800000 0x00000000fe803fff 0x0000000000140204", "0x0 0x0 0x0")
    write(root, f"{FOLDER}/{END}/resource", "\n".join(lines) + "\n")
    write(root, f"{FOLDER}/{END}/reset_method", "flr bus\n")
    link(root, f"{FOLDER}/{END}/driver", "../../../../bus/pci/drivers/nvme")
    link(root, f"{FOLDER}/{END}/iommu_group", "../../../../kernel/iommu_groups/7")
    write(root, "sys/kernel/iommu_groups/7/type", "DMA\n")
    write(root, "sys/kernel/iommu_groups/7/reserved_regions", "0x0 0xff direct\n0xfee00000 0xfeefffff msi\n")


def fill_disks_and_net(root: Path) -> None:
    link(root, "sys/class/block/nvme0n1", f"../../devices/pci0000:00/{PORT}/{END}/nvme/nvme0/nvme0n1")
    link(root, "sys/dev/block/259:2", f"../../devices/pci0000:00/{PORT}/{END}/nvme/nvme0/nvme0n1/nvme0n1p2")
    link(root, "sys/dev/block/253:0", "../../devices/virtual/block/dm-0")
    link(root, "sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
    link(root, "sys/devices/virtual/block/dm-0/slaves/nvme0n1p3", "../../../x/nvme0n1p3")
    for name in ("dm-1", "sda1"):
        link(root, f"sys/fs/btrfs/{BTRFS}/devices/{name}", f"../../../../devices/x/{name}")
    write(root, "dev/dm-1", "")
    write(root, "dev/shm", "")
    link(root, "dev/mapper/home", "../dm-1")
    link(root, "sys/class/net/br0", "../../devices/virtual/net/br0")
    settings = (
        "device 0000:02:00.0 pass 1b36:0010\nnetwork address 10.1.2.3/24\nguest debian autostart no\nend\n"
    )
    (root / "var/lib/hostwright/local").mkdir(parents=True)
    (root / "var/lib/hostwright/local/settings").write_text(settings)
    link(root, "sys/devices/virtual/net/br0/lower_eth0", "../eth0")
    write(
        root,
        "proc/self/mountinfo",
        "21 1 259:2 / / rw - ext4 /dev/root rw\n22 21 0:5 / /proc rw - proc proc rw\n"
        "23 21 253:0 / /srv/with\\040blank rw - ext4 /dev/mapper/srv rw\n"
        "24 21 0:35 /@ /home rw shared:3 master:1 - btrfs /dev/mapper/home rw\n"
        "25 21 0:36 / /dev/shm rw - tmpfs shm rw\n26 21 0:37 / /data rw - btrfs /dev/sda1 rw\n",
    )
    write(root, "proc/net/route", ROUTES)
    write(root, "proc/net/ipv6_route", IPV6_ROUTES)


def fill_rest(root: Path) -> None:
    write(root, "sys/firmware/acpi/tables/DMAR", b"DMAR\0\1")
    write(root, "sys/class/dmi/id/product_name", "ProLiant\n")
    write(root, "sys/class/dmi/id/product_serial", "SECRET1\n")
    write(root, "proc/sys/kernel/osrelease", "6.12.1-test\n")
    write(root, "proc/cmdline", "ro BOOTIF=01-52-54-00-12-34-56 ip=10.1.2.3::10.1.2.1 serial=SECRET2 quiet\n")
    write(
        root,
        "proc/mounts",
        "proc /proc proc rw 0 0\n/dev/nvme0n1p2 / ext4 ro 0 0\nrpool/data /data zfs rw 0 0\n",
    )
    write(root, "proc/swaps", "Filename Type\n")
    write(root, "proc/iomem", "fe800000-fe803fff : 0000:01:00.0\n")
    write(root, "proc/meminfo", "MemTotal: 1 kB\n")
    write(root, "proc/cpuinfo", "processor : 0\nflags : vmx\n\nprocessor : 1\n")


def run_script(
    host: Path, target: str, shell: str = "dash", **given: str | Path
) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOSTWRIGHT_ROOT": str(host), **given}
    return subprocess.run(
        [shell, str(SCRIPT), target], env=environment, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_the_script_writes_is_what_the_folder_says(host: Path, tmp_path: Path, shell: str) -> None:
    tar = tmp_path / "c.tar"
    done = run_script(host, str(tar), shell)
    assert done.returncode == 0
    written, live = capture.load(tar), capture.load(host)
    assert written.functions != ()
    assert [one.address for one in written.functions] == [PORT, END]
    assert written.functions[1] == live.functions[1]
    assert (written.groups, written.classes, written.tables) == (live.groups, live.classes, live.tables)
    assert written.release == live.release == "6.12.1-test"
    assert written.functions[1].bars == (Bar(0, 0xFE800000, 0x4000, True, True),)
    assert (written.functions[1].driver, written.functions[1].group) == ("nvme", "7")
    assert written.functions[1].resets == ("flr", "bus")
    assert written.groups["7"].regions[0] == ReservedRegion(0, 0xFF, "direct")
    assert written.default_routes == live.default_routes == ("eth0", "eth3", "lo")
    assert written.cpuinfo == "processor : 0\nflags : vmx"
    assert written.mounts == "/dev/nvme0n1p2 / ext4 ro 0 0\nrpool/data /data zfs rw 0 0"
    assert [(one.block, one.point) for one in written.mounted] == [
        ("nvme0n1p2", "/"), ("dm-0", "/srv/with\\040blank"), ("dm-1", "/home"), ("sda1", "/data")
    ]  # fmt: skip
    assert written.lower == {"dm-0": ("nvme0n1p3",), "br0": ("eth0",), BTRFS: ("dm-1", "sda1")}
    assert (live.mounted, live.lower) == (written.mounted, written.lower)
    wanted = "device 0000:02:00.0 pass 1b36:0010\nguest debian autostart no\nend"
    assert written.settings == live.settings == wanted
    assert tar.stat().st_mode & 0o077 == 0


def test_a_machine_without_ipv6(host: Path, tmp_path: Path) -> None:
    (host / "proc/net/ipv6_route").unlink()
    done = run_script(host, str(tmp_path / "c.tar"))
    assert (done.returncode, b"ipv6_route" in done.stderr) == (0, False)
    for place in (tmp_path / "c.tar", host):
        assert capture.load(place).default_routes == ("eth0",)


def test_names_of_people_and_machines_do_not_leave(host: Path) -> None:
    data = run_script(host, "-").stdout
    for secret in (b"52-54-00", b"10.1.2", b"SECRET", b"0102030A", b"fd00000", b"\xde\xad\xbe\xef"):
        assert secret not in data
    assert b"BOOTIF=MASKED" not in data or b"MASKED" in data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = tar.extractfile("proc/cmdline")
        assert content and content.read() == b"ro MASKED ip=MASKED serial=MASKED quiet\n"


def test_what_says_which_ports_isolate_stays(host: Path) -> None:
    """Their PCI addresses, three or more in a row, are no IP address."""
    words = "pci=config_acs=10x@0000:00:01.0;10x@0000:00:02.0;10x@0000:00:03.0,noaer"
    (host / "proc/cmdline").write_text(f"ro {words} ip=10.1.2.3 10.1.2.3\n")
    data = run_script(host, "-").stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        content = tar.extractfile("proc/cmdline")
        assert content and content.read().decode() == f"ro {words} ip=MASKED MASKED\n"


def test_serial_number_alone_is_taken_out_of_the_configuration_space(host: Path, tmp_path: Path) -> None:
    run_script(host, str(tmp_path / "c.tar"))
    config = config_with_serial()
    wanted = config[:0x14C] + bytes(8) + config[0x154:]
    assert capture.load(tmp_path / "c.tar").functions[0].config == wanted


def test_script_is_short_and_starts_no_stranger() -> None:
    assert len(SCRIPT.read_text().splitlines()) < 195


def wrap(folder: Path, name: str, body: str) -> str:
    """A PATH on which the program `name` is a script with `body`; $real is the program itself."""
    real = shutil.which(name)
    write(folder, f"bin/{name}", f"#!/bin/sh\nreal={real}\n{body}\n")
    (folder / f"bin/{name}").chmod(0o755)
    return f"{folder}/bin:{os.environ['PATH']}"


# Links in the place of each name that the script could use beside what mktemp made, and below it.
PLANT = """made=$($real "$@") || exit 1
for name in config member tar; do ln -s "$VICTIM" "$made.$name"; done
ls -ld "$made" >"$SEEN"
printf %s "$made" """


def test_the_script_writes_through_no_link_that_was_planted(host: Path, tmp_path: Path) -> None:
    shared, victim, seen = tmp_path / "shared", tmp_path / "victim", tmp_path / "seen"
    shared.mkdir()
    victim.write_text("mine")
    path = wrap(tmp_path, "mktemp", PLANT)
    done = run_script(host, str(tmp_path / "c.tar"), TMPDIR=str(shared), VICTIM=victim, SEEN=seen, PATH=path)
    assert (done.returncode, victim.read_text()) == (0, "mine")
    assert seen.read_text().startswith("drwx------")
    assert all(left.is_symlink() for left in shared.iterdir())
    assert capture.load(tmp_path / "c.tar").functions != ()


def test_the_script_refuses_a_link_in_the_place_of_its_file(host: Path, tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "c.tar"
    victim.write_text("mine")
    target.symlink_to(victim)
    done = run_script(host, str(target))
    assert (done.returncode, victim.read_text()) == (1, "mine")
    assert b"c.tar is a link: remove it, or name another file" in done.stderr


@pytest.mark.parametrize("goal", ["victim", "folder"])
def test_a_link_that_takes_the_name_meanwhile_is_not_followed(host: Path, tmp_path: Path, goal: str) -> None:
    victim, target = tmp_path / "victim", tmp_path / "c.tar"
    victim.write_text("mine")
    (tmp_path / "folder").mkdir()
    path = wrap(tmp_path, "dmesg", f"ln -s {tmp_path / goal} {target}")
    assert run_script(host, str(target), PATH=path).returncode == 0
    assert (victim.read_text(), list((tmp_path / "folder").iterdir())) == ("mine", [])
    assert capture.load(target).functions != ()


def test_the_script_takes_no_pipe_for_a_file(host: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.tar")
    done = run_script(host, str(tmp_path / "c.tar"))
    assert (done.returncode, b"is no regular file" in done.stderr) == (1, True)


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("name, status", [("HUP", 129), ("INT", 130), ("TERM", 143)])
def test_a_signal_leaves_nothing_behind(
    host: Path, tmp_path: Path, shell: str, name: str, status: int
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    path = wrap(tmp_path, "dmesg", 'kill "-$SIGNAL" "$SHELL_ID"')
    command = f"SHELL_ID=$$ exec {shell} {SCRIPT} {tmp_path / 'c.tar'}"
    values = {"PATH": path, "HOSTWRIGHT_ROOT": str(host), "TMPDIR": str(shared), "SIGNAL": name}
    done = subprocess.run(["sh", "-c", command], env=values, capture_output=True, check=False)
    assert done.returncode == status
    assert (list(shared.iterdir()), (tmp_path / "c.tar").exists()) == ([], False)


def test_wrong_call_of_the_script(host: Path) -> None:
    assert run_script(host, "--help").returncode == 2


def test_unpacked_capture(host: Path, tmp_path: Path) -> None:
    run_script(host, str(tmp_path / "c.tar"))
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "unpacked", "-xf", tmp_path / "c.tar"], check=True)
    assert capture.load(tmp_path / "unpacked").functions == capture.load(tmp_path / "c.tar").functions


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_a_capture_that_is_cut_off_is_no_smaller_machine(
    host: Path, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data, place = run_script(host, "-").stdout, tmp_path / "c.tar"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        ends = [member.offset for member in tar][1:]
    for end in (*ends, len(data) - 1024):
        place.write_bytes(pack(data[:end]))
        with pytest.raises(UserError, match=r"c\.tar: the capture is cut off") as caught:
            capture.load(place)
        assert caught.value.hint
    # A half of the mark stands behind all members.
    place.write_bytes(pack(data[:-512]))
    assert len(capture.load(place).functions) == 2


def test_a_damaged_header_does_not_hide_what_is_behind_it(host: Path, tmp_path: Path) -> None:
    data = bytearray(run_script(host, "-").stdout)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        third = tar.getmembers()[2].offset
    data[third + 148] ^= 1
    (tmp_path / "c.tar").write_bytes(data)
    with pytest.raises(UserError, match="the capture is cut off"):
        capture.load(tmp_path / "c.tar")


def test_another_tools_copy_of_sysfs_in_a_folder_of_its_own(host: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy.tar.gz"
    with tarfile.open(place, "w:gz") as tar:
        tar.add(host, "some-machine")
    found = capture.load(place)
    assert found.functions == capture.load(host).functions
    assert found.release == "6.12.1-test"


def test_copy_without_paths_gets_its_bridges_from_bus_numbers(host: Path) -> None:
    files = sysfs.read_folder(host)
    flat = {
        f"sys/bus/pci/devices/{'/'.join(path.split('/')[-2:])}": data
        for path, data in files.items()
        if "pci0000" in path
    }
    found = capture.read_files(flat, "flat")
    assert [one.parent for one in found.functions] == ["", PORT]


def test_what_is_missing_is_said() -> None:
    config = registers.make(Kind.ROOT_PORT, 1, None)[:64]
    facts = {"vendor": b"0x8086", "device": b"0x1", "class": b"0x060400", "config": config}
    files = {f"sys/bus/pci/devices/0000:00:1c.0/{name}": value for name, value in facts.items()}
    found = capture.read_files(files, "flat")
    said = " ".join(found.missing)
    assert "most of the configuration space of 0000:00:1c.0" in said
    assert "IOMMU groups" in said
    assert "release" in said
    assert hierarchy.describe(found).obstacles == (
        "0000:00:1c.0: only 64 bytes of its configuration space are known",
    )


ONES = 256 * b"\xff"


@pytest.mark.parametrize("size", [64, 256, 4096])
def test_a_card_without_power_is_no_virtual_function(host: Path, tmp_path: Path, size: int) -> None:
    (host / FOLDER / END / "config").write_bytes((16 * ONES)[:size])
    run_script(host, str(tmp_path / "c.tar"))
    found = capture.load(tmp_path / "c.tar")
    one = found.by_address[END]
    assert (one.is_silent, one.config, one.is_whole) == (True, b"", False)
    assert (one.id, one.class_code) == ("1b36:0010", 0x010802)
    assert hierarchy.describe(found).obstacles == (f"{END}: it does not respond",)


def test_a_virtual_function_has_no_ids_of_its_own(host: Path) -> None:
    (host / FOLDER / END / "config").write_bytes(ONES[:4] + bytes(252))
    assert not capture.load(host).by_address[END].is_silent
    (host / FOLDER / END / "config").write_bytes(ONES)
    link(host, f"{FOLDER}/{END}/physfn", "../0000:01:00.7")
    assert not capture.load(host).by_address[END].is_silent


def test_no_reset_method_means_none_where_the_kernel_tells_any(host: Path, tmp_path: Path) -> None:
    run_script(host, str(tmp_path / "c.tar"))
    assert [one.resets for one in capture.load(tmp_path / "c.tar").functions] == [(), ("flr", "bus")]
    (host / FOLDER / END / "reset_method").unlink()
    assert [one.resets for one in capture.load(host).functions] == [None, None]


# What is no capture.

BASE = {f"{FOLDER}/vendor": b"0x1b36\n", f"{FOLDER}/device": b"0xc", f"{FOLDER}/class": b"0x60400"}
MALFORMED = {
    "nothing": ({}, "no PCI device"),
    "no device": ({"proc/cmdline": b"ro"}, "no PCI device"),
    "vendor": (BASE | {f"{FOLDER}/vendor": b"intel"}, "vendor: 'intel' is not a number"),
    "huge": (BASE | {f"{FOLDER}/numa_node": b"99999999999999"}, "numa_node: '99999999999999' is too large"),
    "no id": ({f"{FOLDER}/class": b"0x60400"}, "neither id nor class"),
    "resource": (BASE | {f"{FOLDER}/resource": b"1 2"}, "resource: '1 2' is not START END FLAGS"),
    "region": (
        BASE | {"sys/kernel/iommu_groups/1/reserved_regions": b"x y z"},
        "'x y z' is not START END TYPE",
    ),
    "attributes": ({f"{FOLDER}/attributes": b"vendor 0x1"}, "is not NAME<tab>VALUE"),
    "format": (BASE | {"hostwright-capture": b"2"}, "a capture of format 2"),
}


@pytest.mark.parametrize(("files", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_captures(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError) as caught:
        capture.read_files(files, "machine.tar")
    assert message in caught.value.message
    assert caught.value.message.startswith("machine.tar: ")
    assert caught.value.hint


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\x1f\x8b broken", bytes(2048)])
def test_files_of_other_kinds(tmp_path: Path, data: bytes) -> None:
    place = tmp_path / "file"
    place.write_bytes(data)
    with pytest.raises(UserError, match="file"):
        capture.load(place)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        capture.load(tmp_path / "absent")
    with pytest.raises(UserError, match="no PCI devices are described there"):
        capture.load(tmp_path)


NAMES = st.sampled_from(
    [
        "vendor",
        "device",
        "class",
        "config",
        "resource",
        "reset_method",
        "numa_node",
        "physfn",
        "iommu_group",
        "attributes",
    ]
)
PLACES = st.sampled_from(
    [FOLDER, f"{FOLDER}/{END}", "sys/bus/pci/devices/0000:ff:1f.7", "sys/kernel/iommu_groups/3", "x"]
)
VALUES = st.sampled_from(
    [b"0x8086", b"0x060400", b"-1", b"", b"vendor\t0x1\nclass\t0x2\ndevice\t3", b"0x0 0xff direct"]
)


@given(
    st.dictionaries(st.builds("{}/{}".format, PLACES, NAMES), VALUES | st.binary(max_size=300), max_size=24)
)
@settings(max_examples=300, deadline=None)
def test_any_files_give_a_capture_or_a_clear_error(files: dict[str, bytes]) -> None:
    try:
        machine = hierarchy.describe(capture.read_files(files, "fuzz"))
    except UserError as error:
        assert error.message.startswith("fuzz: ")
        return
    report = groups.examine(machine)
    assert report.columns or machine.obstacles


@pytest.mark.parametrize(
    "data", [GOLDEN.read_bytes(), lzma.decompress(GOLDEN.read_bytes())[: 1 << 18]], ids=["xz", "plain"]
)
@given(place=st.integers(0, 1 << 20), damage=st.binary(min_size=1, max_size=40))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_tar_gives_a_capture_or_a_clear_error(
    tmp_path: Path, data: bytes, place: int, damage: bytes
) -> None:
    at = place % len(data)
    file = tmp_path / "damaged"
    file.write_bytes(data[:at] + damage + data[at + len(damage) :])
    try:
        hierarchy.describe(capture.load(file))
    except UserError as error:
        assert str(file) in error.message


@given(st.binary(max_size=4096))
@settings(deadline=None)
def test_any_configuration_space_can_be_read(config: bytes) -> None:
    assert registers.find_kind(config) in Kind
    registers.find_acs(config, wide=True, is_firmwares=False)
    registers.secondary_bus(config)


def test_bars_are_those_of_an_endpoint() -> None:
    config = bytearray(64)
    config[0x10] = config[0x18] = config[0x24] = 0xC
    assert list(registers.find_typed_bars(bytes(config))) == [0, 2, 5]
    config[registers.HEADER_TYPE] = 1
    assert list(registers.find_typed_bars(bytes(config))) == []


@pytest.mark.parametrize("kind", PCIE_TYPES.values(), ids=lambda kind: kind.value)
def test_what_is_made_is_what_is_read(kind: Kind) -> None:
    config = registers.make(kind, 7, (0x5F, 0x1D))
    assert registers.find_kind(config) is kind
    assert registers.secondary_bus(config) == 7
    assert registers.find_acs(config, wide=False, is_firmwares=False) == Acs(0x5F, None)


def test_wide_acs_of_intels_100_series() -> None:
    config = bytearray(registers.make(Kind.ROOT_PORT, 1, (0x0F, 0)))
    config[0x108] = 0x0D
    assert registers.find_acs(bytes(config), wide=True, is_firmwares=True) == Acs(0x0F, 0x0D)


# lspci.


def hexdump(config: bytes) -> str:
    return "".join(f"{at:02x}: {config[at : at + 16].hex(' ')}\n" for at in range(0, len(config), 16))


def listing(machine: Capture, *, whole: bool = True) -> str:
    """The machine as lspci -nn -xxxx would list it."""
    return "\n".join(
        f"{one.address.removeprefix('0000:')} Class [{one.class_code >> 8:04x}]: Vendor [x] Device [{one.id}] (rev 02)"
        f" (prog-if {one.class_code & 0xFF:02x} [x])\n"
        f"\tSubsystem: A Name [{one.subsystem}]\n"
        f"\tKernel driver in use: {one.driver or 'x'}\n"
        f"\tIOMMU group: {one.group}\n{hexdump(one.config if whole else one.config[:64])}"
        for one in machine.functions
    )


def test_hexdump_carries_what_groups_need(golden: Capture) -> None:
    found = lspci.read(listing(golden), "machine.txt")
    assert hierarchy.describe(found).functions == hierarchy.describe(golden).functions
    assert [one.group for one in found.functions] == [one.group for one in golden.functions]


def test_short_hexdump_is_no_ground_for_a_prediction(golden: Capture) -> None:
    machine = hierarchy.describe(lspci.read(listing(golden, whole=False), "machine.txt"))
    assert len(machine.obstacles) > 20
    assert groups.examine(machine).columns == ()


DECODED = """\
00:01.0 PCI bridge [0604]: Red Hat, Inc. QEMU PCIe Root port [1b36:000c] (prog-if 00 [Normal decode])
\tSubsystem: Red Hat, Inc. Device [1af4:1100]
\tRegion 0: Memory at fea40000 (32-bit, non-prefetchable) [size=4K]
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tCapabilities: [54] Express (v2) Root Port (Slot+), IntMsgNum 0
\tCapabilities: [148 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans+
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport

01:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:1e37] (rev a1) (prog-if 00 [VGA controller])
\tNUMA node: 1
\tIOMMU group: 12
\tRegion 1: Memory at 4000000000 (64-bit, prefetchable) [size=16G]
\tRegion 5: I/O ports at e000 [size=128]
\tCapabilities: [68] Express (v2) Legacy Endpoint, IntMsgNum 0
01:00.1 Audio device [0403]: NVIDIA Corporation Device [10de:10f8] (rev a1)
\tCapabilities: [78] Express (v2) Endpoint, MSI 00
"""


def test_decoded_text_without_a_hexdump() -> None:
    port, card, sound = lspci.read(DECODED, "machine.txt").functions
    assert registers.find_kind(card.config) is Kind.LEGACY_ENDPOINT
    assert registers.find_acs(port.config, wide=False, is_firmwares=True) == Acs(0x5F, 0x1D)
    assert (port.subsystem, port.driver, port.class_code) == ("1af4:1100", "pcieport", 0x060400)
    assert card.parent == sound.parent == PORT
    assert (card.numa_node, card.group, card.revision) == (1, "12", 0xA1)
    assert card.bars == (
        Bar(1, 0x4000000000, 16 << 30, True, True, True),
        Bar(5, 0xE000, 128, False, False, False),
    )
    described = {one.address: one for one in hierarchy.describe(lspci.read(DECODED, "x")).functions}
    assert described[END].multifunction
    assert not described[PORT].multifunction


def test_addresses_with_the_bridges_before_them() -> None:
    """lspci -P and -PP."""
    text = DECODED.replace("\n01:00.", "\n00:01.0/01:00.")
    assert text.count("00:01.0/") == 2
    found = lspci.read(text, "machine.txt")
    assert found.functions == lspci.read(DECODED, "machine.txt").functions


@pytest.mark.parametrize("dump", [hexdump(ONES), hexdump(ONES[:64]), ""], ids=["256", "64", "none"])
def test_listing_of_a_card_without_power(dump: str) -> None:
    text = (
        f"01:00.0 VGA [0300]: NVIDIA [10de:1c8d] (rev ff) (prog-if ff)\n\t!!! Unknown header type 7f\n{dump}"
    )
    found = lspci.read(DECODED[: DECODED.index("01:00.0")] + text, "machine.txt").by_address[END]
    assert (found.is_silent, found.config, found.parent) == (True, b"", PORT)


def test_listing_of_a_card_of_revision_ff() -> None:
    found = lspci.read(DECODED.replace("rev a1", "rev ff"), "machine.txt")
    assert not any(one.is_silent for one in found.functions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("00:01.0 PCI bridge: Red Hat\n", "m:1: no vendor and device id"),
        (DECODED + DECODED, "m: a device is listed twice"),
        ("\n00:01.0 0604: 1b36:000c\n00: 00 11\n20: 00\n", "m:2: the hexdump has a gap before 20"),
    ],
)
def test_listings_that_do_not_serve(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lspci.read(text, "m")


@given(
    st.lists(
        st.sampled_from([*DECODED.splitlines(), "00: 11 22", "10: ff", "\x00", "01:00.0 Class 0300: 1:2"]),
        max_size=14,
    )
)
@settings(deadline=None)
def test_any_text_gives_a_capture_or_a_clear_error(lines: list[str]) -> None:
    try:
        machine = hierarchy.describe(lspci.read("\n".join(lines), "fuzz"))
    except UserError as error:
        assert error.message.startswith("fuzz")
        return
    groups.examine(machine)
