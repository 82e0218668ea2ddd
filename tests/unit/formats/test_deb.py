"""Unpacking .deb files without dpkg."""

import io
import tarfile
from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.formats import deb


def member(name: str, content: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)


def make_deb(path: Path, entries: list[tarfile.TarInfo], contents: dict[str, bytes]) -> Path:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for entry in entries:
            content = contents.get(entry.name, b"")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    path.write_bytes(b"!<arch>\n" + member("debian-binary", b"2.0") + member("data.tar.xz", data.getvalue()))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_files_links_and_modes(tmp_path: Path) -> None:
    entries = [
        entry("./usr/bin/", tarfile.DIRTYPE),
        entry("./usr/bin/su", mode=0o4755),
        entry("./usr/bin/secret", mode=0o600),
        entry("./usr/bin/hard", tarfile.LNKTYPE, "./usr/bin/su"),
        entry("./usr/bin/soft", tarfile.SYMTYPE, "su"),
    ]
    package = make_deb(tmp_path / "x.deb", entries, {"./usr/bin/su": b"program"})
    root = tmp_path / "root"
    root.mkdir()
    assert deb.unpack(package, root) == ["usr/bin/su", "usr/bin/secret", "usr/bin/hard", "usr/bin/soft"]
    assert (root / "usr/bin/soft").read_bytes() == (root / "usr/bin/hard").read_bytes() == b"program"
    assert (root / "usr/bin/su").stat().st_mode & 0o7777 == 0o755
    assert (root / "usr/bin/secret").stat().st_mode & 0o777 == 0o644


def test_a_path_that_climbs_out_is_left_alone(tmp_path: Path) -> None:
    package = make_deb(tmp_path / "x.deb", [entry("../evil"), entry("./a/../../evil")], {})
    (tmp_path / "root").mkdir()
    assert deb.unpack(package, tmp_path / "root") == []
    assert not (tmp_path / "evil").exists()


def test_contents_are_read_without_unpacking(tmp_path: Path) -> None:
    entries = [
        entry("./usr/", tarfile.DIRTYPE, mode=0o755),
        entry("./usr/su", mode=0o4755),
        entry("./usr/hard", tarfile.LNKTYPE, "./usr/su"),
        entry("./usr/soft", tarfile.SYMTYPE, "su", 0o777),
        entry("./usr/../evil"),
        entry("./lib/x"),
    ]
    package = make_deb(tmp_path / "x.deb", entries, {"./usr/su": b"program"})
    assert list(deb.read(package, "data", "usr")) == [
        ("usr", 0o40755, b""),
        ("usr/su", 0o104755, b"program"),
        ("usr/hard", 0o100644, b"program"),
        ("usr/soft", 0o120777, b"su"),
    ]
    with pytest.raises(UserError, match="no control member"):
        list(deb.read(package, "control"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"!<arch>\n" + member("debian-binary", b"2.0")])
def test_what_is_no_deb_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.deb").write_bytes(content)
    with pytest.raises(UserError, match=r"not a \.deb file"):
        deb.unpack(tmp_path / "x.deb", tmp_path)
