"""What is said of effects: as much as their intervals allow."""

from __future__ import annotations

from nas.insight.choice_shares import Choice
from nas.insight.effects import Effect
from nas.insight.importance import Importance
from nas.insight.sentences import describe_effects, describe_importances
from nas.ranking.agreement import Estimate

OPERATOR, POS = Choice(1, "operator"), Choice(2, "pos")


def effect(choice: Choice, value: str, points: float, low: float, high: float) -> Effect:
    reference = "dwconv" if choice == OPERATOR else "none"
    return Effect(choice, value, reference, Estimate(points, low, high), 12)


def test_clear_effects_have_their_numbers_and_others_are_called_noise() -> None:
    effects = [
        effect(OPERATOR, "gsa", -0.84, -1.61, -0.08),
        effect(OPERATOR, "lsa", 1.2, 0.4, 2.0),
        effect(OPERATOR, "cswin", 0.3, -0.4, 1.0),
        effect(POS, "cpe", 0.5, -0.1, 1.1),
    ]
    assert describe_effects(effects) == [
        "Stage 1, operator, at equal MACs: lsa reaches 1.2 points (0.4 to 2.0) more than dwconv, gsa reaches "
        "0.8 points (0.1 to 1.6) less; no difference to it is beyond noise for cswin.",
        "No difference is beyond noise for encoding (stage 2).",
        "2 of 4 differences are clear; by chance alone it would be about 0.",
    ]
    assert describe_effects([]) == []


def test_an_effect_as_small_as_its_interval_is_not_clear() -> None:
    assert not effect(POS, "cpe", 0.5, 0.0, 1.0).clear
    assert effect(POS, "cpe", 0.5, 0.01, 1.0).clear and effect(POS, "cpe", -0.5, -1.0, -0.01).clear


def test_the_importances_that_are_said() -> None:
    found = [
        Importance(OPERATOR, 0.8),
        Importance(Choice(1, "window_size", "lsa"), 0.12),
        Importance(POS, 0.08),
    ]
    assert describe_importances(found) == (
        "Of the variance that choices explain at equal MACs: operator of stage 1 80%, lsa's window_size of stage 1 12%."
    )
    assert describe_importances([]) == ""
