"""/usr/sbin/guest and the boot script guests, on made-up hosts with a made-up QEMU."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base.paths import ROOTFS
from hostwright.doctor import findings
from hostwright.image import guest_files
from hostwright.image.templates import render_text
from hostwright.machine.load import load
from hostwright.machine.model import Bridge, Machine
from hostwright.vm import guest_argv
from tests.fakes.confined import CONFINED
from tests.fakes.host import AHCI, BUS, NAMED, NVME, TWIN, FakeHost

SHELLS = [shell for shell in (("dash",), ("bash", "--posix")) if shutil.which(shell[0])]
GUEST = "usr/sbin/guest"
DATA = "var/lib/hostwright/guests/debian"
RUN = "run/hostwright/guests/debian"
CGROUP = "sys/fs/cgroup/guests/debian/cgroup.procs"
DEVICE = f"{BUS}/0000:00:02.0/{NAMED}"
CPU = "processor\t: 0\nflags\t\t: fpu vmx sse pdpe1gb\naddress sizes\t: 46 bits physical, 48 bits virtual\n"
PANIC = "---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---\n"

TOML = f"""
name = "test"
[[device]]
address = "{NAMED}"
id = "{NVME}"
label = "NVMe drive $(reboot) `reboot`"
[network]
nic = "eth0"
address = "dhcp"
[[guest]]
name = "debian"
memory_mib = 4096
vcpus = 2
mac = "52:54:00:4c:41:42"
devices = ["{NAMED}"]
[[guest]]
name = "other"
memory_mib = 512
mac = "52:54:00:4c:41:43"
autostart = false
devices = ["{NAMED}"]
[[guest]]
name = "plain"
memory_mib = 512
mac = "52:54:00:4c:41:44"
autostart = false
"""

# Of another machine, whose guest lies on a disk for data.
STORED = (
    TOML.replace('devices = ["', 'storage = "fast"\ndevices = ["', 1)
    + """
[[storage]]
name = "fast"
uuid = "0b3c8d1e-5f0a-4c39-9a3e-2f1d7c6b5a40"
"""
)

# Notes its arguments; a guest runs until it is asked to shut down, unless it is deaf, or until it is killed.
QEMU = """#!/bin/sh
root=$HOSTWRIGHT_ROOT
printf '%s\\n' "$@" >"$root/argv"
case " $* " in
    *" -sandbox "*) ;;
    *) cat "$root/kernel-said"; exit ;;
esac
[ ! -e "$root/refuses" ] || { echo "vfio: device or resource busy" >&2; exit 1; }
while [ "$1" != -name ]; do shift; done
run=$root/run/hostwright/guests/$2
mkdir -p "$root/proc/$$"
echo "$$ (qemu) S$(printf ' 1%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18) 10000 1" >"$root/proc/$$/stat"
account=$(sed -n 's/^account //p' "$root/etc/hostwright/guests/$2/settings")
{
    printf 'Uid:\\t%s\\t%s\\t%s\\t%s\\n' "$account" "$account" "$account" "$account"
    printf 'Gid:\\t%s\\t%s\\t%s\\t%s\\n' "$account" "$account" "$account" "$account"
    printf 'CapEff:\\t0000000000000000\\nNoNewPrivs:\\t1\\nSeccomp:\\t2\\nSeccomp_filters:\\t1\\n'
} >"$root/proc/$$/status"
trap 'rm -rf "$root/proc/$$"; exit' TERM EXIT
echo $$ >"$run/process"
: >"$run/sockets/vnc"
while read -r line; do
    echo "$line" >>"$root/asked"
    case $line in *system_powerdown*) [ -e "$root/deaf" ] || exit ;; esac
done <>"$run/monitor.in"
"""


def machine(folder: Path, text: str = TOML) -> Machine:
    path = folder / "host.toml"
    path.write_text(text)
    return load(path)


def arrange(host: FakeHost, made: Machine) -> None:
    """A host on which nothing is in the way of the guest debian."""
    for path, text in guest_files.render_host(made):
        host.write(path, text)
    template = ROOTFS / "usr/libexec/hostwright/findings.j2"
    rules = {"findings": tuple(findings.load().values())}
    host.write("usr/libexec/hostwright/findings", render_text(template.read_text(), template.name, rules))
    for name in ("usr/libexec/hostwright/guest-check", "usr/libexec/hostwright/guest-start", GUEST):
        shutil.copy2(ROOTFS / name, host.write(name, ""))
    host.write("etc/sysconfig/network", network(made))
    host.write("usr/bin/qemu-system-x86_64", QEMU).chmod(0o755)
    host.write("usr/libexec/hostwright/confined", CONFINED).chmod(0o755)
    for name in ("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd", f"{DATA}/disk.qcow2"):
        host.write(name, name)
    for guest in ("other", "plain"):
        host.write(f"var/lib/hostwright/guests/{guest}/disk.qcow2", "")
    for name in ("bridge", "ip", "chown"):
        host.command(name)
    arrange_kernel(host)
    arrange_devices(host)


def network(made: Machine) -> str:
    template = ROOTFS / "etc/sysconfig/network.j2"
    return render_text(template.read_text(), template.name, {"machine": made})


def arrange_kernel(host: FakeHost) -> None:
    host.write("dev/kvm", "")
    host.write("kernel-said", PANIC)
    host.write("proc/interrupts", "  CPU0\n  24:  0  IR-PCI-MSI 1-edge  ahci\n")
    host.write("proc/cpuinfo", CPU)
    host.write("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8388608 kB\n")
    host.write("proc/self/status", "Name:\tsh\nCapEff:\t000001ffffffffff\n")
    host.write("proc/self/limits", "Limit Soft Hard Units\nMax locked memory  8388608  8388608  bytes\n")
    host.write("proc/uptime", "3825.12 1.00\n")
    host.write("sys/class/iommu/dmar0/x", "")
    host.write("sys/class/net/br0/bridge/x", "")


def arrange_devices(host: FakeHost) -> None:
    host.pci(f"0000:00:02.0/{NAMED}", NVME, "010802", "vfio-pci", "3")
    host.pci(f"0000:00:03.0/{TWIN}", "1b36:0011", "010802", "nvme", "4")
    host.pci(AHCI, "8086:2922", "010601", "ahci", "5")
    host.write(f"{DEVICE}/reset_method", "flr bus\n")
    host.write(f"{DEVICE}/resource", bars((0xFE000000, 0x4000, 0x140204)))
    host.write("sys/kernel/iommu_groups/3/reserved_regions", "0x00fee00000 0x00feefffff msi\n")


def bars(*regions: tuple[int, int, int]) -> str:
    """The file `resource`: address, size and flags of each BAR; seven lines, as for a device without SR-IOV."""
    lines = [f"0x{at:016x} 0x{at + size - 1:016x} 0x{flags:016x}" for at, size, flags in regions]
    return "\n".join([*lines, *["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 7][:7]) + "\n"


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeHost]:
    made = FakeHost(tmp_path / "root", request.param)
    arrange(made, machine(tmp_path))
    yield made
    for pid in made.root.glob("run/hostwright/guests/*/process"):
        with suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)
        # As the kernel does: what runs beside the guest ends with it.
        shutil.rmtree(made.root / "proc" / pid.read_text().strip(), ignore_errors=True)


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Verdict and text of each row by its id, the remedy with it."""
    found = re.findall(r"^(green|yellow|red|note) +(\S+) +(.*(?:\n +-> .*)?)", text, re.M)
    return {name: (verdict, " ".join(what.split())) for verdict, name, what in found}


