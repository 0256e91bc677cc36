"""The two fronts in words and numbers that were counted by hand."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console
from scipy import stats

from nas.cli.render import halving_table
from nas.report.halving import candidate_rows, describe_fronts, halving_section, retrained_front

#: By name: MACs, supernet, after epoch 4, after epoch 8, at the end from scratch, on the supernet's front.
ROWS: dict[str, tuple[float, float, float, float | None, float | None, bool]] = {
    "a": (1e6, 80.0, 70.0, 85.0, 97.0, False),
    "b": (2e6, 88.0, 60.0, None, None, True),
    "c": (3e6, 90.0, 75.0, 86.0, 96.0, True),
    "d": (4e6, 70.0, 72.0, 80.0, None, False),
    "e": (5e6, 60.0, 76.0, 87.0, 98.0, False),
    "f": (6e6, 50.0, 50.0, None, None, False),
}


def record() -> dict[str, Any]:
    return {
        "epochs": 16,
        "keep": 3,
        "rungs": [{"epochs": 4, "keep": 4}, {"epochs": 8, "keep": 3}],
        "cost": "macs",
        "val_images": 500,
        "candidates": [
            {
                "digest": name * 12,
                "origin": "<b>smallest" if name == "a" else "sampled",
                "why": "cheapest" if name == "a" else "stratum 1 of 5",
                "design": "x",
                "macs": macs,
                "cost": macs,
                "supernet_top1": supernet,
                "merit": supernet,
                "on_front": on_front,
                "val_top1": {"4": first} | ({} if second is None else {"8": second}),
                "out_after": None if last is not None else 4 if second is None else 8,
            }
            for name, (macs, supernet, first, second, last, on_front) in ROWS.items()
        ],
    }


def results() -> list[dict[str, Any]]:
    scratch = {name: row[4] for name, row in ROWS.items() if row[4] is not None}
    found = [
        {"digest": name * 12, "mode": "scratch", "val_top1": top1, "recipe": {"epochs": 16}}
        for name, top1 in scratch.items()
    ]
    # Neither the other mode, nor another length, nor a design that was no candidate counts.
    found += [{**found[1], "mode": "inherit", "val_top1": 99.0}, {**found[0], "digest": "z" * 12}]
    return sorted(
        [*found, {**found[1], "val_top1": 99.5, "recipe": {"epochs": 99}}], key=lambda r: -r["val_top1"]
    )


def test_the_retrained_front_is_of_accuracies_alone() -> None:
    # c is dearer and worse than a.
    assert retrained_front(record(), results()) == ["e" * 12, "a" * 12]


def test_the_fronts_disagree_in_words() -> None:
    text = describe_fronts(record(), results())
    assert text[0] == (
        "6 designs spread over macs were trained alone from scratch; 3 of them to the end, of which 2 are the "
        "retrained front."
    )
    assert text[1] == f"Of 2 candidates on the supernet's front 1 fell out: {'b' * 12} after epoch 4."
    assert text[2] == (
        f"Of the retrained front none are on the supernet's, and {'a' * 12}, {'e' * 12} are not."
    )
    first = stats.kendalltau([row[1] for row in ROWS.values()], [row[2] for row in ROWS.values()]).statistic
    paused = [row for row in ROWS.values() if row[3] is not None]
    second = stats.kendalltau([row[1] for row in paused], [row[3] for row in paused]).statistic
    assert f"{first:.2f} (" in text[3] and "after epoch 4 (n = 6)" in text[3]
    assert f"{second:.2f} (" in text[3] and "after epoch 8 (n = 4)" in text[3]
    assert "epoch 16" not in text[3]  # three designs have no order to speak of


def test_every_candidate_has_a_row_those_that_went_farthest_first() -> None:
    rows = candidate_rows(record(), results())
    assert [row[0][0] for row in rows] == ["e", "a", "c", "d", "b", "f"]
    assert rows[0][1:] == [
        "5M", "60.0%", "76.0 ± 1.9%", "87.0 ± 1.5%", "98.0 ± 0.6%", "retrained",
        "stratum 1 of 5",
    ]  # fmt: skip
    assert rows[4][3:7] == ["60.0 ± 2.2%", "–", "–", "supernet's"]
    assert rows[1][-1] == "<b>smallest: cheapest"


def test_what_a_wider_halving_knows_of_a_later_pause_is_not_shown() -> None:
    """A design that was trained on in an earlier halving and fell out of this one at its first pause."""
    known = record()
    known["candidates"][1]["val_top1"]["8"] = 81.0
    assert candidate_rows(known, results())[4][4] == "–"
    assert "(n = 4)" in describe_fronts(known, results())[3]


def test_page_and_terminal_say_the_same() -> None:
    page = halving_section(record(), results())
    assert "&lt;b&gt;smallest" in page and "<b>smallest" not in page
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(halving_table(record(), results()))
    text = " ".join(console.export_text().split())
    assert "60.0 76.0 87.0 98.0 R stratum 1 of 5" in text and "88.0 60.0 – – S" in text  # in 80 columns
    for name in ROWS:
        assert name * 12 in page and name * 12 in text
    assert (
        "Of 2 candidates on the supernet's front 1 fell out" in page.replace("&#x27;", "'")
        and "fell out" in text
    )


def test_before_anything_went_to_the_end_there_is_no_front() -> None:
    assert retrained_front(record(), []) == []
    assert "0 of them to the end" in describe_fronts(record(), [])[0]
