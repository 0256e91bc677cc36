"""Time and device-hours of a plan: by hand from given seconds, with what is left to do, and when nothing is known."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nas.pipeline import time_estimate
from nas.pipeline.following import Following
from nas.pipeline.plan import SearchPlan, plan_search
from nas.pipeline.request import SearchRequest
from nas.pipeline.time_estimate import Span, TimeEstimate, estimate_time
from nas.training.step_times import StepTimes, Team, TimingRequest
from search_spaces.errors import WorkError
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder

#: Seconds that are easy to count with: of a step, an image, a design.
TIMES = StepTimes("a processor", 1.0, (1.0, 1.0), (0.01,), (0.02,), (0.5,), (1.0, 2.0, 4.0), (0.1, 0.1, 0.1))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny space and three classes of 40 images, of which 84 are for training and 12 for validation."""
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images", images=40)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TimingRequest]:
    """What is asked to be timed; the answer is `TIMES`."""
    requests: list[TimingRequest] = []

    def answer(function: partial[StepTimes], seconds: float) -> StepTimes:
        requests.extend(function.args)
        return TIMES

    monkeypatch.setattr(time_estimate, "call_in_own_process", answer)
    return requests


def plan(budget: str = "2cpu,20trials", **given: Any) -> SearchPlan:
    given = {"epochs": 2, "batch_size": 32, "retrain_epochs": 3, "candidates": 2, **given}
    settings = {name: value for name, value in given.items() if value is not None}
    settings |= {"space": "tiny.yaml", "data": "folder:images"}
    return plan_search(SearchRequest(settings, budget=budget, study="./study"))


def near(*seconds: float) -> Any:
    return Span(*(pytest.approx(each) for each in seconds))


def test_the_phases_by_hand(asked: list[TimingRequest]) -> None:
    planned = plan()
    assert (len(planned.data.train), len(planned.data.val)) == (84, 12)
    estimate = estimate_time(planned, Following(retrain=2))
    # 84 images in batches of 32 are 3 steps, twice; a phase begins with 10 s for its processes.
    assert estimate.phases["supernet"] == near(10 + 6, 10 + 5.4, 10 + 6.6)
    # A design: taken out in 0.5 s, recalibrated on 84 images, scored on 12; 20 of them on two workers.
    one = 0.5 + 84 * 0.01 + 12 * 0.02
    assert estimate.phases["search"] == near(10 + 10 * one, 10 + 9 * one, 10 + 11 * one)
    # Two designs in two modes on two workers are two waves of 3 epochs: 3 steps and 12 images each.
    small, typical, large = (10 + 2 * 3 * (3 * step + 1.2) for step in (1, 2, 4))
    assert estimate.phases["retraining"] == near(typical, small, large)
    assert estimate.one_retraining is None
    total = 16 + 10 + 10 * one + typical
    assert estimate.total.seconds == pytest.approx(total)
    assert estimate.device_hours.seconds == pytest.approx(2 * total / 3600)  # two cores
    (request,) = asked
    assert (request.supernet, request.device, request.threads) == (Team(2, 1), "cpu", 1)


@pytest.mark.usefixtures("asked")
def test_a_halving_is_counted_stage_by_stage() -> None:
    estimate = estimate_time(plan(candidates=None), Following(retrain=2)).phases["retraining"]
    # Of 3 epochs: 8 designs for one, 4 for one, 2 for one, on two workers 4 + 2 + 1 epochs; then the best inherits, for
    # 3 epochs on both workers together. An epoch is 3 steps and 12 images; each stage begins with 10 s.
    small, typical, large = (40 + (4 + 2 + 1 + 3 / 2) * (3 * step + 1.2) for step in (1, 2, 4))
    assert estimate == near(typical, small, large)