def verdicts(host: FakeHost, guest: str = "debian") -> dict[str, str]:
    done = host.run(GUEST, "check", guest)
    found = {name: verdict for name, (verdict, _) in rows(done.stdout).items()}
    assert done.returncode == (1 if "red" in found.values() else 0)
    return found


def parted(command: str) -> list[str]:
    """The words of a command as a shell parts them."""
    said = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
    )
    return said.stdout.splitlines()


def argv(host: FakeHost) -> list[str]:
    return (host.root / "argv").read_text().splitlines()


# ---- check

GREEN = (
    "disk",
    "kvm",
    "network",
    "processors",
    "hugepages",
    "interrupts",
    "memory",
    "bars",
    "driver",
    "group",
    "regions",
    "reset",
    "id",
)


def test_a_host_that_is_as_it_should_be_has_green_rows_alone(host: FakeHost) -> None:
    done = host.run(GUEST, "check", "debian")
    assert done.returncode == 0
    assert done.stderr == "guest: trying KVM with a boot of this kernel, for 60 s at most\n"
    assert {name: verdict for name, (verdict, _) in rows(done.stdout).items()} == dict.fromkeys(
        GREEN, "green"
    )
    assert len(done.stdout.splitlines()) == len(GREEN)


def test_a_guest_without_devices_asks_for_less(host: FakeHost) -> None:
    assert list(verdicts(host, "plain")) == ["disk", "kvm", "network", "processors", "hugepages"]


def change(name: str, text: str) -> Callable[[FakeHost], object]:
    return lambda host: host.write(name, text)


def remove(name: str) -> Callable[[FakeHost], object]:
    return lambda host: (host.root / name).unlink()


def bind(host: FakeHost, driver: str) -> None:
    link = host.root / DEVICE / "driver"
    link.unlink()
    if driver:
        link.symlink_to(f"../../../../bus/pci/drivers/{driver}")


def add_to_group(ident: str, kind: str, driver: str) -> Callable[[FakeHost], object]:
    def act(host: FakeHost) -> None:
        host.pci("0000:09:00.0", ident, kind, driver, "3")

    return act


def use_group(host: FakeHost) -> None:
    """What is opened for writing, as a group is, cannot be a folder."""
    (host.root / "dev/vfio/3").mkdir(parents=True)


def add_neighbour(host: FakeHost) -> None:
    host.pci(f"0000:00:02.0/{NAMED[:-1]}1", "8086:1", "020000", "vfio-pci", "3")
    host.write(f"{DEVICE}/reset_method", "bus\n")


def enable_functions(host: FakeHost) -> None:
    host.write(f"{DEVICE}/sriov_numvfs", "1\n")
    (host.root / DEVICE / "virtfn0").symlink_to("../0000:01:10.0")


def add_nodes(host: FakeHost) -> None:
    host.write("sys/devices/system/node/node0/x", "")
    host.write("sys/devices/system/node/node1/x", "")
    host.write(f"{DEVICE}/numa_node", "1\n")


def name_processors(host: FakeHost) -> None:
    """0 to 3 are there, the last one off."""
    for number in range(4):
        host.write(f"sys/devices/system/cpu/cpu{number}/x", "")
    for number in range(1, 4):
        host.write(f"sys/devices/system/cpu/cpu{number}/online", "1\n")
    settings = host.root / "etc/hostwright/guests/debian/settings"
    settings.write_text(settings.read_text() + "cpus 0-1,3,5-6\n")


def leave_wire(host: FakeHost) -> None:
    made = machine(host.root.parent)
    own = replace(made.network, nic=None, address="10.9.0.1/24")
    host.write("etc/sysconfig/network", network(replace(made, network=own)))


def limit_memory(host: FakeHost) -> None:
    host.write("proc/self/status", "CapEff:\t000001ffffffbfff\n")


def take_ids(host: FakeHost) -> None:
    host.write(f"{BUS}/0000:00:03.0/{TWIN}/device", "0x0010\n")
    host.write("sys/module/vfio_pci/parameters/ids", f"{NVME}\n")


def shrink_processor(host: FakeHost) -> None:
    host.write("proc/cpuinfo", "flags : vmx\naddress sizes\t: 39 bits physical, 48 bits virtual\n")
    host.write(f"{DEVICE}/resource", bars((1 << 38, 1 << 38, 0x14220C)))


HUGE_BAR = bars((0x1 << 45, 1 << 46, 0x14220C))

