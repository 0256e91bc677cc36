"""The report: one page that stands alone, for every kind of study and at every stage of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nas.report import plots
from nas.report.study_report import write_report
from nas.runtime.files import write_json
from nas.search.loop import Search, SearchConfig, analytic_costs, pareto_records
from nas.search.objectives import Goal
from nas.search.trial_store import TrialRecord
from nas.study.folder import DatasetInfo, Study
from nas.study.settings import Settings
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration

SPACE = """
name: small
blocks:
  mlp_ratio: [1, 2]
  operators:
    dwconv: {kernel_size: [3], dynamic: [none], pos: [none, cpe]}
    lsa: {window_size: [2], pos: [none, rpe]}
scales:
  only:
    images: 8
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2]}
      - {dim: 16, num_heads: 2, depth: [1], downsample: conv2x2}
"""


def evaluate(
    designs: list[Architecture], required_top1: list[float]
) -> Iterator[dict[int, dict[str, float]]]:
    for index, design in enumerate(designs):
        luck = int(design.digest[:4], 16) / 16**4
        yield {index: {"top1": 90 + 5 * luck, "top5": 99.0, "loss": 0.4 - 0.1 * luck, "seconds": 0.5}}


def cheap(design: Architecture) -> dict[str, float]:
    return {**analytic_costs(design), "latency_ms": 1 + int(design.digest[4:6], 16) / 256}


def make_study(
    folder: Path,
    trials: int,
    objectives: str = "top1,macs",
    max_macs: str | None = None,
    starts: tuple[str, ...] = (),
    batch: int = 8,
) -> Study:
    study = Study(folder)
    settings = Settings(space="small", objectives=objectives, max_macs=max_macs, batch=batch)
    facts = DatasetInfo("<b>mnist5k", "0" * 64, 8, 1, ("a", "b"), (0.1,), (0.3,))
    declaration = parse_declaration(SPACE, "space.yaml")
    study.create(settings, facts, declaration, study.default_url, ["nas", "search"])
    space, goal = study.space(), study.goal()
    analogues = [(name, space.largest) for name in starts]
    plan = SearchConfig(goal, "random", batch_size=batch, trials=trials)
    rows = Search(space, study.store(), plan, evaluate, cheap, analogues).run(lambda row, count: None)
    if len(rows) >= trials > 4:
        study.write_front(rows, goal, pareto_records(rows, goal), 0)
    return study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("finished") / "study", 20, starts=("cswin_tiny",))


def retrain(study: Study, row: TrialRecord, mode: str, top1: float) -> None:
    content = {"digest": row.architecture.digest, "mode": mode, **row.scores}
    path = study.retrained(row.architecture.digest, mode) / "result.json"
    write_json(path, {**content, "val_top1": top1, "test_top1": top1 - 0.5})


def page(study: Study) -> tuple[str, dict[str, dict[str, object]]]:
    """Return what a reader sees of the page, and its figures."""
    write_report(study)
    text = study.report_file.read_text(encoding="utf-8")
    head, _, rest = text.partition("<script>")
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=""", text.replace(rest, "")), (
        "not self-contained"
    )
    if not rest:
        return head, {}
    assert rest.count("<script>\nconst figures") == 1
    figures = rest.split("<script>\nconst figures = ")[1].split(";\n\nconst options")[0]
    return head, json.loads(figures)


def names(figure: dict[str, object]) -> list[str]:
    return [trace["name"] for trace in figure["data"] if "name" in trace]  # type: ignore[attr-defined]


def test_a_finished_study_is_told_whole(finished: Study) -> None:
    study = finished
    front = pareto_records(study.store().records(), study.goal())
    retrain(study, front[0], "scratch", 97.0)
    retrain(study, front[0], "inherit", 97.25)
    text, figures = page(study)
    assert "not finished" not in text
    assert "&lt;b&gt;mnist5k" in text and "<b>mnist5k" not in text
    assert all(row.architecture.digest in text for row in front)
    assert "20 evaluated" in text and "cswin_tiny" in text and "+0.25" in text and "96.75%" in text
    assert list(figures) == ["tradeoff-macs", "history", "operators", "positions"]
    assert names(figures["tradeoff-macs"]) == [
        "evaluated design",
        "Pareto front",
        "like a published design",
        "retrained, from scratch",
        "retrained, inherited",
    ]
    drawn = figures["tradeoff-macs"]["data"][1]  # type: ignore[index]
    assert drawn["mode"] == "lines+markers" and drawn["x"] == sorted(drawn["x"])
    assert len(drawn["x"]) == len(front)
    hover = drawn["hovertext"][-1]
    assert front[0].architecture.digest in hover and str(front[0].architecture.stages[0].blocks[0]) in hover


def test_one_objective(tmp_path: Path) -> None:
    text, figures = page(make_study(tmp_path / "study", 6, "top1"))
    assert "The best design" in text
    assert names(figures["tradeoff-macs"])[:2] == ["evaluated design", "best"]
    assert "hypervolume of the front" not in names(figures["history"])


def test_cost_alone_is_searched(tmp_path: Path) -> None:
    _, figures = page(make_study(tmp_path / "study", 6, "macs"))
    assert "tradeoff-top1" in figures


