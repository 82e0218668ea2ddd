"""dist/MANIFEST: every artifact with its sha256, in the format of sha256sum(1)."""

from collections.abc import Iterator
from pathlib import Path

from hostwright.base import files
from hostwright.base.errors import UserError

# Logs and the proof belong to one run; stamps and state are doit's; the rest is the artifact.
ARTIFACTS = ("host.img", "rootfs.tar", "data.tar", "kernel", "ovmf")
# A comment to sha256sum(1).
MADE_FROM = "# made from "


def artifacts(dist: Path) -> Iterator[Path]:
    """The files that a commit determines bit by bit, sorted."""
    for name in ARTIFACTS:
        place = dist / name
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (file for file in found if file.is_file() and not file.is_symlink())


def render(dist: Path) -> str:
    """The text of the manifest."""
    return "".join(f"{files.digest(file)}  {file.relative_to(dist)}\n" for file in artifacts(dist))


def write_manifest(dist: Path, target: Path, made_from: str) -> None:
    """Write the manifest of the artifacts in `dist`, headed by the digest of what it was made from."""
    files.write(target, f"{MADE_FROM}{made_from}\n{render(dist)}")


def verify(dist: Path, target: Path) -> str:
    """Compare every artifact with the manifest; the digest of what they were made from.

    A UserError names each artifact that is gone, new or changed.
    """
    if wrong := differences(load(target), _digests(render(dist))):
        raise UserError(
            "artifacts differ from dist/MANIFEST: " + ", ".join(wrong),
            "remove them and run ./doit host, which takes them from the cache",
        )
    head = target.read_text().partition("\n")[0]
    return head.removeprefix(MADE_FROM) if head.startswith(MADE_FROM) else ""


def load(target: Path) -> dict[str, str]:
    """File name to sha256 of a written manifest; UserError if there is none."""
    if not target.exists():
        raise UserError("there is no dist/MANIFEST", "build first: ./doit host")
    return _digests(target.read_text())


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """The names whose digests differ or that only one of the two has, sorted."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def _digests(text: str) -> dict[str, str]:
    """File name to digest."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
