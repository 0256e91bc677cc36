"""The plan says how the workers train together: the supernet, and what is retrained after the search."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.pipeline.following import Following
from nas.pipeline.plan import describe_plan, plan_search
from nas.pipeline.plan_json import plan_to_json
from nas.pipeline.request import SearchRequest
from nas.pipeline.time_estimate import TimeEstimate
from tests.helpers.command_line import TINY_SPACE, paint_folder


@pytest.mark.parametrize(
    ("budget", "retrain", "together", "line", "teams"),
    [
        # From scratch and inheriting: two trainings of each design, of one shard each.
        (
            "2cpu",
            2,
            "2 shards on 2 workers together",
            "4 trainings one each, 2 at a time: 2 of 2 CPU cores busy",
            {"supernet": 2, "retraining": {"trainings": 4, "at_once": 2, "size": 1}},
        ),
        ("1cpu", 0, "2 shards, policy", None, {"supernet": 1, "retraining": None}),
    ],
)
def test_teams_are_in_the_plan(
    budget: str,
    retrain: int,
    together: str,
    line: str | None,
    teams: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images", images=40)
    given = {"space": "tiny.yaml", "data": "folder:images", "batch_size": 32}
    plan = plan_search(SearchRequest(given, budget=budget, study="./study"))
    following = Following(retrain)
    assert together in next(text for text in describe_plan(plan) if text.startswith("supernet"))
    assert [text.strip() for text in following.describe(plan)[1:]] == ([] if line is None else [line])
    told = plan_to_json(plan, following, TimeEstimate({}, 2.0, "core", reason="not asked"))
    assert told["teams"] == teams
