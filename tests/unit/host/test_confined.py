"""/usr/libexec/hostwright/confined on made-up hosts: the command that it becomes, and the limits that it sets."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base.paths import TREE
from hostwright.image import guest_files
from hostwright.machine.load import load
from hostwright.machine.model import Guest, Machine
from tests.fakes.host import AHCI, NAMED, NVME, FakeHost

SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
CONFINED = "usr/libexec/hostwright/confined"
GROUP = "sys/fs/cgroup/guests/debian"
EXTRA = "etc/hostwright/guests/debian/extra.files"
# The memory of the lab's guest, the page tables for it and QEMU's own, in bytes.
MOST = (1024 + 8 + 1280) << 20


@pytest.fixture(scope="module")
def machine() -> Machine:
    return load(TREE / "host.toml")


@pytest.fixture
def guest(machine: Machine) -> Guest:
    return machine.guests[0]


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def host(tmp_path: Path, machine: Machine, request: pytest.FixtureRequest) -> Iterator[FakeHost]:
    made = FakeHost(tmp_path / "root", request.param)
    for path, text in guest_files.render_host(machine):
        made.write(path, text)
    made.command("env", f'printf "%s\\n" "$@" >{made.root}/argv')
    made.pci(f"0000:00:02.0/{NAMED}", NVME, "010802", "vfio-pci", "3")
    made.pci(AHCI, "8086:2922", "010601", "ahci", "5")
    for name in (
        "usr/bin/x",
        "dev/null",
        "dev/kvm",
        "dev/net/tun",
        "dev/sda",
        "dev/vfio/vfio",
        "dev/vfio/3",
        "dev/vfio/5",
    ):
        made.write(name, "")
    for name in ("monitor.in", "monitor.out", "sockets/x"):
        made.write(f"run/hostwright/guests/debian/{name}", "")
    made.write("var/lib/hostwright/guests/debian/disk.qcow2", "")
    made.write("var/lib/hostwright/guests/other/disk.qcow2", "")
    made.write("etc/passwd", "")
    made.write("etc/shadow", "")
    yield made


def argv(host: FakeHost) -> list[str]:
    return (host.root / "argv").read_text().splitlines()


def rights(host: FakeHost) -> dict[str, str]:
    """The rights of each path that has a rule."""
    rules = [word.split(":") for word in argv(host) if word.startswith("--landlock-rule=path-beneath:")]
    return {path.removeprefix(str(host.root)): what for _, what, path in rules}


def test_the_program_has_the_guests_account_and_no_right_to_spare(host: FakeHost, guest: Guest) -> None:
    assert host.run(CONFINED, "debian", "/usr/bin/x", "a b", "").returncode == 0
    words = [word for word in argv(host) if not word.startswith("--landlock-rule=")]
    assert words == [
        *("-i", "PATH=/usr/bin:/usr/sbin"),
        *("prlimit", f"--memlock={MOST}", "--nofile=4096", "--core=0"),
        *("setpriv", f"--reuid={guest.account}", f"--regid={guest.account}", "--groups=kvm"),
        *(
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--bounding-set=-all",
            "--no-new-privs",
            "--landlock-access=fs",
        ),
        *("--", "/usr/bin/x", "a b", ""),
    ]


def test_it_reaches_what_qemu_needs_and_no_more(host: FakeHost) -> None:
    host.run(CONFINED, "debian", "/usr/bin/x")
    run = "/run/hostwright/guests/debian"
    use, look = "read-file,write-file", "read-file,read-dir"
    assert rights(host) == {
        "/usr": f"execute,{look}",
        "/proc": look,
        "/sys": look,
        "/etc/passwd": "read-file",
        f"{run}/monitor.in": use,
        f"{run}/monitor.out": use,
        f"{run}/sockets": f"{use},read-dir,make-sock,make-sym,make-reg,remove-file,truncate",
        "/var/lib/hostwright/guests/debian": f"{use},truncate,read-dir",
        **dict.fromkeys(("/dev/null", "/dev/kvm", "/dev/net/tun", "/dev/vfio/vfio", "/dev/vfio/3"), use),
    }


def test_its_cgroup_has_limits_before_it_runs(host: FakeHost) -> None:
    host.run(CONFINED, "debian", "/usr/bin/x")
    said = {path.name: path.read_text().strip() for path in (host.root / GROUP).iterdir()}
    assert int(said.pop("cgroup.procs")) > 1
    assert said == {
        "memory.max": str(MOST), "memory.oom.group": "1", "pids.max": "512", "cpu.weight": "100", "cpuset.cpus": ""
    }  # fmt: skip
    for folder in ("sys/fs/cgroup", "sys/fs/cgroup/guests"):
        assert (host.root / folder / "cgroup.subtree_control").read_text() == "+cpu +cpuset +memory +pids\n"


def set_settings(host: FakeHost, text: str) -> None:
    settings = host.root / "etc/hostwright/guests/debian/settings"
    settings.write_text(settings.read_text() + text)


def add_nodes(host: FakeHost, *nodes: int) -> None:
    """Two nodes of two processors; the guest's devices are on `nodes`."""
    for node in (0, 1):
        host.write(f"sys/devices/system/node/node{node}/cpulist", f"{2 * node}-{2 * node + 1}\n")
    for address, node in zip((NAMED, "0000:03:00.0", "0000:03:00.1"), nodes, strict=True):
        host.write(f"sys/bus/pci/devices/{address}/numa_node", f"{node}\n")


