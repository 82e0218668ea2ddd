"""`./doit add` on a small archive of one package, served on loopback: its output, its reports, its errors."""

import functools
import hashlib
import http.server
import io
import lzma
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hostwright.base import files, paths
from hostwright.base.errors import UserError
from hostwright.recipe import Configure, Recipe
from hostwright.sandbox import signature
from hostwright.sandbox.workshop import open_at
from hostwright.source import index
from hostwright.upkeep import draft

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: A
License: LGPL-2.1+

Files: tools/*
Copyright: B
License: GPL-2
"""
CONTROL = "Source: libmini\n\nPackage: libmini0\nDescription: small library\n"
UNRELATED = "Package: other\nVersion: 1\n"
POOL = "pool/main/libm/libmini"
ORIG, PART, DEBIAN = (
    "libmini_1.0+dfsg.orig.tar.gz",
    "libmini_1.0+dfsg.orig-data.tar.gz",
    "libmini_1.0+dfsg-2.debian.tar.xz",
)


def tar(files: dict[str, str], mode: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as made:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            made.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


def ar(name: str, content: bytes) -> bytes:
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content


@dataclass
class Archive:
    """A folder that is an archive, its address, and the paths that were requested."""

    folder: Path
    address: str
    asked: list[str]

    def put(self, path: str, content: bytes) -> str:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def fill(self, sources: str, packages: str) -> str:
        """Place the indexes; returns the text of the Release file."""
        lines = ["Origin: x", "SHA256:"]
        for path, text in ((index.SOURCES, sources), (index.PACKAGES, packages)):
            data = lzma.compress(text.encode())
            lines.append(f" {self.put(f'dists/{index.SUITE}/{path}', data)} {len(data)} {path}")
        return "\n".join(lines) + "\n"


def source_paragraph(digests: dict[str, str]) -> str:
    files = "".join(f"\n {digest} 100 {name}" for name, digest in digests.items())
    return (
        f"Package: libmini\nBinary: libmini0, libmini-dev\nVersion: 1:1.0+dfsg-2\nDirectory: {POOL}\n"
        f"Homepage: http://example.org/mini\nBuild-Depends: zlib1g-dev, libpam0g-dev\n"
        f"Checksums-Sha256:{files}\n\n"
        "Package: zlib\nBinary: zlib1g, zlib1g-dev\nVersion: 1\nDirectory: pool/main/z/zlib\n"
    )


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """An archive with libmini, and a copy of recipes/ to write to."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(f"{self.command} {self.path}")

    (tmp_path / "archive").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(paths.RECIPES, tmp_path / "recipes")
    monkeypatch.setattr(paths, "RECIPES", tmp_path / "recipes")
    handler = functools.partial(Handler, directory=str(tmp_path / "archive"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        made = Archive(tmp_path / "archive", f"http://127.0.0.1:{running.server_port}", asked)
        orig = tar({"mini-1/configure": "--enable-static[=PKGS]", "mini-1/configure.ac": "AC_INIT"}, "w:gz")
        debian = tar({"debian/copyright": COPYRIGHT, "debian/control": CONTROL}, "w:xz")
        digests = {ORIG: made.put(f"{POOL}/{ORIG}", orig), DEBIAN: made.put(f"{POOL}/{DEBIAN}", debian)}
        serve(made, monkeypatch, source_paragraph(digests))
        yield made
        running.shutdown()


def serve(mirror: Archive, monkeypatch: pytest.MonkeyPatch, sources: str, packages: str = UNRELATED) -> None:
    release = mirror.fill(sources, packages)
    monkeypatch.setattr(signature, "signed_release", lambda shop: release)


def add(mirror: Archive, name: str = "libmini", recipe_name: str = "") -> str:
    shop = replace(open_at(mirror.folder / "log"), named=(mirror.address,))
    return "\n".join(draft.add(name, recipe_name, shop, lambda _: None))


def written(name: str = "libmini") -> Recipe:
    space: dict[str, object] = {}
    exec((paths.RECIPES / f"{name}.py").read_text(), space)
    value = space["RECIPE"]
    assert isinstance(value, Recipe)
    return value


def is_untouched() -> bool:
    """Whether recipes/ is unchanged, without a partly written file."""
    return {one.name for one in paths.RECIPES.iterdir()} == {
        one.name for one in (paths.TREE / "recipes").iterdir()
    }


def test_a_recipe_is_written_from_what_was_found(mirror: Archive) -> None:
    said = add(mirror)
    value = written()
    assert (value.name, value.version, value.license) == ("libmini", "1.0", "LGPL-2.1-or-later")
    assert value.source.path == f"{POOL}/{ORIG}"
    assert value.source.sha256 == hashlib.sha256((mirror.folder / POOL / ORIG).read_bytes()).hexdigest()
    assert value.home == "https://example.org/mini"
    assert value.needs == ("glibc", "zlib")
    assert value.build == Configure(options=("--disable-static",))
    assert (paths.RECIPES / "libmini.py").read_text().startswith('"""libmini: small library."""\n')
    assert "libpam0g-dev (of no source package)" in said and "some files have GPL-2" in said
    assert "./doit package:libmini" in said and "declares LGPL-2.1+" in said


def test_the_recipe_passes_the_checks_of_the_tree(mirror: Archive) -> None:
    add(mirror, recipe_name="lib-mini")
    file = paths.RECIPES / "lib_mini.py"
    for words in (["ruff", "format", "--check"], ["ruff", "check"], ["mypy", "--strict"]):
        argv = [str(Path(sys.executable).parent / words[0]), *words[1:], str(file)]
        result = subprocess.run(argv, cwd=paths.TREE, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


def test_the_index_is_fetched_once(mirror: Archive) -> None:
    add(mirror)
    (paths.RECIPES / "libmini.py").unlink()
    add(mirror)
    assert len([line for line in mirror.asked if index.SOURCES in line]) == 1


def test_further_tarballs_are_unpacked_below(mirror: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar({"data/x": "y"}, "w:gz")
    digests = {name: files.digest(mirror.folder / POOL / name) for name in (ORIG, DEBIAN)}
    serve(mirror, monkeypatch, source_paragraph({**digests, PART: mirror.put(f"{POOL}/{PART}", data)}))
    said = add(mirror)
    (extra,) = written().extra
    assert (extra.path, extra.into) == (f"{POOL}/{PART}", "data")
    assert "unpacked into data" in said


def test_without_debians_part_its_packages_are_asked(
    mirror: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive lists the .debian.tar but does not hold it; the smallest package has no copyright file."""
    digests = {name: files.digest(mirror.folder / POOL / name) for name in (ORIG, DEBIAN)}
    (mirror.folder / POOL / DEBIAN).unlink()
    packages = ""
    for name, text in (("libmini0", COPYRIGHT), ("libmini-dev", "")):
        member = "./usr/share/doc/libmini0/copyright" if text else "./usr/share/doc/libmini-dev/x"
        data = ar("data.tar.xz", tar({member: text}, "w:xz"))
        content = b"!<arch>\n" + ar("debian-binary", b"2.") + data
        path = f"{POOL}/{name}.deb"
        digest, size = mirror.put(path, content), len(content) if text else 1
        packages += (
            f"Package: {name}\nSource: libmini (1:1.0+dfsg-2)\nVersion: 1:1.0+dfsg-2+b1\nFilename: {path}\n"
            f"Size: {size}\nSHA256: {digest}\nDescription: {name} of the archive\n\n"
        )
    serve(mirror, monkeypatch, source_paragraph(digests), packages)
    said = add(mirror)
    assert written().license == "LGPL-2.1-or-later"
    assert f"GET /{POOL}/libmini-dev.deb" in " ".join(mirror.asked)
    assert "the copyright file of libmini0 1:1.0+dfsg-2+b1" in said
    assert '"""libmini: libmini0 of the archive."""' in (paths.RECIPES / "libmini.py").read_text()


def test_without_any_text_of_debian_it_says_so(mirror: Archive) -> None:
    (mirror.folder / POOL / DEBIAN).unlink()
    said = add(mirror)
    assert written().license == "NOASSERTION"
    assert (
        "no copyright file was found" in said
        and "license: give the SPDX expression of what is installed" in said
    )


def test_a_tarball_with_another_digest_is_not_opened(mirror: Archive) -> None:
    mirror.put(f"{POOL}/{ORIG}", b"not what was signed")
    with pytest.raises(UserError, match=r"cannot fetch libmini_1\.0\+dfsg\.orig\.tar\.gz"):
        add(mirror)
    assert is_untouched()


def test_an_index_that_was_not_signed_is_not_opened(mirror: Archive) -> None:
    mirror.fill("Package: libmini\nVersion: 666\n", UNRELATED)
    with pytest.raises(UserError, match="its sha256 is"):
        add(mirror)
    assert is_untouched()


def test_a_tarball_that_is_not_held_is_named(mirror: Archive) -> None:
    (mirror.folder / POOL / ORIG).unlink()
    with pytest.raises(UserError, match=f"{ORIG.replace('+', '.')}: 404"):
        add(mirror)
    assert is_untouched()


def test_a_package_of_debians_own_is_refused(mirror: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(mirror, monkeypatch, source_paragraph({DEBIAN: "0" * 64}))
    with pytest.raises(UserError, match=r"has no libmini_1\.0\+dfsg\.orig"):
        add(mirror)
    assert is_untouched()


def test_an_unknown_name_is_one_error(mirror: Archive) -> None:
    with pytest.raises(UserError, match="no source package libmini-dev") as caught:
        add(mirror, "libmini-dev")
    assert caught.value.hint == "did you mean libmini?"
    assert is_untouched()


def test_a_recipe_is_never_overwritten(mirror: Archive) -> None:
    before = (paths.RECIPES / "xz.py").read_text()
    with pytest.raises(UserError, match=r"recipes/xz\.py exists already"):
        add(mirror, "libmini", "xz")
    assert (paths.RECIPES / "xz.py").read_text() == before
    assert mirror.asked == []


@pytest.mark.parametrize(
    ("name", "recipe_name", "file"),
    [("glib2.0", "", "glib2_0.py"), ("libsigc++-2.0", "", "libsigc_2_0.py"), ("7zip", "p7", "p7.py")],
)
def test_the_name_of_a_recipe(name: str, recipe_name: str, file: str) -> None:
    target, found = draft.place(name, recipe_name)
    assert target.name == file and found == file.removesuffix(".py").replace("_", "-")


@pytest.mark.parametrize(
    ("name", "recipe_name"),
    [
        ("../x", ""),
        ("Zlib", ""),
        ("", ""),
        ("-x", ""),
        ("7zip", ""),
        ("x0", "a_b"),
        ("x0", "../b"),
        ("x0", "a/b"),
    ],
)
def test_a_name_that_cannot_be(name: str, recipe_name: str) -> None:
    with pytest.raises(UserError, match=r"name of a source|valid recipe name"):
        draft.place(name, recipe_name)


def test_a_second_recipe_of_a_source_is_told(mirror: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    orig = mirror.put("pool/main/x/xz-utils/xz-utils_9.orig.tar.gz", tar({"xz-9/Makefile": ""}, "w:gz"))
    serve(
        mirror,
        monkeypatch,
        "Package: xz-utils\nVersion: 9-1\nDirectory: pool/main/x/xz-utils\n"
        f"Checksums-Sha256:\n {orig} 1 xz-utils_9.orig.tar.gz\n",
    )
    assert "xz: made from the same source" in add(mirror, "xz-utils")
    assert written("xz_utils").needs == ("glibc",)
