"""The report: one page that stands alone, for every kind of study and at every stage of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from nas.report.study_report import write_report
from nas.runtime.files import write_json
from nas.runtime.uncertainty import standard_error
from nas.search.loop import pareto_records
from nas.search.ties import find_ties, tie_marks
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from tests.helpers.studies import make_study, unseen_trials


def retrain(study: Study, row: TrialRecord, mode: str, top1: float) -> None:
    write_result(
        study, row.architecture, mode, {"val_top1": top1, "val_images": 500, "test_top1": top1 - 0.5}
    )


def write_result(study: Study, design: Architecture, mode: str, fields: dict[str, object]) -> None:
    content = {
        "digest": design.digest,
        "mode": mode,
        "architecture": design.to_json(),
        "macs": costs(design).macs,
    }
    content |= {"test_images": 1000, "weights": "model.safetensors", "recipe": {}, **fields}
    write_json(study.retraining_folder(design.digest, mode) / "result.json", content)


def page(study: Study) -> tuple[str, dict[str, dict[str, object]]]:
    """Return what a reader sees of the page, and its figures."""
    write_report(study)
    text = study.report_file.read_text(encoding="utf-8")
    head, _, rest = text.partition("<script>")
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=", text.replace(rest, ""))
    assert loaded == [], "not self-contained"
    if "const figures" not in rest:
        return head, {}
    assert rest.count("<script>\nconst figures") == 1
    figures = rest.split("<script>\nconst figures = ")[1].split(";\n\nconst options")[0]
    return head, json.loads(figures)


def names(figure: dict[str, object]) -> list[str]:
    return [trace["name"] for trace in figure["data"] if "name" in trace]  # type: ignore[attr-defined]


def test_a_finished_study_is_reported_in_full(finished: Study) -> None:
    study = finished
    front = pareto_records(study.open_store().records(), study.goal())
    retrain(study, front[0], "scratch", 97.0)
    retrain(study, front[0], "inherit", 97.2)
    text, figures = page(study)
    assert "not finished" not in text
    assert "&lt;b&gt;mnist5k" in text and "<b>mnist5k" not in text
    assert all(row.architecture.digest in text for row in front)
    assert "20 evaluated" in text and "cswin_tiny" in text and "+0.2, a tie" in text and "96.7 ± 0.6%" in text
    assert f"<b>{front[0].accuracy}</b>" in text and re.search(r"\d\d\.\d ± 1\.\d%", text)
    assert "selected from 20 designs" in text and "it is optimistic, by up to" in text
    assert "which nothing was selected by" in text
    marks = tie_marks(front)
    assert set(marks.values()) >= {"both"}
    for digest, mark in marks.items():
        assert re.search(rf"<code>{digest}</code></td>(<td[^>]*>[^<]*</td>){{3}}<td[^>]*>{mark}</td>", text)
    assert list(figures) == ["tradeoff-macs", "effects-0", "history", "operators", "positions"]
    assert names(figures["tradeoff-macs"]) == [
        "evaluated design",
        "Pareto front",
        "like a published design",
        "within noise of the best",
        "retrained, from scratch",
        "retrained, inherited",
    ]
    drawn = figures["tradeoff-macs"]["data"][1]  # type: ignore[index]
    assert drawn["mode"] == "lines+markers" and drawn["x"] == sorted(drawn["x"])
    assert len(drawn["x"]) == len(front)
    # Bars of about the standard error, on the front and on retrained designs.
    last = front[0].accuracy
    assert last is not None
    assert drawn["error_y"]["array"][-1] == pytest.approx(standard_error(last.top1, 500), rel=0.1)
    assert drawn["error_y"]["arrayminus"][-1] == pytest.approx(standard_error(last.top1, 500), rel=0.1)
    retrained = figures["tradeoff-macs"]["data"][-1]  # type: ignore[index]
    (above,), (below,) = retrained["error_y"]["array"], retrained["error_y"]["arrayminus"]
    assert above < below and above + below == pytest.approx(2 * standard_error(97.2, 500), rel=0.03)
    ties = [front[0].architecture.digest, *find_ties(front)[front[0].architecture.digest]]
    (filled,) = (
        trace["hovertext"]
        for trace in figures["tradeoff-macs"]["data"]  # type: ignore[attr-defined]
        if trace.get("name") == "within noise of the best"
    )
    assert len(filled) == len(ties) > 1 and all(any(tie in text for tie in ties) for text in filled)
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
    before = pareto_records(study.records(), study.goal())
    (row,) = unseen_trials(study, 1, batch=99)
    # So good that it would be the whole front.
    row = replace(row, scores={**row.scores, "top1": 100.0, "macs": 1.0}, stopped_after=63)
    study.open_store().add([row])
    text, figures = page(study)
    study.write_front(study.records(), study.goal(), before, 0)
    written = json.loads(study.front_file.read_text())
    assert (written["evaluated"], written["stopped"], len(written["front"])) == (13, 1, len(before))
    assert "13 evaluated" in text and "1 stopped early" in text and "100.00%" not in text
    ties = [before[0], *find_ties(before)[before[0].architecture.digest]]
    assert [len(trace["x"]) for trace in figures["tradeoff-macs"]["data"]] == [12, len(before), len(ties)]  # type: ignore[attr-defined]


def test_all_designs_rejected(tmp_path: Path) -> None:
    text, figures = page(make_study(tmp_path / "study", 2, max_macs="1", batch=1))
    assert "no design was evaluated" in text and not figures


def test_a_design_retrained_from_elsewhere(tmp_path: Path) -> None:
    """A published design that was never among the candidates has costs in its result alone."""
    study = make_study(tmp_path / "study", 6)
    (_, design), *_ = analogues(load_declaration("twins_cswin").space("nano"))
    # Of an earlier version: the number of validation images is not known.
    origin = {"origin": "swin_tiny", "published": True}
    write_result(study, design, "scratch", {"val_top1": 93.0, "test_top1": 92.5, **origin})
    text, figures = page(study)
    assert design.digest in text and "swin_tiny, published" in text
    assert "93.0% (error unknown)" in text and "92.5 ± 0.8%" in text
    points = figures["tradeoff-macs"]["data"][-1]  # type: ignore[index]
    assert points["x"] == [costs(design).macs] and "swin_tiny, published" in points["hovertext"][0]
    assert (points["error_y"]["array"], points["error_y"]["arrayminus"]) == ([0.0], [0.0])


def test_a_search_by_loss_shows_losses_and_beside_them_accuracies_with_those_alone(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 12, "loss,macs")
    text, figures = page(study)
    assert "tradeoff-macs" in figures and "accuracy-macs" not in figures  # nothing was trained alone
    losses = {trial.scores["loss"] for trial in study.records()}
    shown = figures["tradeoff-macs"]["data"][0]  # type: ignore[index]
    assert losses == set(shown["y"]) and max(losses) < 0.41
    digest = study.front()[0]["digest"]
    design = next(t.architecture for t in study.records() if t.architecture.digest == digest)
    write_result(study, design, "scratch", {"val_top1": 97.0, "val_images": 500, "test_top1": 96.0})
    text, figures = page(study)
    assert "Losses and accuracies" in text and "lowest loss" in text
    assert not any("retrained" in (trace.get("name") or "") for trace in figures["tradeoff-macs"]["data"])  # type: ignore[attr-defined]
    (alone,) = [t for t in figures["accuracy-macs"]["data"] if "retrained" in (t.get("name") or "")]  # type: ignore[attr-defined]
    assert alone["y"] == [97.0]
    # Its line leads from the accuracy with the supernet's weights, not from the loss.
    dotted = [
        trace
        for trace in figures["accuracy-macs"]["data"]
        if trace["mode"] == "lines" and not trace.get("name")
    ]  # type: ignore[attr-defined]
    assert dotted[0]["y"][0] > 80


def test_retrained_baselines_within_noise_of_the_first_are_marked(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", 6)
    space = study.space()
    same, worse, best = space.smallest, space.sample(Random(1)), space.largest
    write_result(study, best, "scratch", {"val_top1": 97.0, "val_images": 500, "test_top1": 97.0})
    write_result(
        study, same, "scratch", {"val_top1": 96.0, "val_images": 500, "test_top1": 96.0, "origin": "x-like"}
    )
    write_result(study, worse, "scratch", {"val_top1": 90.0, "val_images": 500, "test_top1": 90.0})
    text, _ = page(study)
    assert ">97.0 ± 0.5%<" in text and ">≈ 96.0 ± 0.6%<" in text and ">90.0 ± 0.9%<" in text
    assert f"<code>{same.digest}</code></td><td>x-like</td>" in text


def test_a_script_in_a_name_stays_text(tmp_path: Path) -> None:
    study = make_study(tmp_path / "<script>x", 6, starts=("</script><i>",))
    text, figures = page(study)
    assert "<i>" not in text and "&lt;script&gt;x" in text
    assert "</script><i>" not in study.report_file.read_text(encoding="utf-8")
    assert figures
