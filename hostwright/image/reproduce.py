"""`./doit reproduce`: everything built a second time, elsewhere and otherwise, and compared file by file.

a copy of the tree at another path + an empty cache (downloads shared) + another locale, time zone and
number of processors --> its dist/MANIFEST == this dist/MANIFEST
"""

import os
import shutil
import tempfile
from pathlib import Path

from hostwright.base import intact, paths, run
from hostwright.base.errors import UserError
from hostwright.image import manifest
from hostwright.sandbox.workshop import Workshop

OTHERWISE = {
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "HOSTWRIGHT_JOBS": "1",
}
NOT_COPIED = shutil.ignore_patterns("dist", ".venv", ".git", "__pycache__", ".mypy_cache", ".ruff_cache")


def reproduce(python: str, machine_file: Path, shop: Workshop) -> int:
    """Build again and compare; the number of equal artifacts. A difference is a UserError that names each file."""
    expected = manifest.load(paths.MANIFEST)
    base = Path(tempfile.mkdtemp(prefix="reproduce-", dir=shop.cache))
    shutil.copytree(paths.TREE, base / "another place" / "tree", ignore=NOT_COPIED, symlinks=True)
    _share_downloads(base / "cache")
    is_default = machine_file == paths.TREE / "host.toml"
    argv = [python, "-m", "doit", "host", *([] if is_default else [f"machine={machine_file}"])]
    run.check("the second build", argv, shop.log, env=environment(base), cwd=base / "another place" / "tree")
    found = manifest.load(base / "another place" / "tree" / paths.MANIFEST.relative_to(paths.TREE))
    if wrong := manifest.differences(expected, found):
        raise UserError(
            f"built twice, these differ: {', '.join(wrong)}", f"the second build is kept in {base}"
        )
    shutil.rmtree(base)
    return len(found)


def environment(base: Path) -> dict[str, str]:
    """The environment of the second build: all that must not matter is different."""
    home = {"HOME": str(base / "home"), "XDG_CACHE_HOME": str(base / "cache")}
    return {**os.environ, **OTHERWISE, **home}


def _share_downloads(cache: Path) -> None:
    place = cache / "hostwright" / "downloads"
    place.mkdir(parents=True)
    for file in paths.downloads().iterdir():
        if file.suffix not in (".lock", ".part", ".checked", intact.DAMAGED):
            os.link(file, place / file.name)
