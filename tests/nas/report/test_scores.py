"""Scores as people read them."""

from __future__ import annotations

import pytest

from nas.report.scores import format_cost


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("macs", 5.1e6, "5.1M"),
        ("latency_ms", 3.214, "3.21 ms"),
        ("params", 69e3, "69k"),
    ],
)
def test_scores_in_words(name: str, value: float, text: str) -> None:
    assert format_cost(name, value) == text