FAULTS: dict[str, tuple[Callable[[FakeHost], object], str, dict[str, str]]] = {
    "no disk": (remove(f"{DATA}/disk.qcow2"), "no-disk", {"what": f"/{DATA}/disk.qcow2"}),
    "no firmware": (remove("usr/share/OVMF/OVMF_CODE.fd"), "no-program", {"what": "/usr/share/OVMF/OVMF_CODE.fd"}),
    "no QEMU": (remove("usr/bin/qemu-system-x86_64"), "no-program", {"what": "/usr/bin/qemu-system-x86_64"}),
    "no /dev/kvm": (remove("dev/kvm"), "no-kvm", {"what": "there is no /dev/kvm"}),
    "KVM that hangs": (
        change("kernel-said", "Linux version 6.12\n"), "no-kvm",
        {"what": "a kernel did not run under KVM within 60 s"},
    ),
    "no bridge": (lambda host: shutil.rmtree(host.root / "sys/class/net/br0"), "no-bridge", {"what": "br0"}),
    "a bridge of the guests alone": (leave_wire, "bridge-without-dhcp", {"what": "br0"}),
    "huge pages": (
        change("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n"), "hugepages", {"what": "1024 MiB"}
    ),
    "huge pages of 1 GiB": (
        change("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "3\n"), "hugepages", {"what": "3072 MiB"}
    ),
    "no remapping": (
        change("proc/interrupts", "  24:  0  PCI-MSI 1-edge  IRQ-ahci\n"), "no-interrupt-remapping",
        {"what": "no IR- in /proc/interrupts"},
    ),
    "too little memory": (
        change("proc/meminfo", "MemAvailable: 2097152 kB\n"), "locked-memory", {"need_mib": "4096", "have_mib": "2048"}
    ),
    "a limit on locked memory": (limit_memory, "locked-memory", {"need_mib": "4096", "have_mib": "8"}),
    "a BAR beyond all addresses": (
        change(f"{DEVICE}/resource", HUGE_BAR), "bar-window",
        {"device": NAMED, "what": "67108880 MiB", "window": "16384 GiB"},
    ),
    "a BAR beyond what the processor addresses": (
        shrink_processor, "bar-window", {"device": NAMED, "what": "262160 MiB", "window": "256 GiB"}
    ),
    "absent": (lambda host: shutil.rmtree(host.root / DEVICE), "device-absent", {"device": NAMED}),
    "another id": (
        change(f"{DEVICE}/device", "0x1e37\n"), "device-other-id", {"device": NAMED, "what": "1b36:1e37", "id": NVME}
    ),
    "a bridge": (
        change(f"{DEVICE}/class", "0x060400\n"), "not-passable", {"device": NAMED, "what": "of class 0604"}
    ),
    "on its own driver": (lambda host: bind(host, "nvme"), "not-on-vfio", {"device": NAMED, "driver": "nvme"}),
    "on no driver": (lambda host: bind(host, ""), "not-on-vfio", {"device": NAMED, "driver": "no driver"}),
    "no group": (remove(f"{DEVICE}/iommu_group"), "no-group", {"device": NAMED}),
    "a neighbour on a host driver": (
        add_to_group("8086:1533", "020000", "igb"), "group-not-viable",
        {"device": NAMED, "others": "0000:09:00.0", "driver": "igb"},
    ),
    "used by another program": (
        use_group, "device-in-use", {"device": NAMED, "what": "a program that guest did not start"}
    ),
    "memory that firmware keeps": (
        change("sys/kernel/iommu_groups/3/reserved_regions", "0x7e000000 0x7fffffff direct\n"), "rmrr-direct",
        {"device": NAMED, "what": "0x7e000000-0x7fffffff"},
    ),
    "memory that the kernel lets go": (
        change("sys/kernel/iommu_groups/3/reserved_regions", "0x7e000000 0x7fffffff direct-relaxable\n"),
        "rmrr-relaxable", {"device": NAMED, "what": "0x7e000000-0x7fffffff"},
    ),
    "virtual functions": (enable_functions, "vfs-enabled", {"device": NAMED, "others": "0000:01:10.0"}),
    "no reset": (remove(f"{DEVICE}/reset_method"), "no-reset", {"device": NAMED}),
    "a reset of the bus, which it shares": (
        add_neighbour, "reset-bus-only", {"device": NAMED, "others": f"{NAMED[:-1]}1"}
    ),
    "a twin": (
        change(f"{BUS}/0000:00:03.0/{TWIN}/device", "0x0010\n"), "twin-ids",
        {"device": NAMED, "id": NVME, "others": TWIN},
    ),
    "a twin, and ids=": (take_ids, "ids-take-others", {"device": NAMED, "id": NVME, "others": TWIN}),
    "processors that are not there": (name_processors, "no-processors", {"what": "5 6"}),
    "two NUMA nodes": (add_nodes, "numa-node", {"device": NAMED, "what": "1"}),
}  # fmt: skip


@pytest.mark.parametrize("arranged, rule, values", FAULTS.values(), ids=FAULTS)
def test_check_finds(
    host: FakeHost, arranged: Callable[[FakeHost], object], rule: str, values: dict[str, str]
) -> None:
    arranged(host)
    done = host.run(GUEST, "check", "debian")
    expected = findings.find(rule, **values)
    troubles = {name: row for name, row in rows(done.stdout).items() if row[0] != "green"}
    assert troubles == {rule: (expected.severity.value, f"{expected.text} -> {expected.remedy}")}
    assert done.returncode == (1 if expected.severity is findings.Severity.RED else 0)


def test_memory_of_an_amd_firmware_is_named_after_its_table(host: FakeHost) -> None:
    shutil.rmtree(host.root / "sys/class/iommu/dmar0")
    host.write("sys/class/iommu/ivhd0/x", "")
    host.write("sys/kernel/iommu_groups/3/reserved_regions", "0x1000 0x1fff direct\n")
    assert verdicts(host)["ivmd"] == "red"


def test_a_processor_without_virtualization_is_said(host: FakeHost) -> None:
    (host.root / "dev/kvm").unlink()
    host.write("proc/cpuinfo", "flags\t\t: fpu sse\n")
    assert verdicts(host)["cpu-no-virtualization"] == "yellow"


@pytest.mark.parametrize(
    "ident, kind, driver",
    [("8086:1", "060400", "pcieport"), ("8086:1", "020000", ""), ("8086:1", "020000", "vfio-pci")],
)
def test_what_leaves_dma_alone_may_be_in_the_group(
    host: FakeHost, ident: str, kind: str, driver: str
) -> None:
    add_to_group(ident, kind, driver)(host)
    assert verdicts(host)["group"] == "green"


def test_a_reset_of_the_bus_is_good_enough_for_one_alone_on_it(host: FakeHost) -> None:
    host.write(f"{DEVICE}/reset_method", "bus\n")
    assert verdicts(host)["reset"] == "green"


def test_a_device_of_a_guest_that_runs_is_taken(host: FakeHost) -> None:
    assert host.run(GUEST, "start", "other").returncode == 0
    assert verdicts(host)["device-in-use"] == "red"
    done = host.run(GUEST, "start", "debian")
    assert done.returncode == 1
    assert f"{NAMED}, or what is in a group with it, is in use by guest other" in done.stderr
    assert "device-in-use" not in verdicts(host, "other")
    assert "is in use" not in host.run(GUEST, "check", "plain").stdout


UNCONFINED = {
    "root": ("Uid:\t266732\t", "Uid:\t0\t", "Uid: 0"),
    "a group of its starter": ("Gid:\t266732\t266732", "Gid:\t266732\t0", "Gid: 266732"),
    "a capability": ("CapEff:\t0000000000000000", "CapEff:\t0000000000001000", "CapEff: 0000000000001000"),
    "a way to more": ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs: 0"),
    "no filter": ("Seccomp:\t2", "Seccomp:\t0", "Seccomp: 0"),
}


@pytest.mark.parametrize("good, bad, said", UNCONFINED.values(), ids=UNCONFINED)
def test_a_guest_that_is_not_confined_is_red(host: FakeHost, good: str, bad: str, said: str) -> None:
    assert host.run(GUEST, "start", "debian").returncode == 0
    verdict, text = rows(host.run(GUEST, "check", "debian").stdout)["confined"]
    assert (verdict, text.split(",")[0]) == ("green", "user 266732")
    assert text.endswith("; 5376 MiB at most")
    status = host.root / "proc" / (host.root / CGROUP).read_text().strip() / "status"
    assert good in status.read_text()
    status.write_text(status.read_text().replace(good, bad))
    verdict, text = rows(host.run(GUEST, "check", "debian").stdout)["not-confined"]
    assert verdict == "red" and text.replace("\t", " ").startswith(f"QEMU is not confined: {said}")


def test_a_guest_without_a_limit_is_red(host: FakeHost) -> None:
    host.run(GUEST, "start", "debian")
    host.write(CGROUP.replace("cgroup.procs", "memory.max"), "max\n")
    assert "memory.max max" in rows(host.run(GUEST, "check", "debian").stdout)["not-confined"][1]


# ---- start

KVM_ARGS = "etc/hostwright/guests/debian/kvm.args"


def test_start_runs_what_was_rendered_and_prints_it(host: FakeHost) -> None:
    done = host.run(GUEST, "start", "debian")
    assert done.returncode == 0, done.stderr
    words = (host.root / KVM_ARGS).read_text().splitlines()
    assert argv(host) == words[1:]
    assert parted(done.stdout) == ["/usr/libexec/hostwright/confined", "debian", *words]
    assert "    -device vfio-pci,host=0000:01:00.0,bus=port5,addr=00.0" in done.stdout
    assert (host.root / DATA / "OVMF_VARS.fd").read_text() == "usr/share/OVMF/OVMF_VARS.fd"
    assert (host.root / RUN / "sockets").stat().st_mode & 0o777 == 0o700


def test_start_hands_over_what_qemu_opens_and_no_more(host: FakeHost) -> None:
    host.write("dev/vfio/3", "")
    assert host.run(GUEST, "start", "debian").returncode == 0
    run, data, account = host.root / RUN, host.root / DATA, machine(host.root.parent).guests[0].account
    given = [call for call in host.calls() if call.startswith("chown ")]
    files = (
        run / "sockets",
        run / "monitor.in",
        run / "monitor.out",
        data / "console.log",
        data / "OVMF_VARS.fd",
    )
    assert given == [
        f"chown root:{account} {data}",
        f"chown {account}:{account} {' '.join(map(str, files))}",
        f"chown {account}:{account} {data}/disk.qcow2",
        f"chown {account}:{account} {host.root}/dev/vfio/3",
    ]
    assert data.stat().st_mode & 0o777 == 0o750
    host.run(GUEST, "stop", "debian")
    assert wait(lambda: host.calls()[-1] == f"chown root:root {host.root}/dev/vfio/3")


def test_what_an_earlier_qemu_left_is_not_followed(host: FakeHost) -> None:
    """Its account may write to the folder of sockets: a link there leads nowhere at the next start."""
    secret = host.write("etc/secret", "kept")
    (host.root / RUN / "sockets").mkdir(parents=True)
    for name in ("vnc", "console", "qmp"):
        (host.root / RUN / "sockets" / name).symlink_to(secret)
    assert host.run(GUEST, "start", "debian").returncode == 0
    assert secret.read_text() == "kept"
    assert sorted(path.name for path in (host.root / RUN / "sockets").iterdir()) == ["vnc"]


def test_start_refuses_on_a_red_row_and_names_it(host: FakeHost) -> None:
    bind(host, "nvme")
    (host.root / "proc/interrupts").write_text("none\n")
    host.run(GUEST, "check", "debian")
    (host.root / "argv").unlink()
    done = host.run(GUEST, "start", "debian")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "guest: debian is not started: no-interrupt-remapping, not-on-vfio"
    assert list(rows(done.stderr)) == ["no-interrupt-remapping", "not-on-vfio"]
    assert not (host.root / "argv").exists()


def test_a_dry_run_starts_nothing_and_can_be_pasted(host: FakeHost) -> None:
    bind(host, "nvme")
    dry = host.run(GUEST, "start", "--dry-run", "debian")
    assert dry.returncode == 0
    assert parted(dry.stdout)[2:] == (host.root / KVM_ARGS).read_text().splitlines()
    assert argv(host)[-1] == "stdio", "only the probe ran"
    pasted = dry.stdout.replace("/usr/libexec", f"{host.root}/usr/libexec", 1)
    environment = {"HOSTWRIGHT_ROOT": str(host.root), "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sh", "-c", pasted], env=environment):
        assert wait(lambda: host.run(GUEST, "status", "debian").returncode == 0)
        assert host.run(GUEST, "stop", "debian").returncode == 0


