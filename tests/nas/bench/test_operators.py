"""Both sides of every operator do the same work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nas.bench import (
    memory,
    operators,
)
from search_spaces.errors import RequestError
from tests.helpers.bench import QUICK


@pytest.mark.parametrize(
    "case", operators.CASES, ids=lambda case: f"{operators.describe_block(case.block)}-{case.against}"
)
def test_both_sides_of_an_operator_agree(case: operators.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "time_in_turn", lambda sides, *rest: [[1.0], [2.0]])
    monkeypatch.setattr(memory, "measure_peak_bytes", lambda *rest: 1)
    inference, training = operators.bench(QUICK, [case])
    assert inference.name.endswith("inference") and training.name.endswith("training step")
    assert inference.ratio == training.ratio == 2.0
    assert training.details["macs"] == 3 * inference.details["macs"]
    assert (inference.details["macs"] > 0) == (case.block.operator != "pool")
    assert {"bytes", "peak_bytes", "max_abs_difference"} <= inference.details.keys()
    assert (inference.target is not None) == ("naive" in case.against)


def test_every_operator_is_measured() -> None:
    assert {case.block.operator for case in operators.CASES} == {
        "lsa", "gsa", "cswin", "dwconv", "refiner", "swin", "outlook", "linear", "pool",
    }  # fmt: skip
    with pytest.raises(RequestError, match="multiple of 112"):
        operators.bench(replace(QUICK, image_size=100))
    with pytest.raises(RequestError, match="at least 2"):
        operators.bench(replace(QUICK, batch_size=1))


def test_a_training_step_leaves_no_gradients() -> None:
    module = torch.nn.Linear(3, 3)
    side = operators.training_side(module, module, (2, 3), QUICK)
    side(torch.ones(2, 3))
    assert module.weight.grad is None
