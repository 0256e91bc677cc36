"""Importances: what was planted comes first, and a knob is not taken for its operator nor the other way round."""

from __future__ import annotations

import pytest

from nas.insight.choice_shares import Choice
from nas.insight.importance import find_importances
from tests.nas.insight.planted import plant

OPERATOR, WINDOW = Choice(1, "operator"), Choice(1, "window_size", "lsa")


@pytest.mark.parametrize(
    ("worth", "first"),
    [
        ({(OPERATOR, "lsa"): 5.0}, OPERATOR),
        ({(Choice(2, "mlp_ratio"), "4"): 3.0}, Choice(2, "mlp_ratio")),
        ({(WINDOW, "8"): 6.0, (WINDOW, "2"): -6.0}, WINDOW),
    ],
)
def test_the_planted_choice_is_first(worth: dict[tuple[Choice, str], float], first: Choice) -> None:
    found = find_importances(plant(worth, noise=0.2))
    assert found[0].choice == first and found[0].share > 0.6
    assert sum(each.share for each in found) == pytest.approx(1)


def test_choices_without_an_alternative_are_none() -> None:
    choices = {each.choice for each in find_importances(plant({}, noise=1.0))}
    assert Choice(2, "kernel_size", "refiner") not in choices  # it offers one
    assert Choice(2, "expand_ratio", "refiner") in choices
    assert find_importances(plant({}, noise=1.0, count=30)) == []


def test_accuracies_that_differ_by_rounding_alone_tell_nothing() -> None:
    """As where all designs are right in all of a few images: fANOVA raises an error of it."""
    designs = [(design, 100.0) for design, _ in plant({}, noise=1.0)]
    assert find_importances(designs) == []