def test_words_of_the_person_are_added_and_quoted(host: FakeHost) -> None:
    words = ["-append", "it's $(reboot) 'quoted' \\ \"x\"", "-name", ""]
    host.write("etc/hostwright/guests/debian/extra.args", "\n".join(words) + "\n")
    done = host.run(GUEST, "start", "--dry-run", "debian")
    assert parted(done.stdout)[-4:] == words


def test_a_store_that_is_there_is_kept(host: FakeHost) -> None:
    host.write(f"{DATA}/OVMF_VARS.fd", "mine")
    host.run(GUEST, "start", "debian")
    assert (host.root / DATA / "OVMF_VARS.fd").read_text() == "mine"


WINDOWS = {
    "small": (bars((0x1 << 40, 1 << 28, 0x14220C)), None),
    "half of what is opened": (bars((0x1 << 40, 1 << 34, 0x14220C)), None),
    "no room left for the guest's own": (bars((0x1 << 40, 1 << 35, 0x14220C)), (32 << 10) + 16),
    "two of 32 GiB": (
        bars((0x1 << 40, 1 << 35, 0x14220C), (0x1 << 41, 1 << 35, 0x14220C)), (64 << 10) + 16
    ),
    "a small one beside a large one": (
        bars((0x1 << 40, 1 << 35, 0x14220C), (0x1 << 41, 1 << 25, 0x14220C)), (32 << 10) + 32 + 16
    ),
    "below 4 GiB": (bars((0x1 << 40, 1 << 35, 0x140204)), None),
}  # fmt: skip