@pytest.mark.parametrize(
    "nodes, expected",
    [((1, 1, 1), "2-3"), ((0, 0, 0), "0-1"), ((0, 1, 0), ""), ((-1, -1, -1), ""), ((1, -1, 1), "")],
)
def test_a_guest_has_the_processors_of_the_node_of_its_devices(
    host: FakeHost, nodes: tuple[int, ...], expected: str
) -> None:
    add_nodes(host, *nodes)
    host.run(CONFINED, "debian", "/usr/bin/x")
    assert (host.root / GROUP / "cpuset.cpus").read_text().strip() == expected


def test_what_host_toml_says_of_processors_counts(host: FakeHost) -> None:
    add_nodes(host, 1, 1, 1)
    set_settings(host, "cpus 0,3\ncpu_weight 250\n")
    host.run(CONFINED, "debian", "/usr/bin/x")
    assert (host.root / GROUP / "cpuset.cpus").read_text() == "0,3\n"
    assert (host.root / GROUP / "cpu.weight").read_text() == "250\n"


@pytest.mark.parametrize("name", ["memory.max", "pids.max", "cgroup.procs"])
def test_without_a_limit_nothing_runs(host: FakeHost, name: str) -> None:
    (host.root / GROUP / name).mkdir(parents=True)
    done = host.run(CONFINED, "debian", "/usr/bin/x")
    assert done.returncode == 1
    assert f"confined: the cgroup of debian takes no {name}" in done.stderr
    assert not (host.root / "argv").exists()


def test_a_guest_on_a_storage_reaches_its_folder_there(host: FakeHost) -> None:
    set_settings(host, "storage fast /srv/fast\n")
    host.write("srv/fast/debian/disk.qcow2", "")
    host.run(CONFINED, "debian", "/usr/bin/x")
    assert "/srv/fast/debian" in rights(host) and "/var/lib/hostwright/guests/debian" not in rights(host)


def test_a_disk_may_be_a_link(host: FakeHost) -> None:
    disk = host.root / "var/lib/hostwright/guests/debian/disk.qcow2"
    disk.unlink()
    disk.symlink_to(host.write("dev/volumes/debian", ""))
    host.run(CONFINED, "debian", "/usr/bin/x")
    assert rights(host)["/var/lib/hostwright/guests/debian/disk.qcow2"] == "read-file,write-file,truncate"


def test_the_owner_names_further_files(host: FakeHost) -> None:
    host.write(EXTRA, "# for a second disk\n\nread /srv/a b.iso\nwrite /dev/sda\nread /not/there\n")
    host.write("srv/a b.iso", "")
    assert host.run(CONFINED, "debian", "/usr/bin/x").returncode == 0
    assert rights(host)["/srv/a b.iso"] == "read-file"
    assert rights(host)["/dev/sda"] == "read-file,write-file,truncate"
    assert "/not/there" not in rights(host)


def test_a_word_that_is_no_right_is_told(host: FakeHost) -> None:
    host.write(EXTRA, "rw /dev/sda\n")
    done = host.run(CONFINED, "debian", "/usr/bin/x")
    assert (done.returncode, done.stderr) == (1, f'confined: /{EXTRA}: "rw" is neither read nor write\n')
    assert not (host.root / "argv").exists()


@pytest.mark.parametrize(
    "words, status", [((), 2), (("debian",), 2), (("nosuch", "/usr/bin/x"), 1), (("../x", "y"), 1)]
)
def test_a_wrong_call_is_told(host: FakeHost, words: tuple[str, ...], status: int) -> None:
    done = host.run(CONFINED, *words)
    assert done.returncode == status
    assert done.stderr.startswith("usage: confined " if status == 2 else "confined: there is no guest ")


def test_an_account_stays_a_guests_own_where_others_come_and_go(machine: Machine, guest: Guest) -> None:
    """It is on the disk, as the owner of the guest's files."""
    assert guest.account == 266732
    moved = replace(machine, guests=(replace(guest, name="first"), guest))
    assert moved.guests[1].account == guest.account != moved.guests[0].account
