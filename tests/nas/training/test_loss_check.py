"""Losses are read seldom, and none that is not finite goes unnoticed."""

from __future__ import annotations

import math

import pytest
import torch

from nas.training.loss_check import LossCheck
from search_spaces.errors import WorkError

# A device whose values would have to be waited for; the values themselves are on the CPU here.
GPU = torch.device("cuda")


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value)


def test_on_a_cpu_every_loss_is_read() -> None:
    check, seen = LossCheck(torch.device("cpu"), 0.1), []
    for step, loss in enumerate((3.0, 2.0, 1.5), start=1):
        check.add(step, scalar(loss), scalar(1.0))
        seen.append(check.loss)
    assert seen == [3.0, 2.0, 1.5]


def test_on_a_gpu_the_first_and_every_tenth_are_read() -> None:
    check, seen = LossCheck(GPU, 0.1), []
    for step in range(1, 22):
        check.add(step, scalar(float(step)), scalar(1.0))
        seen.append(check.loss)
    assert seen == [1.0] * 9 + [10.0] * 10 + [20.0] * 2
    check.read()  # as before a checkpoint and at the end
    assert check.loss == 21.0


@pytest.mark.parametrize(("loss", "norm", "said"), [
    (math.nan, 1.0, "the loss is nan"), (math.inf, 1.0, "the loss is inf"),
    (1.0, math.inf, "the norm of the gradients is inf"),
])  # fmt: skip
def test_the_step_that_diverged_is_named_when_it_is_read(loss: float, norm: float, said: str) -> None:
    check = LossCheck(GPU, 0.25)
    for step in range(1, 17):  # 13 diverged; nobody looks before 20
        check.add(step, scalar(loss if step == 13 else 1.0), scalar(norm if step == 13 else 1.0))
    with pytest.raises(WorkError, match=rf"at step 13: {said}; lower the learning rate \(it is 0.25\)"):
        check.read()
    check = LossCheck(GPU, 0.25)
    with pytest.raises(WorkError, match="at step 13"):
        for step in range(1, 21):
            check.add(step, scalar(loss if step >= 13 else 1.0), scalar(norm if step >= 13 else 1.0))
    assert step == 20


def test_reading_nothing_is_no_reading() -> None:
    check = LossCheck(GPU, 0.1)
    check.read()
    assert math.isnan(check.loss)
