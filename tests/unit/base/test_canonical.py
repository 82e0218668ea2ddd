"""Canonical texts: they follow what a value says, and nothing else."""

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path

import pytest

from hostwright.base import canonical


@dataclass(frozen=True)
class Card:
    """A card as an older program knew it."""

    address: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class WiderCard:
    """The same, with fields that came later."""

    label: str = ""
    tags: list[str] = field(default_factory=list)
    ports: tuple[int, ...] = ()
    address: str = "none"


def test_a_new_field_with_a_default_changes_nothing() -> None:
    assert canonical.text(Card("82:00.0")) == canonical.text(WiderCard(address="82:00.0"))


def test_the_name_of_a_class_does_not_count() -> None:
    renamed = make_dataclass("Other", [("address", str)], frozen=True)
    assert canonical.text(renamed("82:00.0")) == canonical.text(Card("82:00.0"))


def test_every_value_that_is_no_default_counts() -> None:
    cards = [
        Card("a"),
        Card("b"),
        Card("a", (1,)),
        Card("a", (1, 2)),
        WiderCard("x"),
        WiderCard(tags=["x"]),
    ]
    assert len({canonical.text(card) for card in cards}) == len(cards)


def test_the_form_of_the_text() -> None:
    assert canonical.text([Card("é", (2, 1)), {"b": None, "a": True}]) == (
        '[{"address":"é","ports":[2,1]},{"a":true,"b":null}]'
    )


@pytest.mark.parametrize("value", [Path("/x"), {1, 2}, b"x", object()])
def test_what_has_no_content_of_its_own_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no canonical text"):
        canonical.text([value])


def test_digests_tell_their_inputs_apart() -> None:
    assert canonical.digest("ab", "c") != canonical.digest("a", "bc")
