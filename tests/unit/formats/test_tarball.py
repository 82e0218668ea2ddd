"""Reading tarballs without unpacking them."""

import io
import tarfile
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.formats import tarball


def make_tar(path: Path, files: dict[str, str], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def look(path: Path) -> tarball.Contents:
    return tarball.look(path, "thing.tar", lambda one: one == "configure")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("top", ["thing-1.0", "./thing-1.0"])
def test_paths_lie_below_the_one_top_folder(tmp_path: Path, mode: str, top: str) -> None:
    file = make_tar(
        tmp_path / "t", {f"{top}/configure": "text", f"{top}/src/a.c": "x", f"{top}/src/configure": "y"}, mode
    )
    found = look(file)
    assert found.paths == {"configure", "src/a.c", "src/configure"}
    assert found.texts == {"configure": "text"}
    assert not found.is_flat
    assert [one.name for one in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize(
    "files", [{"configure": "", "a.c": ""}, {"one/a": "", "two/b": ""}, {"one/a": "", "b": ""}]
)
def test_without_a_top_folder_the_paths_are_whole(tmp_path: Path, files: dict[str, str]) -> None:
    found = look(make_tar(tmp_path / "t", files))
    assert found.is_flat and found.paths == set(files)


def test_links_and_folders_have_no_text(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t", "w") as tar:
        folder, link = tarfile.TarInfo("x/d"), tarfile.TarInfo("x/configure")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(folder)
        tar.addfile(link)
    assert look(tmp_path / "t") == tarball.Contents(frozenset({"configure"}), {})


def test_a_text_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t", "w") as tar:
        info = tarfile.TarInfo("x/configure")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"a\xffb"))
    assert look(tmp_path / "t").texts == {"configure": "a\N{REPLACEMENT CHARACTER}b"}


def test_only_the_beginning_of_a_huge_text_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "_TEXT_MAX", 4)
    assert look(make_tar(tmp_path / "t", {"x/configure": "123456"})).texts == {"configure": "1234"}


@pytest.mark.parametrize("keep", [0, 0.1, 0.5])
@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_damaged_file_is_named(tmp_path: Path, keep: float, mode: str) -> None:
    file = make_tar(tmp_path / "t", {"x/configure": "".join(map(str, range(9000)))}, mode)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with pytest.raises(UserError, match=r"thing\.tar: cannot be read as a tar archive"):
        look(file)
