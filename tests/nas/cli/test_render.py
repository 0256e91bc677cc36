"""What commands print of accuracies: errors, ties, and what the best of many is worth."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from nas.cli.render import front_notes, front_table, results_json, results_table, scores_table
from nas.runtime.uncertainty import encode_bits
from nas.search.trial_store import TrialRecord
from tests.helpers.searches import small_space


def printed(table: Table, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.fixture
def front() -> list[TrialRecord]:
    """Designs that are right on the first 470, 460 and 450 of 500 images."""
    space, rng = small_space(), Random(0)
    designs = list({(design := space.sample(rng)).digest: design for _ in range(30)}.values())[:3]
    return [
        TrialRecord(
            *(0, index, space.values(design), design),
            {"top1": hits / 5, "macs": 5e6 - index, "params": 1e5},
            images=500,
            correct=((1 << hits) - 1) << (500 - hits),
        )
        for index, (design, hits) in enumerate(zip(designs, (470, 467, 450), strict=True))
    ]


def result(digest: str, hits: int, origin: str = "sampled", published: bool = False) -> dict[str, Any]:
    """Return a result that is right on the first ``hits`` of 1,000 test images."""
    correct = encode_bits(((1 << hits) - 1) << (1000 - hits), 1000)
    return {
        "digest": digest,
        "mode": "scratch",
        "origin": origin,
        "published": published,
        "val_top1": 97.0,
        "val_images": 500,
        "test_top1": hits / 10,
        "test_images": 1000,
        "test_correct": correct,
    }


def test_the_front_has_errors_and_ties_and_fits_eighty_columns(front: list[TrialRecord]) -> None:
    digests = [trial.architecture.digest for trial in front]
    text = printed(front_table(front, [result(digests[0], 980)]))
    rows = {digest: next(line for line in text.splitlines() if digest in line) for digest in digests}
    assert "94.0 ± 1.1%  next" in rows[digests[0]] and "98.0 ± 0.4% scratch" in rows[digests[0]]
    assert "93.4 ± 1.1%  best" in rows[digests[1]]
    assert "best" not in rows[digests[2]] and "next" not in rows[digests[2]]
    assert "…" not in text and max(map(len, text.splitlines())) <= 80


def test_the_best_is_said_to_be_selected(front: list[TrialRecord]) -> None:
    notes = front_notes(front, 256)
    # An error of 1.1 points; the largest of 256 errors is 2.8 of them on average.
    assert "on 500 validation images, ± one standard error" in notes
    assert "its best is selected from 256 designs and so optimistic by up to 3.2 points" in notes
    unknown = [replace(trial, images=None, correct=None) for trial in front]
    assert "and so optimistic.\n" in front_notes(unknown, 256)
    assert front_notes([replace(front[0], scores={"macs": 1.0})], 256) == ""


def test_retrained_designs_are_compared_with_the_first() -> None:
    results = [
        result("a" * 12, 980),
        result("b" * 12, 977, "swin_tiny", True),
        result("c" * 12, 950, "cswin-like"),
    ]
    first, second, third = (line for line in printed(results_table(results), 100).splitlines() if "%" in line)
    assert "97.0 ± 0.8%" in first and "98.0 ± 0.4%" in first and "first" not in first
    assert "swin_tiny, published" in second and "97.7 ± 0.5%" in second and "first" in second
    assert "cswin-like" in third and "95.0 ± 0.7%" in third and "first" not in third
    one, other, last = results_json(results)
    assert one["test_ties"] == [{"digest": "b" * 12, "mode": "scratch"}] and last["test_ties"] == []
    assert other["test_ties"] == [{"digest": "a" * 12, "mode": "scratch"}]
    assert "test_correct" not in one and one["test_images"] == 1000


def test_a_models_scores_have_errors() -> None:
    scores = {
        "top1": 90.0,
        "top1_se": 1.3,
        "top1_interval": [1, 2],
        "top5": 100.0,
        "loss": 0.25,
        "images": 500,
    }
    text = printed(scores_table(scores))
    assert "90.0 ± 1.3%" in text and "100% (99.2-100.0%)" in text and "0.25" in text
    assert "_se" not in text and "interval" not in text