@pytest.mark.parametrize("resource, wanted_mib", WINDOWS.values(), ids=WINDOWS)
def test_a_large_bar_makes_a_larger_window(host: FakeHost, resource: str, wanted_mib: int | None) -> None:
    """OVMF opens an eighth of 38 bits by itself: 32 GiB."""
    host.write("proc/cpuinfo", CPU.replace("46 bits", "38 bits"))
    host.write(f"{DEVICE}/resource", resource)
    host.run(GUEST, "start", "debian")
    words = [word for word in argv(host) if "X-PciMmio64Mb" in word]
    assert words == ([f"name=opt/ovmf/X-PciMmio64Mb,string={wanted_mib}"] if wanted_mib else [])


def test_the_accelerator_is_chosen_by_a_boot_and_kept(host: FakeHost) -> None:
    host.run(GUEST, "check", "debian")
    assert argv(host) == list(guest_argv.plan_kvm_probe())[1:]
    assert (host.root / "run/hostwright/accelerator").read_text() == "kvm a kernel ran under it\n"
    (host.root / "argv").unlink()
    host.run(GUEST, "check", "debian")
    assert not (host.root / "argv").exists()


def test_without_qemu_nothing_is_known_about_kvm(host: FakeHost) -> None:
    (host.root / "usr/bin/qemu-system-x86_64").unlink()
    host.run(GUEST, "check", "debian")
    assert not (host.root / "run/hostwright/accelerator").exists()


def test_a_kvm_that_does_not_boot_a_kernel_is_left_alone(host: FakeHost) -> None:
    host.write("kernel-said", "Linux version 6.12\n")
    host.run(GUEST, "start", "debian")
    assert argv(host)[argv(host).index("-accel") + 1] == "tcg,thread=single"


FENCED = [
    "bridge link set dev guest0 isolated on learning off flood off locked on",
    "bridge fdb replace 52:54:00:4c:41:42 dev guest0 master static",
]


def plugged(account: int, bridge: str = "br0", mtu: int = 1500) -> list[str]:
    return [
        f"ip tuntap add dev guest0 mode tap user {account}",
        f"ip link set dev guest0 address fe:54:00:4c:41:42 mtu {mtu} master {bridge}",
        "ip link set dev guest0 up",
    ]


def port_calls(host: FakeHost) -> list[str]:
    return [call for call in host.calls() if not call.startswith("chown ")]


def test_a_guest_on_the_bridge_has_its_own_address_and_no_neighbour(host: FakeHost) -> None:
    """From before its QEMU runs: the port is up when it is fenced in."""
    host.write("sys/class/net/br0/mtu", "9000\n")
    assert host.run(GUEST, "start", "debian").returncode == 0
    made, joined, up = plugged(machine(host.root.parent).guests[0].account, mtu=9000)
    assert port_calls(host) == [made, joined, *FENCED, up]


def test_the_port_goes_with_the_guest(host: FakeHost) -> None:
    host.run(GUEST, "start", "debian")
    host.write("sys/class/net/guest0/x", "")
    host.run(GUEST, "stop", "debian")
    assert wait(lambda: port_calls(host)[-1] == "ip link delete dev guest0")


def test_whoever_wants_it_has_a_bridge_without_fences(host: FakeHost) -> None:
    text = (host.root / "etc/sysconfig/network").read_text()
    assert "\nisolated=yes\n" in text
    host.write("etc/sysconfig/network", text.replace("isolated=yes", "isolated=no"))
    assert host.run(GUEST, "start", "debian").returncode == 0
    assert port_calls(host) == plugged(machine(host.root.parent).guests[0].account)


