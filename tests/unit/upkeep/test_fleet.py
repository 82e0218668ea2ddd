"""All machines of a folder: found by name, built one after the other, and failures named at the end."""

from pathlib import Path

import pytest

from hostwright.base import paths, run
from hostwright.base.errors import UserError
from hostwright.upkeep import fleet

MACHINE = (paths.TREE / "host.toml").read_text()


def write(folder: Path, **names: str) -> Path:
    for file, name in names.items():
        (folder / f"{file}.toml").write_text(MACHINE.replace('name = "lab"', f'name = "{name}"', 1))
    return folder


def test_each_machine_of_the_tree_has_its_own_name() -> None:
    assert "proliant" in "".join(fleet.find(paths.HOSTS))


def test_two_files_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'one\.toml both have name = "same"'):
        fleet.find(write(tmp_path, one="same", two="same"))


def test_a_folder_without_machines_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no machine"):
        fleet.find(tmp_path)


def test_a_machine_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    ran: list[str] = []

    def attached(argv: list[str], folder: Path) -> int:
        ran.append(argv[-1])
        return int("one" in argv[-1])

    monkeypatch.setattr(run, "attached", attached)
    with pytest.raises(UserError, match="1 of 2 machines failed: a") as raised:
        fleet.build_all("python", fleet.find(write(tmp_path, one="a", two="b")), said.append)
    assert ran == [f"machine={tmp_path}/one.toml", f"machine={tmp_path}/two.toml"]
    assert raised.value.hint == f"run it again: ./doit machine={tmp_path}/one.toml"
    assert said == ["machine a: dist/a", "machine b: dist/b"]
