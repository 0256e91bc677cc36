"""The script that compares supernets: epochs of equal cost, what it asks of ``nas``, and its table by hand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from search_spaces.cost import costs
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "supernet_ranking" / "run.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return load_script(SCRIPT)


def test_epochs_are_of_equal_macs(study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    space = study.table_space()
    monkeypatch.setattr(study, "STEPS", 20)
    sandwich = study.macs_of_step(study.VARIANTS["sandwich"], space)
    # The largest and the smallest design and two random ones.
    ends = costs(space.largest).macs + costs(space.smallest).macs
    assert ends < sandwich < ends + 2 * costs(space.largest).macs
    default = study.macs_of_step(study.DEFAULT, space)
    assert study.equal_epochs(study.DEFAULT, 40, space) == 40
    assert study.equal_epochs(study.VARIANTS["four times as long"], 40, space) == 160
    assert study.equal_epochs(study.VARIANTS["sandwich"], 40, space) == round(40 * default / sandwich)


def test_a_variant_is_trained_and_judged_once(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def nas(*words: str) -> Any:
        asked.append(list(words))
        return {"designs": [{"digest": "a", "scores": {"supernet": 30.0}}]} if words[0] == "rank" else {}

    monkeypatch.setattr(study, "nas", nas)
    options = argparse.Namespace(epochs=8, scratch=tmp_path, budget="2cpu", table=tmp_path / "table.json")
    row = study.judge_variant("twice the rate", 2, options)
    assert row == {"variant": "twice the rate", "seed": 2, "epochs": 8, "scores": {"a": 30.0}}
    search, rank = asked
    pairs = dict(zip(search[1::2], search[2::2], strict=True))
    assert (pairs["--lr"], pairs["--seed"], pairs["--epochs"]) == ("0.006", "2", "8")
    assert (pairs["--policy"], pairs["--paths"]) == ("uniform", "by-choice")
    assert rank[:2] == ["rank", pairs["--study"]] and str(options.table) in rank
    assert study.judge_variant("twice the rate", 2, options) == row and len(asked) == 2
    (stored,) = tmp_path.glob("*.json")
    assert json.loads(stored.read_text()) == row


def test_the_table_has_mean_and_deviation_over_seeds(study: ModuleType) -> None:
    designs = []
    space = study.table_space()
    for number, design in enumerate(
        sorted({costs(d).macs: d for d in space.neighbours(space.smallest)}.items())
    ):
        run = TrainingRun(design[1].digest, 0, 10, 40 + number, 40, (40,), 1)
        designs.append(TrainedDesign(design[1], "sampled", (run,)))
        if len(designs) == 16:
            break
    assert len(designs) == 16
    right = {each.architecture.digest: each.val_top1 for each in designs}
    wrong = {digest: -value for digest, value in right.items()}
    rows = [{"variant": "planted", "seed": n, "epochs": 4, "scores": s} for n, s in enumerate((right, wrong))]
    lines = study.to_table(rows, designs)
    # tau 1 and -1, regret@5 0 and 55 - 44, regret@10 0 and 55 - 49.
    assert lines[2] == "| planted | 2 | 4 | 0.00 ± 1.41 | 0.00 ± 1.41 | 5.5 ± 7.8 | 3.0 ± 4.2 | 0.0 ± 67.2 |"
    assert lines[3].startswith("| MACs | | | 1.00 | ")  # they rise with the accuracies here