def test_each_bridge_has_its_own_fences_and_its_own_dhcp(host: FakeHost, tmp_path: Path) -> None:
    """The guest is on a second bridge, of guests alone, with DHCP and without fences."""
    lan = Bridge("lan", address="10.9.0.1/24", dhcp_range=("10.9.0.9", "10.9.0.20"), isolated=False)
    made = machine(tmp_path)
    guests = (replace(made.guests[0], bridge="lan"), *made.guests[1:])
    made = replace(made, more_bridges=(lan,), guests=guests)
    for path, text in guest_files.render_host(made):
        host.write(path, text)
    host.write("etc/sysconfig/network", network(made))
    assert verdicts(host)["no-bridge"] == "red"
    host.write("sys/class/net/lan/bridge/x", "")
    assert verdicts(host)["network"] == "green"
    assert host.run(GUEST, "start", "debian").returncode == 0
    assert "tap,id=net,ifname=guest0,script=no,downscript=no" in argv(host)
    assert "52:54:00:4c:41:42 on lan" in host.run(GUEST, "status", "debian").stdout
    assert port_calls(host) == plugged(made.guests[0].account, "lan")
    host.run(GUEST, "start", "plain")
    assert FENCED[0].replace("guest0", "guest2") in host.calls()


@pytest.mark.parametrize("fault", ["ip tuntap", "ip link set", *FENCED])
def test_a_guest_that_cannot_be_fenced_in_does_not_run(host: FakeHost, fault: str) -> None:
    program, rest = fault.split(" ", 1)
    host.command(program, f'case "$*" in "{rest}"*) exit 1 ;; esac')
    done = host.run(GUEST, "start", "debian")
    assert done.returncode == 1
    assert "debian is not started: it has no port on br0, or none that is kept apart" in done.stderr
    assert argv(host)[-1] == "stdio", "only the probe ran"


def test_what_qemu_says_is_shown(host: FakeHost) -> None:
    host.write("refuses", "")
    done = host.run(GUEST, "start", "debian")
    assert done.returncode == 1
    assert "vfio: device or resource busy" in done.stderr


def test_a_guest_is_started_once(host: FakeHost) -> None:
    assert host.run(GUEST, "start", "debian").returncode == 0
    (host.root / "argv").unlink()
    done = host.run(GUEST, "start", "debian")
    assert (done.returncode, done.stdout) == (0, "")
    assert "runs already" in done.stderr
    assert not (host.root / "argv").exists()


