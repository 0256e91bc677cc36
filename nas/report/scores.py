"""Scores as people read them: their names, and values with units."""

from __future__ import annotations

from nas.runtime.console import quantity
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord


class _Words(dict[str, str]):
    """Words for the built-in scores; objectives of a program's own go by their names."""

    def __missing__(self, name: str) -> str:
        return name


#: What running text and tables call a score.
NAMES = _Words(top1="top-1", loss="loss", macs="MACs", params="parameters", latency_ms="latency")

#: Titles of axes.
TITLES = _Words(
    top1="top-1 on validation images (%)",
    loss="loss on validation images (nats)",
    macs="MACs per image",
    params="parameters",
    latency_ms="latency (ms)",
)


def axis_title(name: str, goal: Goal) -> str:
    """Return the title of an axis: an objective of a program's own has its unit."""
    own = {each.name: each for each in goal.own}
    return own[name].title if name in own else TITLES[name]


def format_cost(name: str, value: float) -> str:
    """Return the value of a score other than accuracy with its unit: ``5.1M``, ``3.2 ms``, ``1.634``."""
    if name == "loss":
        return f"{value:.3f}"
    return f"{value:.3g} ms" if name == "latency_ms" else quantity(value)


def format_score(name: str, trial: TrialRecord) -> str:
    """Return a score of a trial with its unit, accuracies with their error: ``97.0 ± 0.5%``, ``5.1M``."""
    return str(trial.accuracy) if name == "top1" else format_cost(name, trial.scores[name])


def format_named_score(name: str, trial: TrialRecord) -> str:
    """Return a score of a trial with its name: ``top-1 97.0 ± 0.5%``, ``5.1M MACs``."""
    text = format_score(name, trial)
    return f"{text} {NAMES[name]}" if name in ("macs", "params") else f"{NAMES[name]} {text}"
