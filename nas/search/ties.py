"""Designs that a search cannot tell apart: ties, by the images they were scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nas.runtime.uncertainty import Accuracy, error_fields, infer_images, is_tie
from nas.search.objectives import Goal
from nas.search.pareto import dominates
from nas.search.trial_store import TrialRecord


def with_images(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return trials with the numbers of their images, where an earlier version did not store them.

    All measured trials of a study are of the same images, and their accuracies are shares of them.
    """
    if all(record.images is not None for record in records if "top1" in record.scores):
        return list(records)
    measured = [record for record in records if record.measured and "top1" in record.scores]
    known = {record.images for record in measured} - {None}
    images = known.pop() if known else infer_images(record.scores["top1"] for record in measured)
    return [
        replace(record, images=record.stopped_after or images)
        if record.images is None and "top1" in record.scores
        else record
        for record in records
    ]


def find_ties(designs: Sequence[TrialRecord]) -> dict[str, list[str]]:
    """Return by digest the digests of the designs whose accuracy is within noise of its own, in their order."""
    known = _accuracies(designs)
    return {
        digest: [other for other in known if other != digest and is_tie(accuracy, known[other])]
        for digest, accuracy in known.items()
    }


def tie_marks(designs: Sequence[TrialRecord]) -> dict[str, str]:
    """Return by digest what a design's accuracy is within noise of: ``best``, ``next``, ``both`` or nothing.

    The next is the one that follows in accuracy: a design that is dearer and within noise of the next is not shown to
    be worth its cost.
    """
    ranked = sorted(_accuracies(designs).items(), key=lambda item: -item[1].top1)
    marks = {}
    for rank, (digest, accuracy) in enumerate(ranked):
        following = ranked[rank + 1 : rank + 2]
        words = ["best"] if rank and is_tie(ranked[0][1], accuracy) else []
        words += ["next" for _, other in following if is_tie(accuracy, other)]
        marks[digest] = "both" if len(words) == 2 else "".join(words)
    return marks


def relate(one: TrialRecord, other: TrialRecord, goal: Goal) -> str | None:
    """Return in which way ``one`` is as good as ``other`` or better in all objectives, or None where it is not.

    ``better`` where its accuracy is shown to be higher, ``tie`` where the two accuracies are within noise.
    """
    mine, others = one.accuracy, other.accuracy
    if "top1" not in goal.objectives or mine is None or others is None or not is_tie(mine, others):
        better = dominates(goal.values(one.scores), goal.values(other.scores), goal.directions)
        return "better" if better else None
    values, tied = goal.values(other.scores), goal.values({**one.scores, "top1": others.top1})
    return "tie" if tied == values or dominates(tied, values, goal.directions) else None


def front_entries(front: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return the designs of a front for JSON: scores, error of the accuracy, and which others it ties with."""
    ties = find_ties(front)
    return [
        {
            "digest": trial.architecture.digest,
            "origin": trial.origin,
            "scores": dict(trial.scores),
            **_errors(trial.accuracy),
            "ties": ties.get(trial.architecture.digest, []),
            "design": str(trial.architecture),
        }
        for trial in front
    ]


def _errors(accuracy: Accuracy | None) -> dict[str, Any]:
    if accuracy is None:
        return {}
    return {**error_fields("top1", accuracy.top1, accuracy.images), "images": accuracy.images}


def _accuracies(designs: Sequence[TrialRecord]) -> Mapping[str, Accuracy]:
    return {
        design.architecture.digest: accuracy
        for design in designs
        if (accuracy := design.accuracy) is not None
    }
