"""Effects and importances in words, as plain text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

from nas.insight.choice_shares import Choice
from nas.insight.effects import Effect
from nas.insight.importance import Importance
from nas.ranking.agreement import CONFIDENCE, Estimate

#: What people call choices; knobs keep their names.
_NAMES = {"pos": "encoding", "mlp_ratio": "MLP ratio", "dim": "width", "num_heads": "number of heads"}
_LEAST_IMPORTANCE = 0.1


def name_choice(choice: Choice) -> str:
    """Return what a choice is called: ``operator``, ``encoding``, ``lsa's window_size``."""
    return choice.subject if choice.operator else _NAMES.get(choice.name, choice.name)


def describe_effects(effects: Sequence[Effect]) -> list[str]:
    """Return a sentence for every choice that has clear effects, and one on all that have none."""
    sentences, unclear = [], defaultdict[str, list[str]](list)
    for choice, group in groupby(effects, key=lambda effect: effect.choice):
        own = list(group)
        clear = sorted((each for each in own if each.clear), key=lambda each: -(each.points.value or 0))
        place, name = choice.place, name_choice(choice)
        if not clear:
            unclear[name].append(place)
            continue
        first, *further = [f"{each.value} reaches {describe_points(each.points)}" for each in clear]
        ties = [each.value for each in own if not each.clear]
        sentence = ", ".join([f"{first} than {clear[0].reference}", *further])
        sentence += f"; no difference to it is beyond noise for {', '.join(ties)}" if ties else ""
        sentences.append(f"{place[0].upper()}{place[1:]}, {name}, at equal MACs: {sentence}.")
    if unclear:
        parts = [f"{name} ({', '.join(places)})" for name, places in unclear.items()]
        sentences.append(f"No difference is beyond noise for {', '.join(parts)}.")
    if effects:
        clear_count = sum(each.clear for each in effects)
        by_chance = (1 - CONFIDENCE) * len(effects)
        sentences.append(
            f"{clear_count} of {len(effects)} differences are clear; by chance alone it would be about {by_chance:.0f}."
        )
    return sentences


def describe_points(points: Estimate) -> str:
    """Return a difference with its interval, as ``1.2 points (0.4 to 2.0) more``."""
    value, low, high = (points.value or 0.0), (points.low or 0.0), (points.high or 0.0)
    if value < 0:
        return f"{-value:.1f} points ({-high:.1f} to {-low:.1f}) less"
    return f"{value:.1f} points ({low:.1f} to {high:.1f}) more"


def describe_importances(importances: Sequence[Importance]) -> str:
    """Return which choices matter most; empty where nothing is known."""
    if not importances:
        return ""
    most = [each for each in importances if each.share >= _LEAST_IMPORTANCE] or importances[:1]
    parts = [f"{name_choice(each.choice)} of {each.choice.place} {each.share:.0%}" for each in most]
    return f"Of the variance that choices explain at equal MACs: {', '.join(parts)}."
