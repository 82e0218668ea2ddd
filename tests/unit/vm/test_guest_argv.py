"""The guest's machine: devices keep their places, nothing listens beyond loopback, nothing forgotten is written to."""

from dataclasses import replace

import pytest

from hostwright.base import paths
from hostwright.image import guest_files
from hostwright.machine.load import load
from hostwright.machine.model import Guest
from hostwright.vm import guest_argv
from hostwright.vm.board import Accelerator
from hostwright.vm.guest_argv import Vnc

GUEST: Guest = load(paths.TREE / "host.toml").guests[0]
GOLDEN = paths.GOLDEN / "guest.argv"


def lines(argv: tuple[str, ...]) -> str:
    """An option with its value on each line."""
    return " ".join(argv).replace(" -", "\n-") + "\n"


def test_the_argv_of_a_guest_is_the_reviewed_one() -> None:
    assert lines(guest_argv.plan_launch(GUEST, "/var/lib/hostwright/guests/debian")) == GOLDEN.read_text()


HOSTS = {"lab": paths.TREE / "host.toml", "proliant": paths.TREE / "hosts/proliant-t10.toml"}


@pytest.mark.parametrize("name", HOSTS)
def test_what_the_host_gets_is_the_reviewed_text(name: str) -> None:
    text = ""
    for path, content in guest_files.render_host(load(HOSTS[name])):
        text += f"# {path}\n{lines(tuple(content.splitlines())) if path.endswith('.args') else content}\n"
    assert text == (paths.GOLDEN / f"host-guest-{name}").read_text()


def test_the_host_starts_the_machine_of_the_install() -> None:
    machine = load(HOSTS["lab"])
    host = guest_argv.plan_host(machine, GUEST, Accelerator.KVM)
    launch = guest_argv.plan_launch(GUEST, "/g")
    assert [word for word in host if "addr=" in word] == [word for word in launch if "addr=" in word]
    assert not [word for word in (*host, *launch) if guest_argv.FOLDER in word]
    assert launch[launch.index("-vnc") + 1].startswith("unix:/g/sockets/vnc,")
    assert host[host.index("-chardev") + 1] == "pipe,id=monitor,path=/run/hostwright/guests/debian/monitor"


