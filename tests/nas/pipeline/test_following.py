"""The plan says how the workers train together: the supernet, and what is retrained after the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.pipeline.following import Following
from nas.pipeline.plan import plan_search
from nas.pipeline.plan_description import describe_plan
from nas.pipeline.plan_json import plan_to_json
from nas.pipeline.request import SearchRequest
from nas.pipeline.time_estimate import TimeEstimate
from tests.helpers.command_line import TINY_SPACE, paint_folder


def stage(epochs: int, trainings: int, at_once: int, size: int) -> dict[str, int]:
    return {"epochs": epochs, "trainings": trainings, "at_once": at_once, "size": size}


@pytest.mark.parametrize(
    ("budget", "retrain", "candidates", "epochs", "together", "lines", "teams"),
    [
        # Eight candidates; of 3 epochs half of them go on after one and two of them after two; the best inherits. One
        # training takes two workers together.
        (
            "2cpu",
            2,
            None,
            3,
            "2 shards on 2 workers together",
            [
                "train 8 designs alone, spread over the costs; 4 after 1, 2 after 2 of 3 epochs go on; the best also "
                "from the supernet's weights",
                "8 trainings one each, 2 at a time: 2 of 2 CPU cores busy",
            ],
            {
                "supernet": 2,
                "retraining": [stage(1, 8, 2, 1), stage(1, 4, 2, 1), stage(1, 2, 2, 1), stage(3, 1, 1, 2)],
            },
        ),
        # The best of the front as they are, from scratch and inheriting: two trainings of each.
        (
            "2cpu",
            2,
            2,
            3,
            "2 shards on 2 workers together",
            ["retrain 2 designs of the front", "4 trainings one each, 2 at a time: 2 of 2 CPU cores busy"],
            {"supernet": 2, "retraining": [stage(3, 4, 2, 1)]},
        ),
        # One epoch has no pause: the best by the supernet's word is trained, and after it its heir.
        (
            "2cpu",
            1,
            None,
            1,
            "2 shards on 2 workers together",
            [
                "retrain the best of 4 designs, spread over the costs; the best also from the supernet's weights",
                "1 training in a team of 2: 2 of 2 CPU cores busy",
            ],
            {"supernet": 2, "retraining": [stage(1, 1, 1, 2), stage(1, 1, 1, 2)]},
        ),
        ("1cpu", 0, None, 3, "2 shards, policy", [], {"supernet": 1, "retraining": []}),
    ],
)
def test_teams_are_in_the_plan(
    budget: str,
    retrain: int,
    candidates: int | None,
    epochs: int,
    together: str,
    lines: list[str],
    teams: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images", images=40)
    given = {"space": "tiny.yaml", "data": "folder:images", "batch_size": 32, "retrain_epochs": epochs}
    given |= {} if candidates is None else {"candidates": candidates}
    plan = plan_search(SearchRequest(given, budget=budget, study="./study"))
    following = Following(retrain)
    assert together in next(text for text in describe_plan(plan) if text.startswith("supernet"))
    assert [text.removeprefix("then").strip() for text in following.describe(plan)] == lines
    told = plan_to_json(plan, following, TimeEstimate({}, 2.0, "core", reason="not asked"))
    assert told["teams"] == teams


def test_the_gate_trains_no_more_designs_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.yaml").write_text(
        "name: few\nsummary: two windows in two blocks\n"
        "blocks: {mlp_ratio: [1], operators: {lsa: {window_size: [2, 4], pos: [none]}}}\n"
        "scales: {nano: {images: [16, 32], stem: conv3x3_s2, stages: [{dim: 8, num_heads: 1, depth: [2]}]}}\n"
    )
    paint_folder(tmp_path / "images", images=40)
    given = {"space": "few.yaml", "data": "folder:images", "batch_size": 32}
    plan = plan_search(SearchRequest(given, budget="1cpu", study="./study"))
    assert plan.space.size == 4
    assert Following(gate=0.5).describe(plan)[0].startswith("gate      4 designs trained alone")
