"""Designs that a search cannot tell apart are ties: on the front, for JSON, and against published ones."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from nas.search.objectives import Goal
from nas.search.ties import find_ties, front_entries, relate, tie_marks, with_images
from nas.search.trial_store import TrialRecord
from tests.helpers.searches import small_space

GOAL = Goal(("top1", "macs"))
SPACE = small_space()
DESIGNS = list({(d := SPACE.sample(Random(seed))).digest: d for seed in range(40)}.values())


def trial(number: int, hits: int, macs: float, images: int | None = 100, paired: bool = True) -> TrialRecord:
    """Return a trial that is right on its first ``hits`` of 100 images."""
    design, ones = DESIGNS[number], (1 << hits) - 1
    correct = ones << (100 - hits) if paired and images else None
    scores = {"top1": float(hits), "macs": macs}
    return TrialRecord(0, number, SPACE.values(design), design, scores, images=images, correct=correct)


def digests(*trials: TrialRecord) -> list[str]:
    return [one.architecture.digest for one in trials]


def test_the_front_says_which_designs_tie() -> None:
    front = [trial(0, 97, 9.0), trial(1, 94, 7.0), trial(2, 90, 5.0), trial(3, 80, 3.0)]
    a, b, c, d = digests(*front)
    assert find_ties(front) == {a: [b], b: [a, c], c: [b], d: []}
    assert tie_marks(front) == {a: "next", b: "both", c: "", d: ""}
    entries = front_entries(front)
    assert [entry["ties"] for entry in entries] == [[b], [a, c], [b], []]
    assert entries[2]["top1_se"] == pytest.approx(3.0) and entries[2]["images"] == 100
    low, high = entries[2]["top1_interval"]
    assert low < 90 < high and "correct" not in entries[2]


def test_without_predictions_errors_count_as_independent() -> None:
    front = [trial(0, 97, 9.0, paired=False), trial(1, 90, 7.0, paired=False)]
    assert tie_marks(front) == dict(zip(digests(*front), ["next", "best"], strict=True))


def test_a_search_without_accuracy_has_no_ties() -> None:
    one = trial(0, 97, 9.0)
    one = replace(one, scores={"macs": 9.0}, images=None, correct=None)
    assert find_ties([one]) == {} and tie_marks([one]) == {}
    (entry,) = front_entries([one])
    assert entry["ties"] == [] and "top1_se" not in entry


def test_as_good_or_better_is_no_matter_of_noise() -> None:
    published = trial(0, 90, 5.0)
    assert relate(trial(1, 97, 4.0), published, GOAL) == "better"
    assert relate(trial(1, 97, 6.0), published, GOAL) is None  # dearer
    assert relate(trial(1, 92, 4.0), published, GOAL) == "tie"
    assert relate(trial(1, 88, 4.0), published, GOAL) == "tie"
    assert relate(trial(1, 90, 5.0), published, GOAL) == "tie"
    assert relate(trial(1, 92, 6.0), published, GOAL) is None
    assert relate(trial(1, 80, 4.0), published, GOAL) is None  # worse for certain
    assert relate(trial(1, 80, 4.0), published, Goal(("macs",))) == "better"


def test_images_of_an_earlier_version_are_inferred() -> None:
    old = [trial(0, 97, 9.0, images=None), trial(1, 94, 7.0, images=None)]
    rejected = replace(old[0], scores={"macs": 99.0}, rejected="macs 99 > 9")
    stopped = replace(old[1], scores={"top1": 25.0, "macs": 1.0}, stopped_after=8)
    found = with_images([*old, rejected, stopped])
    assert [record.images for record in found] == [100, 100, None, 8]
    # A study that was resumed knows them.
    resumed = with_images([trial(0, 50, 9.0, images=None), trial(1, 94, 7.0)])
    assert [record.images for record in resumed] == [100, 100]
