"""The image with something wrong in every place that its owner meets: the login works, and no other row is green."""

from pathlib import Path

import pytest

from hostwright.base import paths
from hostwright.image.ids import ids_for
from hostwright.machine import load
from hostwright.machine.model import Machine
from hostwright.proof import boot, lab, login_rows
from hostwright.proof.boot import alter, copy_image
from hostwright.proof.lab import IMAGE
from hostwright.proof.login import Answered, digest_samples, prepare, start
from hostwright.proof.login_rows import HOST, MOST_ROOT_MIB
from hostwright.vm import login
from hostwright.vm.board import Accelerator
from tests.boot.machines import write_over

SPOILT, BLOCK = lab.NVME_DRIVES[0], 4096
SPOIL_DRIVES = "#!/bin/sh\nfor drive in /dev/nvme?n1; do echo spoilt >$drive; done\n"


def break_all(folder: Path) -> list[str]:
    """Commands of debugfs, and the files that they write."""
    settings = (paths.ROOTFS / "etc/ssh/sshd_config").read_text()
    settings = settings.replace("AuthenticationMethods publickey\n", "Port 22\nPort 2222\n")
    settings = settings.replace("PasswordAuthentication no", "PasswordAuthentication yes")
    (folder / "sshd_config").write_text(settings)
    (folder / "devices").write_text("")
    (folder / "S96spoil").write_text(SPOIL_DRIVES)
    (folder / "firewall").write_text("#!/bin/sh\n")
    # acpid hears the button, and nothing follows.
    (folder / "power").write_text("event=button/power.*\naction=/usr/bin/true\n")
    (folder / "ballast").touch()
    # As it was once: the serial number of the FAT file system in place of the partition's id.
    esp = f"PARTUUID={ids_for(load.load(paths.TREE / 'host.toml').name).esp_uuid}"
    table = (paths.ROOTFS / "etc/fstab").read_text()
    (folder / "fstab").write_text(table.replace("/dev/hostwright/esp", esp))
    return [
        *write_over("/etc/ssh/sshd_config"),
        *write_over("/etc/hostwright/devices"),
        *write_over("/etc/rc.d/rc3.d/S96spoil", "0100755"),
        *write_over("/etc/rc.d/init.d/firewall", "0100755"),
        *write_over("/ballast"),
        *write_over("/etc/fstab"),
        f"fallocate /ballast 0 {(MOST_ROOT_MIB << 20) // BLOCK}",
        "rm /etc/rc.d/rcS.d/S45growdata",
        "rm /usr/bin/tmux",
        *write_over("/etc/acpi/events/power"),
    ]


@pytest.fixture(scope="module")
def host() -> Machine:
    return load.load(paths.TREE / "host.toml")


@pytest.fixture(scope="module")
def answered(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    folder, work = tmp_path_factory.mktemp("image"), tmp_path_factory.mktemp("inner")
    whole = boot.find_inputs(host, paths.HOST_IMAGE)
    copy_image(folder, whole, login.generate_key())
    alter(folder, whole, break_all(folder))
    guest = login_rows.find_guest(host)
    assert guest
    given = prepare(boot.find_inputs(host, folder / IMAGE), guest, work)
    return start(given, Accelerator.TCG, tmp_path_factory.mktemp("proof"), HOST, lambda _: None)


def test_every_row_but_the_login_is_red(host: Machine, answered: Answered) -> None:
    guest = login_rows.find_guest(host)
    assert guest and answered[1], answered[0].error
    rows = login_rows.judge([answered], host, guest, digest_samples())
    assert {row.name for row in rows if row.ok} == {"ssh"}, rows


def test_each_is_red_for_its_cause(answered: Answered) -> None:
    facts = answered[1]
    assert facts and facts.check and facts.start
    assert "password" in facts.methods
    assert any(":2222" in line for line in facts.listening)
    assert [name for name, answer in facts.smokes.items() if answer.status != 0] == ["tmux"]
    assert facts.inbound["closed"].startswith("SSH-2.0-")
    assert facts.fstab and "/boot/efi" in facts.fstab.output
    assert facts.used_mib > MOST_ROOT_MIB
    assert facts.drivers[SPOILT] == "nvme"
    assert SPOILT in facts.check.output and "is not started" in facts.start.output
