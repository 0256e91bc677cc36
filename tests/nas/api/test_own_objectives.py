"""Objectives of a program's own: in proposals, trials, front, report and files, and without their functions later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import nas
from nas import Architecture, Objective
from nas.api.keywords import find_own
from nas.evaluation.population import EvaluationWorker, first_images, payload_from_batches
from nas.runtime.console import quantity
from nas.search.analytic import AnalyticScores
from nas.search.limits import Limits
from nas.search.objectives import Goal
from nas.search.own_objectives import costs_of
from nas.study.settings import Settings
from search_spaces.errors import RequestError, StudyError, WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder
from tests.helpers.in_process import use_this_process


def count_mlp(design: Architecture) -> float:
    """Return the sum of the MLP ratios, which is no sum over parts that anything else knows."""
    return sum(block.mlp_ratio for stage in design.stages for block in stage.blocks)


def count_operators(design: Architecture) -> int:
    return len({block.operator for stage in design.stages for block in stage.blocks})


MLP = Objective("mlp", cost=count_mlp, unit="<ratios>")
VARIETY = Objective("variety", cost=count_operators, direction="maximize", unit="operators")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(folder / "images")
    return folder


def run(place: Path, study: str, **keywords: Any) -> nas.SearchResult:
    settings = {"budget": "1cpu,24trials", "batch": 8, "quiet": True, **keywords}
    return nas.search(place / "tiny.yaml", f"folder:{place / 'images'}", study=place / study, **settings)


@pytest.fixture(scope="module")
def found(place: Path) -> nas.SearchResult:
    return run(place, "costs", objective=[VARIETY, "macs", MLP])


def test_designs_are_compared_by_them(found: nas.SearchResult) -> None:
    rows, front = found.to_dicts(), found.front
    for each in front:
        assert each.scores["mlp"] == count_mlp(each.architecture)
        assert each.scores["variety"] == count_operators(each.architecture)
    values = {row["digest"]: (-row["variety"], row["macs"], row["mlp"]) for row in rows}
    best = {
        digest
        for digest, own in values.items()
        if not any(
            other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in values.values()
        )
    }
    assert {each.digest for each in front} == best and len(best) > 1
    assert front[0].scores["variety"] == max(row["variety"] for row in rows)
    assert "mlp" in repr(front[0]) and "<th>mlp</th>" in found._repr_html_()


def test_trials_files_and_report_have_them(found: nas.SearchResult, place: Path) -> None:
    assert [each.name.lower() for each in found.study.directions] == ["maximize", "minimize", "minimize"]
    assert found.study.metric_names == ["variety", "macs", "mlp"]
    trial = found.study.best_trials[0]
    assert trial.values[2] == trial.user_attrs["mlp"]
    written = json.loads((found.path / "front.json").read_text())
    assert written["objectives"] == {"variety": "maximize", "macs": "minimize", "mlp": "minimize"}
    declared = yaml.safe_load((found.path / "study.yaml").read_text())["own_objectives"]
    assert declared[1] == {
        "name": "mlp", "direction": "minimize", "unit": "<ratios>", "of": "architecture", "limit": None
    }  # fmt: skip
    page = found.report.read_text()
    assert "highest variety, lowest MACs, lowest mlp" in page and "variety (operators)" in page
    assert "<ratios>" not in page


def test_the_command_line_reads_such_a_study_and_does_not_go_on_with_it(
    found: nas.SearchResult, place: Path, request: pytest.FixtureRequest
) -> None:
    command: Nas = request.getfixturevalue("nas")
    for name in ("report", "studies"):
        outcome = command(name, found.path)
        assert outcome.code == 0, outcome.err
    outcome = command("search", "--config", found.path / "study.yaml", "--study", found.path)
    assert outcome.code == 2
    assert "objective 'variety' is a function of a Python program; search there" in outcome.err


def test_a_study_goes_on_with_the_same_functions_alone(found: nas.SearchResult, place: Path) -> None:
    again = run(place, "costs", objective=[VARIETY, "macs", MLP], budget="1cpu,30trials")
    assert len(again.to_dicts()) == 30
    with pytest.raises(StudyError, match=r"objective 'mlp' of design \w+ was .* when the study began and is"):
        run(
            place,
            "costs",
            objective=[VARIETY, "macs", Objective("mlp", cost=lambda design: 1, unit="<ratios>")],
        )
    with pytest.raises(StudyError, match="was made with own_objectives="):
        run(place, "costs", objective=[VARIETY, "macs", Objective("mlp", cost=count_mlp, unit="sum")])


def test_a_limit_is_kept_by_every_design(place: Path) -> None:
    few = Objective("mlp", cost=count_mlp, limit=3)
    found = run(place, "limited", objective="macs,params", constraints=[few], sampler="nsga2")
    rows = found.to_dicts()
    assert rows and all(row["mlp"] <= 3 for row in rows)
    assert json.loads((found.path / "front.json").read_text())["limits"] == {"mlp": 3}
    rejected = [trial for trial in found.study.trials if "rejected" in trial.user_attrs]
    assert all(trial.user_attrs["rejected"].startswith("mlp ") for trial in rejected)


def test_limits_beside_those_on_costs(space: Space) -> None:
    own = Objective("mlp", cost=count_mlp, limit=3)
    least = AnalyticScores()(space.smallest)["macs"]
    goal = Goal(("macs",), (("macs", 2 * least), ("mlp", 3.0)), (own.declaration,))
    limits = Limits(space, goal, AnalyticScores(own=costs_of([own])))
    limits.require_possible()
    listed = limits.list_designs(10_000)
    expected = {
        design.digest
        for design in space.enumerate()
        if AnalyticScores()(design)["macs"] <= 2 * least and count_mlp(design) <= 3
    }
    assert listed is not None and {design.digest for design in listed} == expected and expected
    assert limits.nearest is not None and limits.keeps(limits.nearest)
    assert limits.keeps(limits.shrink(space.largest))
    impossible = Limits(space, Goal(("macs",), (("mlp", 0.5),), (own.declaration,)), limits.scores)
    impossible.require_possible()  # which nobody can know without looking at every design
    assert impossible.nearest is None


def mean_logit(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    assert not network.training
    return torch.cat([network(images) for images, _ in batches]).double().mean().item()


def test_a_worker_measures_the_network_of_each_design_on_the_validation_images(space: Space) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space)
    images, labels = torch.randn(6, 3, 16, 16), torch.arange(6) % 3
    payload = payload_from_batches(supernet, [(images[:4], labels[:4]), (images[4:], labels[4:])], [images])
    worker = EvaluationWorker({**payload, "measures": {"logit": mean_logit}}, "cpu")
    plain = EvaluationWorker(payload, "cpu")
    designs = [space.smallest, space.largest]
    group = [(design.to_json(), 0.0) for design in designs]
    for design, own, other in zip(designs, worker.score(group), plain.score(group), strict=True):
        assert {name: own[name] for name in ("top1", "loss")} == {
            name: other[name] for name in ("top1", "loss")
        }
        network = supernet.extract(design)
        network.train()
        for norm in (each for each in network.modules() if isinstance(each, nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None
        network(images)
        assert own["logit"] == pytest.approx(network.eval()(images).double().mean().item(), rel=1e-4)
    broken = EvaluationWorker({**payload, "measures": {"bad": lambda network, batches: 1 / 0}}, "cpu")
    with pytest.raises(
        WorkError, match=r"objective 'bad' cannot be computed of design .* \(ZeroDivisionError"
    ):
        broken.score(group)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"name": "macs", "cost": len}, "an objective cannot be called 'macs'"),
        ({"name": "digest", "cost": len}, "an objective cannot be called 'digest'"),
        ({"name": "two words", "cost": len}, "cannot be called 'two words'"),
        ({"name": "a"}, "needs either cost= or measure="),
        ({"name": "a", "cost": len, "measure": len}, "needs either cost= or measure="),
        ({"name": "a", "cost": 3}, "a function that returns a number"),
        ({"name": "a", "cost": len, "direction": "up"}, "direction must be minimize or maximize, not 'up'"),
        ({"name": "a", "cost": len, "limit": float("nan")}, "limit must be a number, not nan"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        Objective(**keywords)


def test_what_a_search_cannot_use_is_refused(place: Path) -> None:
    with pytest.raises(RequestError, match=r"^max_mlp is the limit of an objective of yours; give limit= to"):
        run(place, "no", objective=[MLP, "macs"], max_mlp=3)
    with pytest.raises(RequestError, match="constraints are Objectives with a limit"):
        run(place, "no", objective="macs", constraints=[MLP])
    with pytest.raises(RequestError, match="two objectives are called 'mlp'"):
        find_own([MLP, Objective("mlp", cost=len)])
    with pytest.raises(WorkError, match="objective 'odd' is nan for design"):
        run(place, "odd", objective=["macs", Objective("odd", cost=lambda design: float("nan"))])
    with pytest.raises(RequestError, match="stops designs by their top1 alone, and loss is measured too"):
        Settings(objectives="top1,loss", racing=0.05)


def test_what_is_trained_alone_is_scored_too(
    place: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """By the same functions on the same images: in results, tables, report and JSON; a measured limit is kept."""
    use_this_process(monkeypatch)
    mean = Objective("mean", measure=mean_logit, direction="maximize", unit="logits", limit=-50)
    found = run(
        place, "alone", objective=["top1", mean, MLP], budget="1cpu,6trials", batch=4, epochs=1,
        batch_size=12, retrain=1, candidates=1, retrain_epochs=1, validation_images=5,
    )  # fmt: skip
    assert all(row["mean"] >= -50 for row in found.to_dicts())
    data = nas.load_data(f"folder:{place / 'images'}", quiet=True)
    (batch,) = first_images(data.val, 5, 100, 0)
    results = found.retrained
    assert {each.mode for each in results} == {"scratch", "inherit"}
    for each in results:
        assert each.own_scores["mlp"] == count_mlp(each.architecture)
        expected = mean_logit(each.network().eval(), [batch])
        assert each.own_scores["mean"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    page = found.report.read_text()
    assert '<button type="button">mean (logits)</button>' in page and "mean at least -50" in page
    first = results[0]
    table = page[page.index(">mean (logits)</button>") :]
    assert f"{quantity(first.own_scores['mean'])} {first.mode}" in table
    command: Nas = request.getfixturevalue("nas")
    outcome = command(
        "retrain", found.path, "--epochs", "2", "--from-scratch", "--arch", first.digest, "--budget", "1cpu"
    )
    assert outcome.code == 0 and "mean, mlp: computed by functions of a Python program" in outcome.err
    (again,) = nas.retrain(
        found.path, first.digest, from_scratch=True, epochs=3, budget="1cpu", objectives=[mean], quiet=True
    )
    assert set(again.own_scores) == {"mean"}


@pytest.mark.slow
def test_a_search_by_what_workers_measure(place: Path) -> None:
    """A function without a module of its own travels to workers, and is asked of the front's designs alone there."""
    spread = Objective(
        "spread", measure=lambda network, batches: float(network(batches[0][0]).std()), unit="logits"
    )
    found = run(
        place, "measured", objective=["top1", spread], budget="2cpu,8trials", batch=4, epochs=1, batch_size=12
    )  # fmt: skip
    assert all(row["spread"] > 0 for row in found.to_dicts()) and len(found.to_dicts()) == 8
    assert "spread (logits)" in found.report.read_text()
