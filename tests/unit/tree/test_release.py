"""The version has one value, and the changelog has a dated entry for it."""

import re
import tomllib

from hostwright.base import paths


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    version = tomllib.loads((paths.TREE / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (.*)$", (paths.TREE / "CHANGELOG.md").read_text(), re.M)
    headings = headings[headings[0] == "Unreleased" :]
    found = [re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)", one) for one in headings]
    releases = [(one[2], one[1]) for one in found if one]
    assert len(releases) == len(headings), "each heading is a version and its date"
    assert releases[0][1] == version
    assert releases == sorted(releases, reverse=True)