@pytest.mark.usefixtures("asked")
def test_only_what_is_left_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "read_progress", lambda file: (4, 6))
    assert estimate_time(plan(), Following()).phases["supernet"].seconds == pytest.approx(10 + 2)
    monkeypatch.setattr(time_estimate, "read_progress", lambda file: (6, 6))
    estimate = estimate_time(plan(), Following())
    assert list(estimate.phases) == ["search"]
    # One design in two modes, side by side.
    assert estimate.one_retraining == near(*(10 + 3 * (3 * step + 1.2) for step in (2, 1, 4)))


@pytest.mark.usefixtures("asked")
def test_a_time_limit_ends_the_search() -> None:
    limited = estimate_time(plan("2cpu,20trials,12s"), Following()).phases
    assert limited["search"] == Span(12, 12, 12) and limited["supernet"].seconds == pytest.approx(16)


def test_a_search_without_weights_has_nothing_to_time(asked: list[TimingRequest]) -> None:
    costs_alone = plan(
        objectives="macs,params", epochs=None, batch_size=None, retrain_epochs=None, candidates=None
    )
    assert estimate_time(costs_alone, Following()).lines() == [] == asked
    retrained = estimate_time(costs_alone, Following(retrain=1))
    assert list(retrained.phases) == ["retraining"] and asked[0].supernet is None


def test_a_range_is_twice_the_standard_error_and_a_tenth_at_least() -> None:
    # Mean 2, standard deviation 1, standard error 1/sqrt(3) = 0.5774.
    assert Span.of_samples([1, 2, 3]) == near(2, 2 - 1.1547005, 2 + 1.1547005)
    assert Span.of_samples([2, 2, 2]) == near(2, 1.8, 2.2)
    assert str(Span(720, 480, 900)) == "about 12m 00s (8m 00s to 15m 00s)"


def test_gpus_that_are_elsewhere_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "call_in_own_process", lambda *arguments: None)
    on_gpus = plan()
    on_gpus = replace(on_gpus, allocation=replace(on_gpus.allocation, device="cuda", gpus_per_worker=1.0))
    estimate = estimate_time(on_gpus, Following())
    assert estimate.lines() == [
        "time      not measured: this machine has no GPU, and the workers' are elsewhere"
    ]
    assert estimate.device_noun == "GPU" and not estimate.to_json()["measured"]


def test_a_timing_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise WorkError("it took longer than 180 s")

    monkeypatch.setattr(time_estimate, "call_in_own_process", fail)
    assert estimate_time(plan(), Following()).lines() == ["time      not measured: it took longer than 180 s"]


def test_the_command_says_it_in_words_and_numbers(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "call_in_own_process", lambda *arguments: TIMES)
    command = "search --space tiny.yaml --data folder:images --epochs 2 --batch-size 32 --retrain-epochs 3"
    outcome = nas(*command.split(), "--budget", "2cpu,20trials", "--dry-run", "--json")
    said = json.loads(outcome.out)
    lines = [
        "time      supernet about 16s (15s to 17s), search about 26s (24s to 27s)",
        "          together about 42s (40s to 44s): 0.023 core-hours (0.022 to 0.024)",
        "          retraining one design afterwards about 32s (23s to 50s)",
        "          by a few steps on this machine's a processor, as if nothing else ran there and workers did not "
        "slow one another",
        "          beginnings that designs share, and racing, make the search shorter",
    ]
    assert said["lines"][-5:] == lines and all(line in outcome.err for line in lines)
    assert said["time"]["phases"]["supernet"]["seconds"] == pytest.approx(16)
    assert said["time"]["measured"] and said["time"]["device"] == "core"


def test_what_was_not_counted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "call_in_own_process", lambda *arguments: replace(TIMES, slowdown=4.0))
    planned = plan()
    planned = replace(planned, settings=replace(planned.settings, compile=True, teacher="timm:resnet18"))
    notes = estimate_time(planned, Following()).notes
    assert notes[1:] == (
        "the teacher's answers are not in it",
        "it is that of uncompiled blocks",
        "other programs keep this machine busy: while they do, it takes about 4.0 times as long",
    )


def test_nothing_to_do_takes_no_time() -> None:
    assert TimeEstimate({}, 2, "core").total == Span(0, 0, 0)
