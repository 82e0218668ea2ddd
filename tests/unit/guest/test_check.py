"""The check of an installed guest reports every fault, and no fault of a good guest."""

from base64 import b64decode

import pytest

from hostwright.guest.check import BOOTS, Trial, boot_entry, judge
from hostwright.vm.login import tmpfiles

NETWORK = {"enp2s0": "52:54:00:00:00:01"}
ALONE, WITH_DEVICES = BOOTS
GOOD: dict[str, object] = {
    "network": NETWORK,
    "lspci": "05:00.0 NVM [1b36:0010]\n06:00.0 Display [1234:1111]\n06:00.1 USB [1b36:000d]\n",
    "login": True,
    "accepts_password": False,
    "has_password": False,
    "boot_entry": "debian",
}


@pytest.mark.parametrize("boot", BOOTS)
def test_a_good_guest_passes(boot: Trial) -> None:
    assert judge(boot, GOOD, NETWORK) == []


@pytest.mark.parametrize(
    ("fact", "value", "what"),
    [
        ("network", {"enp3s0": "52:54:00:00:00:01"}, "enp3s0"),
        ("network", {"enp2s0": "52:54:00:00:00:02"}, "52:54:00:00:00:02"),
        ("lspci", "06:00.0 Display [1234:1111]\n06:00.1 USB [1b36:000d]\n", "1b36:0010"),
        ("login", False, "no login"),
        ("accepts_password", True, "accepts passwords"),
        ("boot_entry", "UEFI Misc Device", "UEFI Misc Device"),
    ],
)
def test_each_fault_is_named(fact: str, value: object, what: str) -> None:
    found = judge(WITH_DEVICES, GOOD | {fact: value}, NETWORK)
    assert len(found) == 1
    assert found[0].startswith("with-devices: ")
    assert what in found[0]


def test_a_user_with_a_password_may_use_it() -> None:
    assert judge(ALONE, GOOD | {"accepts_password": True, "has_password": True}, NETWORK) == []


def test_the_last_entry_that_was_started_counts() -> None:
    said = 'BdsDxe: starting Boot0001 "UEFI QEMU DVD-ROM" from\r\nBdsDxe: starting Boot0004 "debian" from HD(1)\r\n'
    assert boot_entry(said) == "debian"
    assert boot_entry("nothing") == "none"


def test_the_key_of_the_check_lies_beside_the_users_own() -> None:
    name, _, value = tmpfiles("me", "ssh-ed25519 AAAA check").partition("=")
    lines = b64decode(value).decode().splitlines()
    assert name == "tmpfiles.extra"
    assert lines[-1] == "f /home/me/.ssh/authorized_keys2 0600 me me - ssh-ed25519 AAAA check"
