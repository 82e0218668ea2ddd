"""How a run ends."""

import pytest

from hostwright.tasks import reporter


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["host"], "./doit package:bash"),
        (["guest", "offline=yes"], "./doit package:bash"),
        (["host", "machine=hosts/mine.toml"], "./doit package:bash machine=hosts/mine.toml"),
        (["machine=a b.toml", "-n", "2", "prove"], "./doit package:bash 'machine=a b.toml'"),
    ],
)
def test_a_failure_names_the_line_that_runs_it_again(words: list[str], line: str) -> None:
    assert reporter.again("package:bash", words) == line
