"""The archives that a machine's apt configuration names."""

from pathlib import Path

import pytest

from hostwright.base.errors import UserError
from hostwright.source import mirrors


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTWRIGHT_MIRROR", raising=False)


def configure(apt: Path, files: dict[str, str]) -> Path:
    (apt / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        (apt / name).write_text(text)
    return apt


def test_one_line_style(tmp_path: Path) -> None:
    text = "# deb http://no/debian x main\ndeb [arch=amd64 signed-by=/k] http://one/debian/ trixie main\n"
    text += "deb-src http://two/debian trixie main\n"
    assert mirrors.find_mirrors(configure(tmp_path, {"sources.list": text})) == [
        "http://one/debian",
        "http://two/debian",
    ]


def test_deb822_style(tmp_path: Path) -> None:
    text = "Types: deb\nURIs: http://one/debian\n http://two/debian\nSuites: a\n\n"
    text += "Enabled: no\nTypes: deb\nURIs: http://off/debian\nSuites: a\n"
    found = mirrors.find_mirrors(configure(tmp_path, {"sources.list.d/debian.sources": text}))
    assert found == ["http://one/debian", "http://two/debian"]


def test_a_list_of_mirrors(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("http://one/debian\tpriority:1\nhttps://two/debian\n")
    apt = configure(tmp_path / "apt", {"sources.list": f"deb mirror+file:{names} trixie main\n"})
    assert mirrors.find_mirrors(apt) == ["http://one/debian", "https://two/debian"]


def test_security_archives_have_another_pool(tmp_path: Path) -> None:
    text = "deb http://one/debian-security t main\ndeb http://one/debian t main\n"
    assert mirrors.find_mirrors(configure(tmp_path, {"sources.list": text})) == ["http://one/debian"]


def test_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTWRIGHT_MIRROR", "http://mine/debian/ http://next/debian")
    assert mirrors.find_mirrors(configure(tmp_path, {})) == ["http://mine/debian", "http://next/debian"]


def test_none_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HOSTWRIGHT_MIRROR=") as error:
        mirrors.find_mirrors(configure(tmp_path, {}))
    assert str(tmp_path) in error.value.message
