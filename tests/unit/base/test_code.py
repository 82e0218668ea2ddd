"""What code says: constants and names count, comments, docstrings and layout do not."""

from pathlib import Path

import pytest

from hostwright.base import code

TEXT = '''"""A module."""

from hostwright.base import files  # a remark

LIMIT = 3


def check(value: int) -> str:
    """Compare a value."""
    from hostwright.formats import deb

    return f"{value:03}" if value < LIMIT else "findings.toml"
'''
SAME = [
    TEXT.replace("A module.", "Another text."),
    TEXT.replace("# a remark", ""),
    TEXT.replace("    return", "    # why\n    return"),
    TEXT.replace("Compare a value.", "Compare it."),
    TEXT.replace("LIMIT = 3", "LIMIT = (\n    3\n)"),
]
OTHER = [
    TEXT.replace("LIMIT = 3", "LIMIT = 4"),
    TEXT.replace(":03", ":04"),
    TEXT.replace("value <", "value >"),
    TEXT.replace("import deb", "import elf"),
    TEXT.replace("def check", "def compare"),
]


@pytest.mark.parametrize("text", SAME)
def test_what_is_written_for_people_does_not_count(text: str) -> None:
    assert text != TEXT
    assert code.read(text) == code.read(TEXT)


@pytest.mark.parametrize("text", OTHER)
def test_what_runs_counts(text: str) -> None:
    assert code.read(text).digest != code.read(TEXT).digest


def test_imports_in_functions_and_named_files_are_found() -> None:
    found = code.read(TEXT)
    assert found.imports == ("base.files", "formats.deb")
    assert found.data == ("findings.toml",)


def test_what_only_a_type_checker_reads_is_no_import() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hostwright.base import files\n"
    assert code.read(text).imports == ()


def test_every_file_that_the_engine_carries_is_named_by_a_module() -> None:
    """Else nothing would depend on it. The seeds are read by name of the lock's own module, which names them too."""
    named = {
        file
        for path in code.ENGINE.rglob("*.py")
        if path.name != "__init__.py"
        for file in code.read(path.read_text()).data
    }
    assert code.data_files().keys() - named == set()


def test_a_changed_module_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "ENGINE", tmp_path)
    (tmp_path / "one.py").write_text("A = 1\n")
    before = code.Engine(tmp_path / "memory.json").text(["one"])
    assert code.Engine(tmp_path / "memory.json").text(["one"]) == before
    assert (tmp_path / "memory.json").exists()
    (tmp_path / "one.py").write_text("A = 2\n")
    assert code.Engine(tmp_path / "memory.json").text(["one"]) != before


def test_a_damaged_memory_costs_time_alone(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text('{"base.files": [1, 2')
    fresh = code.Engine(tmp_path / "absent" / "memory.json").text(["base.files"])
    assert code.Engine(tmp_path / "memory.json").text(["base.files"]) == fresh
    assert not (tmp_path / "absent").exists(), "a run that ends at once leaves nothing behind"
