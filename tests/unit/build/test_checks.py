"""A finished build is what its recipe declares: libraries, set-user-id bits, no path of the sandbox."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.build import checks
from hostwright.formats import elf
from hostwright.recipe import Files, Recipe, Source

RECIPE = Recipe(
    name="probe-one",
    version="1",
    license="0BSD",
    home="https://example.org/",
    source=Source("pool/main/p/probe/probe_1.orig.tar.xz", sha256="0" * 64),
    build=Files(()),
)
PYTHON = Path(sys.executable).resolve()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A staged program that needs libraries: this Python itself."""
    file = tmp_path / "usr/bin/probe"
    file.parent.mkdir(parents=True)
    shutil.copy(PYTHON, file)
    file.chmod(0o755)
    return file


def found(tree: Path, recipe: Recipe = RECIPE, given: tuple[str, ...] = ()) -> list[str]:
    return sorted(checks.problems(recipe, tree, given))


@pytest.fixture
def hardened(monkeypatch: pytest.MonkeyPatch) -> None:
    """How the Python that runs this was linked is not what these tests are about."""
    monkeypatch.setattr(checks, "weaknesses", lambda _: [])


def libraries(folder: str) -> tuple[str, ...]:
    """All that the program needs, in one folder."""
    return tuple(f"{folder}/{name}" for name in elf.needed(PYTHON))


def write(file: Path, content: bytes, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(mode)


@pytest.mark.usefixtures("hardened")
def test_a_library_that_no_need_gives_is_a_problem(program: Path, tmp_path: Path) -> None:
    assert elf.needed(program)
    expected = [
        f"usr/bin/probe: needs {name}, which no package in needs gives" for name in elf.needed(program)
    ]
    assert found(tmp_path) == sorted(expected)


@pytest.mark.usefixtures("hardened")
def test_libraries_of_the_needs_are_found(program: Path, tmp_path: Path) -> None:
    assert found(tmp_path, given=libraries("usr/lib")) == []


def test_a_library_outside_the_loaders_folder_does_not_count(program: Path, tmp_path: Path) -> None:
    assert found(tmp_path, given=libraries("usr/libexec"))


@pytest.mark.usefixtures("hardened")
def test_a_library_of_the_package_itself_is_found(program: Path, tmp_path: Path) -> None:
    for path in libraries("usr/lib"):
        write(tmp_path / path, b"")
    assert found(tmp_path) == []


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
def test_a_bit_that_is_not_declared_is_a_problem(tmp_path: Path, mode: int) -> None:
    write(tmp_path / "usr/bin/su", b"#!/bin/sh\n", mode)
    (line,) = found(tmp_path)
    assert line.startswith("usr/bin/su: has a set-user-id")
    assert found(tmp_path, replace(RECIPE, setuid=("usr/bin/su",))) == []


def test_a_declared_program_must_be_there(tmp_path: Path) -> None:
    assert found(tmp_path, replace(RECIPE, setuid=("usr/bin/su",))) == [
        "usr/bin/su: declared in setuid, and not there"
    ]


def test_a_promised_file_must_be_staged(tmp_path: Path) -> None:
    promise = replace(RECIPE, files=("usr/bin/probe", "usr/lib/libprobe.so.1", "usr/share"))
    write(tmp_path / "usr/bin/probe", b"#!/bin/sh\n")
    (tmp_path / "usr/share").mkdir()
    with pytest.raises(UserError, match="package probe-one") as caught:
        checks.check(promise, tmp_path, ())
    assert "usr/lib/libprobe.so.1: promised in files, and not staged" in caught.value.message
    assert "usr/share: promised" in caught.value.message
    assert "usr/bin/probe:" not in caught.value.message
    assert "files" in caught.value.hint


def test_a_link_keeps_a_promise(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libprobe.so.1").symlink_to("libprobe.so.1.0")
    assert found(tmp_path, replace(RECIPE, files=("usr/lib/libprobe.so.1",))) == []


@pytest.mark.parametrize("text", [b"/build/src/a.c", b"-I/sysroot/usr/include", b"\0/out/usr/bin\0"])
def test_a_path_of_the_sandbox_is_a_problem(tmp_path: Path, text: bytes) -> None:
    write(tmp_path / "usr/lib/settings", b"begin " + text + b" end")
    (line,) = found(tmp_path)
    assert line.startswith("usr/lib/settings: holds a path of the sandbox, /")


@pytest.mark.parametrize("text", [b"META-INF/com/android/build/", b"/usr/out", b"the build / out/ of it"])
def test_other_words_are_no_path_of_the_sandbox(tmp_path: Path, text: bytes) -> None:
    write(tmp_path / "usr/share/magic", text)
    assert found(tmp_path) == []


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert found(tmp_path) == []


def test_all_problems_are_told_at_once(program: Path, tmp_path: Path) -> None:
    write(tmp_path / "usr/bin/su", b"/build/x", 0o4755)
    with pytest.raises(UserError, match="package probe-one") as caught:
        checks.check(RECIPE, tmp_path, ())
    assert caught.value.message.count("usr/bin/su: ") == 2
    assert "usr/bin/probe: needs " in caught.value.message
    assert "recipes/probe_one.py" in caught.value.hint


STRONG = {"is_fixed": False, "is_pie": True, "has_full_relro": True, "has_executable_stack": False}


@pytest.mark.parametrize(
    ("fact", "value", "weakness"),
    [
        ("is_fixed", True, "is not position independent"),
        ("is_pie", False, "is not position independent"),
        ("has_full_relro", False, "has relocations that stay writable"),
        ("has_executable_stack", True, "has an executable stack"),
        ("runpaths", ("/opt/lib",), "has a search path of its own"),
        ("interpreter", "/lib/ld.so", "requests another loader"),
        ("runpaths", ("$ORIGIN",), ""),
    ],
)
def test_each_weakness_of_a_program_is_a_problem(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str, value: object, weakness: str
) -> None:
    strong = {**STRONG, "runpaths": (), "interpreter": checks.LOADERS[0], "soname": None, "needed": ()}
    for name, one in {**strong, fact: value}.items():
        monkeypatch.setattr(elf, name, lambda _, one=one: one)
    assert found(tmp_path) == ([f"usr/bin/probe: {weakness}"] if weakness else [])


def test_a_library_needs_neither_loader_nor_mark(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = {
        **STRONG,
        "is_pie": False,
        "runpaths": (),
        "interpreter": "/lib/ld.so",
        "soname": "libprobe.so.1",
    }
    for name, one in library.items():
        monkeypatch.setattr(elf, name, lambda _, one=one: one)
    assert checks.weaknesses(program) == []


def test_an_exception_names_a_package_and_a_reason() -> None:
    assert all(reason for reason in checks.UNHARDENED.values())
    assert {name for name, _ in checks.UNHARDENED} <= {"grub"}, "an exception more is a decision"


def test_a_promise_that_came_after_the_build_is_checked_too() -> None:
    promise = replace(RECIPE, files=("usr/bin/probe",))
    checks.check_promise(promise, ["usr/bin/probe"])
    with pytest.raises(UserError, match="usr/bin/probe: promised in files"):
        checks.check_promise(promise, ["usr/bin/other"])