def test_three_objectives_have_a_picture_for_each_cost(tmp_path: Path) -> None:
    text, figures = page(make_study(tmp_path / "study", 6, "top1,macs,latency_ms", max_macs="19k"))
    assert "over a limit" in text and "MACs at most 19k" in text
    for cost in ("macs", "latency_ms"):
        # A line through the projection of a surface would mean nothing.
        assert figures[f"tradeoff-{cost}"]["data"][1]["mode"] == "markers"  # type: ignore[index]
    assert "hypervolume of the front" in names(figures["history"])


@pytest.mark.parametrize("trials", [0, 1, 3])
def test_an_interrupted_search(tmp_path: Path, trials: int) -> None:
    text, figures = page(make_study(tmp_path / "study", trials))
    assert "has not finished" in text
    assert bool(figures) == bool(trials)


def test_stopped_designs_are_counted_and_not_drawn(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 12)
    before = pareto_records(study.rows(), study.goal())
    row = study.rows()[0]
    # So good that it would be the whole front.
    row = replace(row, batch=99, scores={**row.scores, "top1": 100.0, "macs": 1.0}, stopped_after=63)
    study.store().add([row])
    text, figures = page(study)
    study.write_front(study.rows(), study.goal(), before, 0)
    written = json.loads(study.front_file.read_text())
    assert (written["evaluated"], written["stopped"], len(written["front"])) == (13, 1, len(before))
    assert "13 evaluated" in text and "1 stopped early" in text and "100.00%" not in text
    assert [len(trace["x"]) for trace in figures["tradeoff-macs"]["data"]] == [12, len(before)]  # type: ignore[attr-defined]


def test_all_designs_rejected(tmp_path: Path) -> None:
    text, figures = page(make_study(tmp_path / "study", 2, max_macs="1", batch=1))
    assert "no design was evaluated" in text and not figures


def test_a_design_retrained_from_elsewhere(tmp_path: Path) -> None:
    """A published design that was never among the candidates has costs in its result alone."""
    study = make_study(tmp_path / "study", 6)
    content = {"digest": "f" * 12, "mode": "scratch", "macs": 5e4, "val_top1": 93.0, "test_top1": 92.5}
    write_json(study.retrained("f" * 12, "scratch") / "result.json", content)
    text, figures = page(study)
    assert "ffffffffffff" in text
    assert figures["tradeoff-macs"]["data"][-1]["x"] == [5e4]  # type: ignore[index]


def test_a_script_in_a_name_stays_text(tmp_path: Path) -> None:
    study = make_study(tmp_path / "<script>x", 6, starts=("</script><i>",))
    text, figures = page(study)
    assert "<i>" not in text and "&lt;script&gt;x" in text
    assert "</script><i>" not in study.report_file.read_text(encoding="utf-8")
    assert figures


# -- figures -------------------------------------------------------------------------------------------


def test_hypervolume_of_two_points_by_hand() -> None:
    # Corners (0, 1) and (1, 0) of the unit box dominate nothing of it; (0.5, 0.5) a quarter.
    assert plots.hypervolumes([(0, 1), (1, 0), (0.5, 0.5)], ["minimize", "minimize"]) == [0.0, 0.0, 25.0]
    # The same with the first objective turned around, and in three dimensions with a constant third.
    assert plots.hypervolumes([(1, 1), (0, 0), (0.5, 0.5)], ["maximize", "minimize"]) == [0.0, 0.0, 25.0]
    flat = plots.hypervolumes([(0, 1, 7), (1, 0, 7), (0.5, 0.5, 7)], ["minimize"] * 3)
    assert flat == [0.0, 0.0, 25.0]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_hypervolume_equals_counting(dimensions: int) -> None:
    def place(number: int, axis: int) -> int:
        return hashlib.sha256(f"{number}/{axis}".encode()).digest()[0] % 11

    points = [[place(number, axis) for axis in range(dimensions)] for number in range(30)]
    assert all({0, 10} <= {point[axis] for point in points} for axis in range(dimensions))
    cells = [[]]
    for _ in range(dimensions):
        cells = [[*cell, place] for cell in cells for place in range(10)]
    inside = [
        any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells
    ]
    volume = plots.hypervolumes(points, ["minimize"] * dimensions)[-1]
    assert volume == pytest.approx(100 * sum(inside) / len(cells))


def test_shares_add_up(finished: Study) -> None:
    rows = finished.store().records()
    figure = plots.operators(rows, plots.elite(rows, finished.goal()))
    for column in ("x", "x2"):
        required_top1 = [trace for trace in figure.data if (trace.xaxis or "x") == column]
        assert [
            sum(values) for values in zip(*(bar.x for bar in required_top1), strict=True)
        ] == pytest.approx([100] * 3)


def test_elite_is_the_front_and_the_best_tenth(finished: Study) -> None:
    rows = [row for row in finished.store().records() if row.evaluated]
    chosen = {row.architecture.digest for row in plots.elite(rows, finished.goal())}
    ranked = sorted(rows, key=lambda row: -row.scores["top1"])
    assert chosen >= {row.architecture.digest for row in pareto_records(rows, finished.goal())}
    assert chosen >= {row.architecture.digest for row in ranked[:2]}
    assert plots.elite([], Goal()) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("top1", 97.256, "97.26%"),
        ("macs", 5.1e6, "5.1M"),
        ("latency_ms", 3.214, "3.21 ms"),
        ("params", 69e3, "69k"),
    ],
)
def test_scores_in_words(name: str, value: float, text: str) -> None:
    assert plots.worded(name, value) == text