def start(host: FakeHost) -> subprocess.Popen[str]:
    environment = {"HOSTWRIGHT_ROOT": str(host.root), "PATH": f"{host.root}/bin:{os.environ['PATH']}"}
    argv = [*host.shell, str(host.root / GUEST), "start", "debian"]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_starts_at_once_one_starts_and_the_other_waits(host: FakeHost) -> None:
    """The first is at its trial of KVM, whose kernel says nothing until this test does."""
    (host.root / "kernel-said").unlink()
    os.mkfifo(host.root / "kernel-said")
    first = start(host)
    with (host.root / "kernel-said").open("w") as kernel:  # waits for the reader
        second = start(host)
        assert second.stderr
        said = second.stderr.readline()
        kernel.write(PANIC)
    assert said == ("guest: debian is being started by somebody else: waiting for that, for 180 s at most\n")
    assert "debian runs (process" in first.communicate(timeout=30)[1]
    running = (host.root / CGROUP).read_text().strip()
    assert second.communicate(timeout=30) == ("", f"guest: debian runs already (process {running})\n")
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_guest_that_runs_does_not_hold_the_lock(host: FakeHost) -> None:
    assert host.run(GUEST, "start", "debian").returncode == 0
    with (host.root / RUN / "start.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_dry_run_waits_for_nobody(host: FakeHost) -> None:
    with host.write(f"{RUN}/start.lock", "").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = host.run(GUEST, "start", "--dry-run", "debian")
    assert (done.returncode, "somebody else" in done.stderr) == (0, False)


def test_a_start_does_not_wait_for_ever(host: FakeHost) -> None:
    host.command("flock", "exit 1")
    done = host.run(GUEST, "start", "debian")
    assert host.calls() == ["flock -n 7", "flock -w 180 7"]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "guest: debian is not started: somebody else is still at it"
    assert not (host.root / "argv").exists()


def test_an_empty_cgroup_is_no_guest(host: FakeHost) -> None:
    host.write(CGROUP, "")
    assert host.run(GUEST, "status", "debian").returncode == 3


# ---- stop, and the rest


def test_stop_asks_and_waits(host: FakeHost) -> None:
    host.run(GUEST, "start", "debian")
    done = host.run(GUEST, "stop", "debian")
    assert done.returncode == 0
    assert "debian has shut down" in done.stderr
    asked = (host.root / "asked").read_text().splitlines()
    assert asked == ['{"execute": "qmp_capabilities"}', '{"execute": "system_powerdown"}']
    assert "does not run" in host.run(GUEST, "stop", "debian").stderr


def test_a_guest_that_does_not_hear_is_killed_and_that_is_said(host: FakeHost) -> None:
    host.write("deaf", "")
    host.run(GUEST, "start", "debian")
    done = host.run(GUEST, "stop", "--limit", "1", "debian")
    assert done.returncode == 1
    assert "debian has not shut down within 1 s: it is ended by force" in done.stderr
    assert host.run(GUEST, "status", "debian").returncode == 3


@pytest.mark.parametrize("limit", ["99999999999999999999", "86401", "0000000100000"])
def test_a_limit_that_cannot_be_meant_is_refused_and_kills_nobody(host: FakeHost, limit: str) -> None:
    host.write("deaf", "")
    host.run(GUEST, "start", "debian")
    done = host.run(GUEST, "stop", "--limit", limit, "debian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"guest: stop --limit {limit}: a guest gets 0 to 86400 seconds to shut down\n"
    assert host.run(GUEST, "status", "debian").returncode == 0
    assert not (host.root / "asked").exists()


@pytest.mark.parametrize("limit", ["0", "0000", "000000000001"])
def test_a_limit_may_have_leading_zeros(host: FakeHost, limit: str) -> None:
    host.write("deaf", "")
    host.run(GUEST, "start", "debian")
    done = host.run(GUEST, "stop", "--limit", limit, "debian")
    assert f"debian has not shut down within {int(limit)} s: it is ended by force" in done.stderr


def test_a_guest_that_prints_without_end_does_not_fill_the_disk(host: FakeHost) -> None:
    """The log is cut while its writer holds it open, and what came last is kept."""
    script = host.root / "usr/libexec/hostwright/guest-start"
    limits = {"\nlog_limit=16777216": "\nlog_limit=65536", "log_kept=1048576": "log_kept=4096"}
    text = script.read_text().replace("log_every_s=5", "log_every_s=0.1")
    for whole, small in limits.items():
        assert whole in text
        text = text.replace(whole, small)
    script.write_text(text)
    host.run(GUEST, "start", "debian")
    log, largest = host.root / DATA / "console.log", 0
    with log.open("ab", buffering=0) as line:
        for number in range(400):
            line.write(b"%04d" % number * 1024)
            largest = max(largest, log.stat().st_size)
            time.sleep(0.005)
        assert wait(lambda: log.stat().st_size <= 65536)
        line.write(b"the end")
    assert largest < 400 * 4096 / 2
    assert log.read_bytes().endswith(b"the end")
    assert log.with_name("console.log.old").stat().st_size == 4096
    assert log.stat().st_blocks * 512 <= 65536 + 8192


def wait(what: Callable[[], bool]) -> bool:
    """Whether it becomes true within 10 s."""
    limit = time.monotonic() + 10
    while not what() and time.monotonic() < limit:
        time.sleep(0.02)
    return what()


def test_status_says_where_the_guest_is(host: FakeHost) -> None:
    assert host.run(GUEST, "status", "debian").stdout == "debian is stopped\n"
    host.run(GUEST, "start", "debian")
    done = host.run(GUEST, "status", "debian")
    assert done.returncode == 0
    said = done.stdout
    assert re.search(r"process +\d+, for 1 h 2 min 5 s\n", said)
    assert f"vnc       /{RUN}/sockets/vnc\n" in said
    assert "52:54:00:4c:41:42 on br0\n" in said
    assert f"device    {NAMED} {NVME} NVMe drive $(reboot) `reboot`\n" in said


def test_list_has_a_line_for_each(host: FakeHost) -> None:
    host.run(GUEST, "start", "plain")
    lines = [line.split() for line in host.run(GUEST, "list").stdout.splitlines()]
    assert lines[1:] == [
        ["debian", "stopped", "yes", "4096", "MiB", "2", NAMED],
        ["other", "stopped", "no", "512", "MiB", "1", NAMED],
        ["plain", "running", "no", "512", "MiB", "1"],
    ]


def test_vnc_says_how_to_reach_it(host: FakeHost) -> None:
    host.write("etc/hostname", "lab\n")
    assert host.run(GUEST, "vnc", "plain").returncode == 1
    host.run(GUEST, "start", "plain")
    said = host.run(GUEST, "vnc", "plain").stdout
    assert "ssh -L 5900:/run/hostwright/guests/plain/sockets/vnc root@lab\n" in said
    assert (host.root / RUN).with_name("plain").joinpath("sockets").stat().st_mode & 0o777 == 0o700
    assert "unix:/run/hostwright/guests/plain/sockets/vnc,share=force-shared" in argv(host)


def test_a_host_without_a_bridge_forwards_ssh(host: FakeHost, tmp_path: Path) -> None:
    made = machine(tmp_path)
    alone = replace(made, network=replace(made.network, nic=None, address=None))
    for path, text in guest_files.render_host(alone):
        host.write(path, text)
    shutil.rmtree(host.root / "sys/class/net/br0")
    assert verdicts(host)["network"] == "green"
    host.run(GUEST, "start", "debian")
    assert "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2201-:22" in argv(host)
    said = host.run(GUEST, "status", "debian").stdout
    assert "on a network that ends at this host, ssh at port 2201 of 127.0.0.1" in said


@pytest.mark.parametrize(
    "call",
    [
        "",
        "start",
        "start a b",
        "stop --limit x debian",
        "stop --limit",
        "launch debian",
        "status ../x",
        "list x",
    ],
)
def test_a_wrong_call_is_said(host: FakeHost, call: str) -> None:
    done = host.run(GUEST, *call.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: guest ")


def test_an_unknown_guest_is_said(host: FakeHost) -> None:
    done = host.run(GUEST, "start", "nosuch")
    assert done.returncode == 1
    assert done.stderr == "guest: there is no guest nosuch on this host: guest list shows them\n"


# ---- console


class Terminal:
    """A terminal with `guest console` on it, and the guest's end of its serial line."""

    def __init__(self, host: FakeHost) -> None:
        self.line, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[0] = attributes[1] = attributes[3] = 0
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        (host.root / RUN / "sockets/console").symlink_to(os.ttyname(slave))
        self.screen, self.inner = os.openpty()
        self.before = termios.tcgetattr(self.inner)
        environment = {"HOSTWRIGHT_ROOT": str(host.root), "PATH": os.environ["PATH"]}
        self.child = subprocess.Popen(
            ["setsid", "--ctty", *host.shell, str(host.root / GUEST), "console", "debian"],
            env=environment, stdin=self.inner, stdout=self.inner, stderr=self.inner,
        )  # fmt: skip

    def read(self, file: int, text: bytes) -> bytes:
        """What comes until `text` does, for 10 s at most."""
        os.set_blocking(file, False)
        said, limit = b"", time.monotonic() + 10
        while text not in said and time.monotonic() < limit:
            try:
                said += os.read(file, 4096)
            except BlockingIOError:
                time.sleep(0.02)
        assert text in said, said
        return said


def own_terminal(host: FakeHost) -> None:
    """The test's user has the account of the guest."""
    settings = host.root / "etc/hostwright/guests/debian/settings"
    settings.write_text(re.sub(r"account \d+", f"account {os.getuid()}", settings.read_text()))


def test_the_console_hands_all_on_but_the_key_that_leaves_it(host: FakeHost) -> None:
    own_terminal(host)
    host.run(GUEST, "start", "debian")
    terminal = Terminal(host)
    terminal.read(terminal.screen, b"Ctrl-] leaves it")
    os.write(terminal.line, b"debian login: ")
    terminal.read(terminal.screen, b"debian login: ")
    os.write(terminal.screen, b"root\r\x03\x1a\x04")
    assert terminal.read(terminal.line, b"\x04") == b"root\r\x03\x1a\x04"
    os.write(terminal.screen, b"\x1d")
    assert terminal.child.wait(10) == 0
    assert termios.tcgetattr(terminal.inner) == terminal.before
    assert host.run(GUEST, "status", "debian").returncode == 0


def test_the_console_needs_a_terminal_and_a_guest(host: FakeHost) -> None:
    assert "does not run" in host.run(GUEST, "console", "debian").stderr
    host.run(GUEST, "start", "debian")
    assert f"what debian says is in /{DATA}/console.log" in host.run(GUEST, "console", "debian").stderr


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "/dev/pts/../null", "/dev/pts/x", "/dev/pts/", "of another account"]
)
def test_the_console_follows_no_link_to_elsewhere(host: FakeHost, target: str) -> None:
    """QEMU makes it, and a guest may have taken QEMU over."""
    host.run(GUEST, "start", "debian")
    _, slave = os.openpty()
    place = os.ttyname(slave) if target == "of another account" else target
    (host.root / RUN / "sockets/console").symlink_to(place)
    environment = {"HOSTWRIGHT_ROOT": str(host.root), "PATH": os.environ["PATH"]}
    call = [*host.shell, str(host.root / GUEST), "console", "debian"]
    done = subprocess.run(
        call, env=environment, stdin=slave, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "QEMU has no console for debian" in done.stderr


# ---- the boot script


def test_the_boot_starts_what_is_marked_and_the_end_of_the_host_stops_it(host: FakeHost) -> None:
    done = host.init("guests", "start")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\[ OK \] guests: debian runs \(process \d+, kvm\)", done.stdout, re.M)
    running = {line.split()[0] for line in host.run(GUEST, "list").stdout.splitlines() if " running " in line}
    assert running == {"debian"}
    host.run(GUEST, "start", "plain")
    done = host.init("guests", "stop")
    assert sorted(re.findall(r"\[ OK \] guests: (\w+) has shut down", done.stdout)) == ["debian", "plain"]
    assert " running " not in host.run(GUEST, "list").stdout


def test_a_red_guest_is_named_and_does_not_stop_the_boot(host: FakeHost) -> None:
    bind(host, "nvme")
    done = host.init("guests", "start")
    assert done.returncode == 1
    assert (
        f"[FAIL] guests: red     not-on-vfio             {NAMED} is on nvme, not on vfio-pci" in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "[FAIL] guests: debian is not started: not-on-vfio"
    assert "-sandbox" not in argv(host)


LEFT_OUT = {
    "no disk yet": (remove(f"{DATA}/disk.qcow2"), "[WARN] guests: debian is left out: it has no disk yet\n"),
    "no passthrough": (
        change("proc/cmdline", "ro hostwright.nopassthrough\n"),
        "[WARN] guests: debian is left out: hostwright.nopassthrough leaves its devices to the host\n",
    ),
    "the self-check": (change("proc/cmdline", "ro hostwright.selfcheck\n"), ""),
}


@pytest.mark.parametrize("arranged, said", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_guest_that_cannot_be_meant_is_left_out(
    host: FakeHost, arranged: Callable[[FakeHost], object], said: str
) -> None:
    arranged(host)
    done = host.init("guests", "start")
    assert (done.returncode, done.stdout) == (0, said)
    assert not (host.root / "argv").exists()


# ---- a disk for data


@pytest.fixture
def stored(host: FakeHost, tmp_path: Path) -> FakeHost:
    """A host whose guest debian lies on the storage fast, which is not there."""
    for path, text in guest_files.render_host(machine(tmp_path, STORED)):
        host.write(path, text)
    (host.root / f"{DATA}/disk.qcow2").unlink()
    return host


def test_a_guest_on_a_storage_that_is_not_there_is_refused_with_the_reason(stored: FakeHost) -> None:
    stored.write("run/hostwright/storage.fast", "no disk has the file system 0b3c\n")
    done = stored.run(GUEST, "start", "debian")
    assert done.returncode == 1
    verdict, text = rows(done.stderr)["no-storage"]
    assert verdict == "red"
    assert "not there: fast at /srv/fast: no disk has the file system 0b3c -> /etc/rc.d" in text
    assert "guest: debian is not started: no-storage\n" in done.stderr
    # The trial of KVM is all that QEMU was started for.
    assert "-sandbox" not in argv(stored)
    said = stored.init("guests", "start")
    assert said.returncode == 1
    assert "[FAIL] guests: debian is not started: no-storage" in said.stdout


def test_a_guest_runs_from_its_storage(stored: FakeHost) -> None:
    stored.mount("9:127", "/srv/fast", "/dev/md127")
    assert "[WARN] guests: debian is left out: it has no disk yet" in stored.init("guests", "start").stdout
    assert verdicts(stored) == {"storage": "green", "no-disk": "red"} | dict.fromkeys(GREEN[1:], "green")
    stored.write("srv/fast/debian/disk.qcow2", "")
    assert stored.init("guests", "start").returncode == 0
    text = "\n".join(argv(stored))
    assert "file=/srv/fast/debian/disk.qcow2" in text and "file=/srv/fast/debian/OVMF_VARS.fd" in text
    assert "logfile=/srv/fast/debian/console.log" in text and "/var/lib/hostwright/guests" not in text
    assert (stored.root / "srv/fast/debian/OVMF_VARS.fd").exists()
    assert not (stored.root / f"{DATA}/OVMF_VARS.fd").exists()
