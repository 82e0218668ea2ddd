"""The corruption sweep: which files it takes, and that a flip changes one bit and nothing else."""

from pathlib import Path
from random import Random

import pytest

from hostwright.base.errors import UserError
from hostwright.base.pin import Pin
from hostwright.source import fetch
from hostwright.torture import flips


def spots(**kinds: int) -> list[flips.Spot]:
    return [
        flips.Spot(kind, str(number), lambda _: None)
        for kind, count in kinds.items()
        for number in range(count)
    ]


def test_kinds_with_few_files_are_all_there_and_none_twice() -> None:
    chosen = flips.choose(spots(download=90, package=90, filter=1, installer=4), 60, Random(1))
    assert len(chosen) == len({(spot.kind, spot.name) for spot in chosen}) == 60
    counts = {kind: sum(spot.kind == kind for spot in chosen) for kind in ("filter", "installer", "download")}
    assert counts == {"filter": 1, "installer": 4, "download": 28}
    assert len(flips.choose(spots(download=3), 60, Random(1))) == 3


@pytest.mark.parametrize("seed", range(8))
def test_a_flip_changes_one_bit_and_no_size_time_or_mode(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    file.chmod(0o755)
    before = file.stat()
    place = flips.flip(file, Random(seed))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_mode) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_mode,
    )
    content = file.read_bytes()
    assert [at for at, byte in enumerate(content) if byte] == [place]
    assert content[place].bit_count() == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_cache_that_notices_nothing_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    content = b"content"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pin = Pin("pool/x", "0" * 64, name="thing")
    fetch.local(pin.sha256).parent.mkdir(parents=True)
    fetch.local(pin.sha256).write_bytes(content)
    monkeypatch.setattr("hostwright.base.intact.is_intact", lambda *_, **__: True)
    with pytest.raises(UserError, match=r"verify finds no damage|is not noticed before it is used"):
        flips._download(pin, Random(seed))
