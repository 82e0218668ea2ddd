"""An update on its way to a host, with a stand-in for ssh."""

from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.updates import deliver
from hostwright.updates.host import Host

BUILD = "0123456789abcdef"
OLD, NEW = "slot a runs: version 1, build 0000000000000000", f"slot b runs: version 2, build {BUILD}"
GREEN = f"{NEW}\nslot a: version 1, build 0000000000000000\nslot b starts\n"
RED = "slot b was tried, and its self-check was red:\nFAIL x\n"
WENT_BACK = f"{OLD}\nslot b: version 2, build {BUILD}\nslot a starts\n{RED}"
# The host as a script: its first boot until it is asked to restart, then the one that $after says.
SSH = """#!/bin/sh
for command; do :; done
echo "$command" >>"$world/asked"
boot=first
[ ! -e "$world/restarted" ] || boot=second
case $command in
    *'cat >'*) cat >"$world/received" ;;
    'hostwright-update --check'*) [ "$(cat "$world/status")" = 0 ] || { cat "$world/writing"; exit 1; } ;;
    hostwright-update*) cat "$world/writing"; exit $(cat "$world/status") ;;
    'cat /proc/sys/kernel/random/boot_id') echo $boot ;;
    shutdown*) touch "$world/restarted" ;;
    test*) echo $boot; cat "$world/after" ;;
esac
"""
HOST, WISH = Host("lab"), deliver.Wish()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(SSH)
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("world", str(tmp_path))
    monkeypatch.setattr(deliver, "POLL_S", 0.01)
    for name, text in {"writing": "done: slot b\n", "status": "0", "after": GREEN}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "signed").write_bytes(b"the update")
    return tmp_path


def write(wish: deliver.Wish = WISH) -> list[str]:
    said: list[str] = []
    deliver.write(HOST, BUILD, wish, said.append)
    return said


def test_a_green_slot_is_the_verdict(world: Path) -> None:
    said = write()
    assert f"lab: {NEW}, and its self-check is green" in said
    assert "came back with its verdict" in said[-1]


def test_the_host_checks_the_whole_update_before_anything_is_proved(world: Path) -> None:
    deliver.send(HOST, world / "signed", deliver.Wish(keep=("/etc/a b",), discard=True))
    assert (world / "received").read_bytes() == b"the update"
    asked = (world / "asked").read_text()
    assert f"hostwright-update --check --keep '/etc/a b' --discard {deliver.PLACE} ||" in asked
    assert not (world / "restarted").exists()


def test_the_owner_may_restart_the_host_himself(world: Path) -> None:
    assert "tries it at its next boot" in write(deliver.Wish(reboot=False))[-1]
    assert not (world / "restarted").exists()


def test_a_host_that_went_back_says_why(world: Path) -> None:
    (world / "after").write_text(WENT_BACK)
    with pytest.raises(UserError, match="lab went back:") as raised:
        write()
    assert "its self-check was red:\nFAIL x" in raised.value.message


@pytest.mark.parametrize("step", ["check", "write"])
def test_a_refusal_of_the_host_is_the_error_and_nothing_restarts(world: Path, step: str) -> None:
    (world / "writing").write_text("hostwright-update: this is for another machine\n")
    (world / "status").write_text("1")
    with pytest.raises(UserError, match="lab: hostwright-update: this is for another machine"):
        if step == "check":
            deliver.send(HOST, world / "signed", deliver.Wish())
        else:
            write()
    assert not (world / "restarted").exists()


def test_a_host_that_does_not_come_back_is_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "RETURN_LIMIT_S", 0.2)
    (world / "bin/ssh").write_text(SSH.replace("test*) echo $boot", "test*) exit 255"))
    with pytest.raises(UserError, match="did not come back") as raised:
        write()
    assert "GRUB's menu" in (raised.value.hint or "")