def test_on_the_host_qemu_starts_no_program_and_keeps_its_rights() -> None:
    machine = load(HOSTS["lab"])
    for accelerator in Accelerator:
        argv = guest_argv.plan_host(machine, GUEST, accelerator)
        sandbox = argv[argv.index("-sandbox") + 1].split(",")
        assert sandbox == [
            "on",
            *(f"{one}=deny" for one in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol")),
        ]


def test_each_guest_of_a_host_has_its_own_places() -> None:
    machine = load(HOSTS["lab"])
    twin = replace(GUEST, name="twin", devices=())
    network = replace(machine.network, nic=None, address=None)
    both = replace(machine, guests=(GUEST, twin), network=network)
    plans = [guest_argv.plan_host(both, guest, Accelerator.KVM) for guest in both.guests]
    shared = ("OVMF_CODE", "addr=", "mode=control", "chardev:")
    own = [
        {word for word in plan if "=" in word and not any(part in word for part in shared)} for plan in plans
    ]
    assert {word.partition(",")[0] for word in own[0] & own[1]} == {"host", "base=utc", "on"}
    screen = plans[1][plans[1].index("-vnc") + 1]
    assert screen == "unix:/run/hostwright/guests/twin/sockets/vnc,share=force-shared"
    assert "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2202-:22" in plans[1]


def test_a_guest_is_on_the_bridge_that_the_host_has() -> None:
    machine = load(HOSTS["proliant"])
    guest = machine.guests[0]
    nets = {}
    for nic, address in (("eno1", None), (None, "10.0.0.1/24"), (None, None)):
        made = replace(machine, network=replace(machine.network, nic=nic, address=address))
        argv = guest_argv.plan_host(made, guest, Accelerator.KVM)
        nets[nic, address] = argv[argv.index("-netdev") + 1].partition(",")[0]
    assert list(nets.values()) == ["tap", "tap", "user"]


@pytest.mark.parametrize("accelerator", list(Accelerator))
def test_places_are_the_same_at_install_and_ever_after(accelerator: Accelerator) -> None:
    plans = (
        guest_argv.plan_install(GUEST, accelerator, Vnc(), 8000),
        guest_argv.plan_boot(GUEST, accelerator, 2222),
        guest_argv.plan_launch(GUEST, "/g"),
        guest_argv.plan_launch(replace(GUEST, devices=(*GUEST.devices, "0000:03:00.0")), "/g"),
    )
    places = [{word for word in plan if "addr=" in word and "vfio-pci" not in word} for plan in plans]
    assert places == [places[0]] * len(plans)


def test_a_passed_device_has_a_port_of_its_own() -> None:
    guest = replace(GUEST, devices=tuple(f"0000:8{number}:00.0" for number in range(8)))
    argv = guest_argv.plan_launch(guest, "/g")
    ports = [word.split(",")[1].removeprefix("id=") for word in argv if word.startswith("pcie-root-port")]
    used = [word.split("bus=")[1].split(",")[0] for word in argv if "bus=port" in word]
    assert len(set(ports)) == len(ports)
    assert sorted(used) == sorted(set(used))
    assert set(used) <= set(ports)


def every_plan(vnc: Vnc) -> list[tuple[str, ...]]:
    """Each machine of a guest, on a host that has no network of its own."""
    machine = load(HOSTS["lab"])
    alone = replace(machine, network=replace(machine.network, nic=None, address=None))
    return [
        guest_argv.plan_install(GUEST, Accelerator.TCG, vnc, 8000),
        guest_argv.plan_second_stage(GUEST, Accelerator.TCG, vnc, (), 8000),
        guest_argv.plan_boot(GUEST, Accelerator.TCG, 2222),
        guest_argv.plan_launch(GUEST, "/g"),
        guest_argv.plan_host(alone, GUEST, Accelerator.KVM),
    ]


@pytest.mark.parametrize("vnc", [Vnc(), Vnc(unix=False)])
def test_a_screen_on_a_port_has_a_password(vnc: Vnc) -> None:
    for argv in every_plan(vnc):
        shown = argv[argv.index("-vnc") + 1]
        assert shown.startswith("unix:") or "password-secret=vnc" in shown


def test_no_screen_is_on_a_port_unless_it_is_wanted() -> None:
    for argv in every_plan(Vnc()):
        assert [word for word in argv if "5900" in word or word.startswith("127.0.0.1")] == []
        assert argv[argv.index("-vnc") + 1].startswith("unix:")


def test_a_guest_reaches_nothing_of_the_machine_that_runs_it() -> None:
    forwards = []
    for argv in every_plan(Vnc()):
        restricted, _, forward = argv[argv.index("-netdev") + 1].partition(",restrict=on,")
        assert restricted == "user,id=net"
        forwards.append(forward)
    archive = "guestfwd=tcp:10.0.2.100:80-cmd:python3 -IS /output/relay.py 8000"
    logins = [f"hostfwd=tcp:127.0.0.1:{port}-:22" for port in (2222, 2201, 2201)]
    assert forwards == [archive, archive, *logins]


def test_the_check_writes_nothing_to_the_disk() -> None:
    argv = guest_argv.plan_boot(GUEST, Accelerator.TCG, 2222, ("a=b",), ("nvme",))
    assert [word for word in argv if guest_argv.DISK in word and "snapshot=on" not in word] == []
    assert "type=11,value=io.systemd.credential.binary:a=b" in argv


@pytest.mark.parametrize("accelerator", list(Accelerator))
def test_the_second_stage_runs_in_the_machine_of_the_install(accelerator: Accelerator) -> None:
    install = guest_argv.plan_install(GUEST, accelerator, Vnc(), 8000)
    second = guest_argv.plan_second_stage(GUEST, accelerator, Vnc(), ("init=/a", "quiet"), 8000)
    own = [word for word in install if word.startswith(("virtio-", "pcie-root-port"))]
    assert own and set(own) <= set(second)
    assert second[second.index("-append") + 1] == "init=/a quiet"
    assert any(guest_argv.SYSTEM in word and "readonly=on" in word for word in second)
