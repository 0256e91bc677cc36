"""Shares of options add up, and the elite is the front with the best."""

from __future__ import annotations

import pytest

from nas.report.choices import plot_operators, select_elite
from nas.search.loop import pareto_records
from nas.search.objectives import Goal
from nas.study.folder import Study


def test_shares_add_up(finished: Study) -> None:
    rows = finished.open_store().records()
    figure = plot_operators(rows, select_elite(rows, finished.goal()))
    for column in ("x", "x2"):
        bars = [trace for trace in figure.data if (trace.xaxis or "x") == column]
        sums = [sum(shares) for shares in zip(*(bar.x for bar in bars), strict=True)]
        assert sums == pytest.approx([100] * 3)


def test_elite_is_the_front_and_the_best_tenth(finished: Study) -> None:
    rows = [row for row in finished.open_store().records() if row.evaluated]
    chosen = {row.architecture.digest for row in select_elite(rows, finished.goal())}
    ranked = sorted(rows, key=lambda row: -row.scores["top1"])
    assert chosen >= {row.architecture.digest for row in pareto_records(rows, finished.goal())}
    assert chosen >= {row.architecture.digest for row in ranked[:2]}
    assert select_elite([], Goal()) == []
