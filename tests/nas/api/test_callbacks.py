"""What a program is told while it searches, and what becomes of a run whose callback fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.runtime.callbacks import Callbacks
from nas.runtime.interrupt import Interrupted
from search_spaces.cost import costs
from search_spaces.errors import WorkError
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.in_process import use_this_process

COSTS: dict[str, Any] = {"objective": "macs,params", "batch": 4, "quiet": True}


class Listener(nas.Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []
        self.trials: list[tuple[str, float, int]] = []
        self.epochs: list[tuple[str, str, int, int, float]] = []

    def on_step(self, step: int, steps: int, loss: float) -> None:
        self.steps.append((step, steps, loss))

    def on_trial(self, architecture: nas.Architecture, scores: Mapping[str, float], evaluated: int) -> None:
        assert scores["params"] == costs(architecture).params
        self.trials.append((architecture.digest, scores["macs"], evaluated))

    def on_epoch(
        self, architecture: nas.Architecture, mode: str, epoch: int, epochs: int, top1: float
    ) -> None:
        self.epochs.append((architecture.digest, mode, epoch, epochs, top1))


class Broken:
    """No `Callback`, and has one of the methods."""

    def on_trial(self, architecture: object, scores: object, evaluated: int) -> None:
        if evaluated == 6:
            raise KeyError("plot")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    return tmp_path


def test_every_evaluated_design_is_told_once(place: Path) -> None:
    listener = Listener()
    found = nas.search(
        "tiny.yaml", "folder:images", budget="1cpu,12trials", callbacks=[listener, nas.Callback()], **COSTS
    )
    assert [(row["digest"], row["macs"]) for row in found.to_dicts()] == [
        each[:2] for each in listener.trials
    ]
    assert [each[2] for each in listener.trials] == list(range(1, 13))
    again = Listener()
    nas.search("tiny.yaml", "folder:images", budget="1cpu,14trials", callbacks=[again], **COSTS)
    assert [each[2] for each in again.trials] == [13, 14]


def test_one_that_fails_ends_the_run_which_then_goes_on(place: Path) -> None:
    with pytest.raises(
        WorkError, match=r"^callback Broken.on_trial failed \(KeyError: 'plot'\); what was finished is"
    ):
        nas.search("tiny.yaml", "folder:images", budget="1cpu,40trials", callbacks=[Broken()], **COSTS)  # type: ignore[list-item]
    listener = Listener()
    found = nas.search("tiny.yaml", "folder:images", budget="1cpu,40trials", callbacks=[listener], **COSTS)
    told = {digest for digest, _, _ in listener.trials}
    assert len(found.to_dicts()) == 40 and 0 < len(told) < 40


def test_errors_of_ours_pass_as_they_are() -> None:
    class Stop(nas.Callback):
        def on_step(self, step: int, steps: int, loss: float) -> None:
            raise Interrupted("enough")

    with pytest.raises(Interrupted, match=r"^enough$"):
        Callbacks((Stop(),)).on_step(1, 2, 0.5)


class FailsAtEpoch(nas.Callback):
    def on_epoch(
        self, architecture: nas.Architecture, mode: str, epoch: int, epochs: int, top1: float
    ) -> None:
        raise ValueError("full")


def test_every_step_and_epoch_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the worker is this process, which is asked after each step."""
    use_this_process(monkeypatch)
    listener = Listener()
    found = nas.search(
        "tiny.yaml", "folder:images", callbacks=[listener], budget="1cpu,4trials", batch=4, epochs=2,
        batch_size=12, retrain=1, candidates=1, retrain_epochs=3, quiet=True,
    )  # fmt: skip
    assert [each[:2] for each in listener.steps] == [(step, 4) for step in range(1, 5)]
    history = (found.path / "supernet/history.csv").read_text().splitlines()
    losses = [loss for _, _, loss in listener.steps]
    means = [sum(losses[first : first + 2]) / 2 for first in (0, 2)]
    assert [float(row.split(",")[1]) for row in history[1:]] == pytest.approx(means)
    modes = sorted({each.mode for each in found.retrained})
    told = [(mode, epoch, epochs) for _, mode, epoch, epochs, _ in listener.epochs]
    assert sorted(told) == [(mode, epoch, 3) for mode in modes for epoch in (1, 2, 3)]
    assert len(listener.trials) == 4


@pytest.mark.slow
def test_steps_and_epochs_are_told(place: Path) -> None:
    listener = Listener()
    settings: dict[str, Any] = {
        "budget": "1cpu,4trials",
        "batch": 4,
        "epochs": 8,
        "batch_size": 12,
        "quiet": True,
    }
    found = nas.search("tiny.yaml", "folder:images", callbacks=[listener], **settings)
    assert listener.steps and {steps for _, steps, _ in listener.steps} == {16}
    assert [step for step, _, _ in listener.steps] == sorted(step for step, _, _ in listener.steps)
    assert len(listener.trials) == 4
    with pytest.raises(WorkError, match=r"callback FailsAtEpoch.on_epoch failed \(ValueError: full\)"):
        nas.retrain(
            found,
            from_scratch=True,
            candidates=1,
            epochs=2,
            budget="1cpu",
            callbacks=[FailsAtEpoch()],
            quiet=True,
        )
    (one,) = nas.retrain(
        found, from_scratch=True, candidates=1, epochs=3, budget="1cpu", callbacks=[listener], quiet=True
    )
    assert [each[:4] for each in listener.epochs] == [
        (one.digest, "scratch", epoch, 3) for epoch in (1, 2, 3)
    ]
    assert listener.epochs[-1][4] == one.validation.top1
