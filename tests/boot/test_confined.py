"""What a guest reaches that has taken its QEMU over, on a booted host, and what one does that wants too much memory."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import lab
from hostwright.proof.boot import MENU_LIMIT_S, NO_BOOT, choose
from hostwright.proof.login import LOGIN_LIMIT_S
from hostwright.proof.login_rows import HOST
from hostwright.vm import login, process
from hostwright.vm.board import Accelerator, Firmware
from tests.boot.guest_ways import WAYS
from tests.boot.machines import said, wait_for, write_machine

PAGE = paths.TREE / "docs" / "security.md"
# Seconds.
PROBE_LIMIT_S = 600.0
# A device that no guest has, until the host is told so.
SPARE = lab.NVME_DRIVES[1]
MEMORY_MIB = 256
GUESTS = "/var/lib/hostwright/guests"
RUN = "/run/hostwright/guests"

# `reach` is open where QEMU connects: it then stays until its time is over.
PROBE = """
own={guests}/debian others={guests}/other sockets={run}/debian/sockets other={other}
pid=$1 group=$2 terminal=$3
export own others sockets other pid group terminal
reach() {{
    timeout 3 qemu-system-x86_64 -M none -nodefaults -display none -chardev socket,id=way,path=$1
    [ $? = 124 ]
}}
export -f reach
while IFS='|' read -r name way; do
    if timeout 20 bash -c "$way" >/dev/null 2>&1 </dev/null; then echo "$name|open"; else echo "$name|closed"; fi
done <<'END'
{ways}
END
"""


@pytest.fixture(scope="module")
def machine() -> Machine:
    """The lab with two small guests without a card of their own."""
    host = load.load(paths.TREE / "host.toml")
    first = replace(host.guests[0], devices=(), memory_mib=MEMORY_MIB, autostart=False)
    other = replace(first, name="other", mac="52:54:00:4c:41:43", cpus="0", cpu_weight=50)
    return replace(host, guests=(first, other))


@contextmanager
def booted(machine: Machine, folder: Path) -> Iterator[login.Session]:
    key, port = login.generate_key(), login.free_port()
    inputs, place = write_machine(machine, folder, key)
    argv = lab.plan_boot(machine, Firmware.UEFI, Accelerator.TCG, port)
    job = replace(process.plan_job(argv, place, inputs.tools, Accelerator.TCG), network=True)
    with process.running(job, folder / "confined.log") as (console, _):
        console.wait_for("executed automatically in", MENU_LIMIT_S, stop=NO_BOOT)
        choose(console, HOST)
        with login.connect("127.0.0.1", port, "root", key.private, LOGIN_LIMIT_S) as shell:
            yield shell


@pytest.fixture(scope="module")
def shell(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[login.Session]:
    """Both guests run, with empty disks; a device for neither is on vfio-pci."""
    with booted(machine, tmp_path_factory.mktemp("confined")) as shell:
        said(shell, "echo x >/run/everybody; chmod 666 /run/everybody")
        said(shell, f"hostwright-set pass --now {SPARE}")
        for guest in machine.guests:
            said(shell, f"mkdir -p {GUESTS}/{guest.name}")
            said(shell, f"qemu-img create -f qcow2 {GUESTS}/{guest.name}/disk.qcow2 1G")
            said(shell, f"guest start {guest.name}")
        ways = "\n".join(f"{name}|{way}" for name, way in WAYS.items())
        probe = PROBE.format(guests=GUESTS, run=RUN, other=machine.guests[1].account, ways=ways)
        said(shell, f"cat >/run/probe <<'PROBE'\n{probe}\nPROBE")
        yield shell


def tried(shell: login.Session, prefix: str) -> dict[str, str]:
    """What the probe finds that is run by `prefix`."""
    pid = said(shell, "head -n 1 /sys/fs/cgroup/guests/other/cgroup.procs").strip()
    group = said(shell, f"basename $(readlink /sys/bus/pci/devices/{SPARE}/iommu_group)").strip()
    terminal = said(shell, f"readlink {RUN}/other/sockets/console").strip()
    status, text = shell.run(
        f"{prefix} bash -s {pid} /dev/vfio/{group} {terminal} </run/probe", PROBE_LIMIT_S
    )
    assert status == 0, text
    return dict(line.split("|") for line in text.splitlines())


def tabled() -> dict[str, str]:
    text = PAGE.read_text().partition("| from a guest's QEMU |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| (?!---)(.+?) \| \**(open|closed)\** \|$", text, re.M))


def test_a_guest_says_how_it_is_confined(shell: login.Session, machine: Machine) -> None:
    for guest in machine.guests:
        account = guest.account
        assert re.search(
            rf"^green +confined +user {account}, no cap", said(shell, f"guest check {guest.name}"), re.M
        )
        pid = said(shell, f"cat /sys/fs/cgroup/guests/{guest.name}/cgroup.procs").strip()
        status = said(shell, f"cat /proc/{pid}/status")
        assert re.search(rf"^Uid:\s{account}\s{account}\s{account}\s{account}$", status, re.M)
        assert re.search(r"^CapEff:\s0{16}$", status, re.M) and re.search(r"^NoNewPrivs:\s1$", status, re.M)
        assert re.search(r"^Seccomp:\s2$", status, re.M)
        assert said(shell, f"ps -o user= -p {pid}").strip().startswith("guest-")


def test_each_thread_of_a_guest_is_where_it_belongs(shell: login.Session) -> None:
    group = "/sys/fs/cgroup/guests/other"
    assert said(shell, f"cat {group}/cpuset.cpus.effective {group}/cpu.weight").split() == ["0", "50"]
    allowed = said(shell, f"cat /proc/$(cat {group}/cgroup.procs)/task/*/status | grep Cpus_allowed_list")
    assert {line.split()[1] for line in allowed.splitlines()} == {"0"}
    assert re.search("^green +processors +0, as host.toml says", said(shell, "guest check other"), re.M)


def test_root_finds_the_ways_open(shell: login.Session) -> None:
    """Else they would show nothing."""
    found = tried(shell, "")
    assert [way for way, answer in found.items() if answer != "open"] == []
    assert list(found) == list(WAYS)


def test_the_table_is_what_a_guests_account_finds(shell: login.Session) -> None:
    found = tried(shell, "/usr/libexec/hostwright/confined debian")
    assert found == tabled()
    assert len(found) >= 25


def test_a_hungry_guest_ends_alone(shell: login.Session) -> None:
    """More memory than the guest may have, and less than the host has."""
    hungry = "/usr/libexec/hostwright/confined other tail /dev/zero"
    # Before or after what the shell says of it.
    assert "ended with 137" in said(shell, f"{hungry}; echo ended with $?")
    wait_for(shell, "! guest status other")
    assert "debian is running" in said(shell, "guest status debian")
    said(shell, "hostwright-selfcheck")
    # What it had is given back.
    wait_for(shell, "[ ! -e /sys/class/net/guest1 ]")
