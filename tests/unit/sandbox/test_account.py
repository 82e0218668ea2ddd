"""What root lends to the account of an emulated machine, and how it comes back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostwright.sandbox import account
from hostwright.sandbox.account import ACCOUNT


class Owners:
    """Who owns which file, for tests without root: chown() is only noted, and lstat() shows it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[int, int] = {}
        monkeypatch.setattr(os, "chown", self._chown)
        real = Path.lstat
        monkeypatch.setattr(Path, "lstat", lambda path: self._shown(real(path)))

    def _chown(self, path: str | Path, user: int, group: int, *, follow_symlinks: bool = True) -> None:
        assert user == group
        self.known[Path(path).stat(follow_symlinks=follow_symlinks).st_ino] = user

    def _shown(self, status: os.stat_result) -> os.stat_result:
        return os.stat_result((*status[:4], self.known.get(status.st_ino, 0), *status[5:]))

    def of(self, path: Path) -> int:
        """The user of a file."""
        return path.lstat().st_uid


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owners]:
    with monkeypatch.context() as patch:
        yield Owners(patch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The home of a machine: a disk, a disk that is also a guest's, a key, and a folder that is root's alone."""
    home = tmp_path / "home"
    (home / "pictures").mkdir(parents=True)
    (home / "disk").touch(mode=0o644)
    (tmp_path / "guest").touch(mode=0o644)
    os.link(tmp_path / "guest", home / "linked")
    (home / "key").touch(mode=0o600)
    (home / "private").mkdir(mode=0o700)
    (home / "to-guest").symlink_to(tmp_path / "guest")
    return home


def test_a_machine_owns_what_it_writes_and_nothing_else(folder: Path, owners: Owners) -> None:
    with account.lent([folder]):
        lent = {path.name for path in (folder, *folder.iterdir()) if owners.of(path) == ACCOUNT}
    assert lent == {"home", "disk", "pictures"}
    assert owners.of(folder.parent / "guest") == 0


def test_a_folder_that_is_lent_by_name_may_be_closed_to_others(folder: Path, owners: Owners) -> None:
    with account.lent([folder / "private"]):
        assert owners.of(folder / "private") == ACCOUNT
        assert owners.of(folder) == 0


def test_all_is_roots_again_also_after_an_error(folder: Path, owners: Owners) -> None:
    with pytest.raises(ZeroDivisionError), account.lent([folder]):
        (folder / "made").touch()
        owners.known[(folder / "made").lstat().st_ino] = ACCOUNT
        raise ZeroDivisionError
    assert {owners.of(path) for path in (folder, *folder.rglob("*"))} == {0}


def test_a_link_of_the_machine_does_not_stay(folder: Path, owners: Owners) -> None:
    """Root would follow it: the console's log is copied, for one."""
    with account.lent([folder]):
        (folder / "console.log").symlink_to("/etc/shadow")
        owners.known[(folder / "console.log").lstat().st_ino] = ACCOUNT
    assert not (folder / "console.log").is_symlink()
    assert (folder / "to-guest").is_symlink()


def test_a_device_for_all_is_opened_as_it_is() -> None:
    assert account.nodes(["/dev/null"]) == {"/dev/null": Path("/dev/null")}


def test_a_closed_device_gets_a_node_of_the_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owners: Owners
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(account, "FOR_ALL", 0o7)
    made = []

    def mknod(path: Path, mode: int, number: int) -> None:
        made.append((mode, number))
        path.touch()

    monkeypatch.setattr(os, "mknod", mknod)
    node = account.nodes(["/dev/null"])["/dev/null"]
    assert node == tmp_path / "hostwright/devices/null"
    assert node.parent.stat().st_mode & 0o777 == 0o700
    assert owners.of(node) == ACCOUNT
    assert made == [(0o020600, os.makedev(1, 3))]


def test_where_no_node_can_be_made_the_device_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(account, "FOR_ALL", 0o7)
    monkeypatch.setattr(os, "mknod", refused)
    assert account.nodes(["/dev/null"]) == {"/dev/null": Path("/dev/null")}
