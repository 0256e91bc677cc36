"""An average that includes unchanged steps later is the one that includes them at every step."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from nas.training.ema import ModelEma


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).double()


@pytest.mark.parametrize("reads", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_including_steps_later_gives_the_same_average(seed: int, reads: float) -> None:
    rng, model, steps, decay = Random(seed), network(), 40, 0.9
    average = ModelEma(model, decay, steps)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(steps):
        used = [parameter for parameter in model.parameters() if rng.random() < 0.3]
        average.before_step(step, used)
        with torch.no_grad():
            for parameter in used:
                parameter.add_(torch.randn_like(parameter))
            model[1].running_mean.normal_()
            model[1].num_batches_tracked += 1
        average.after_step(step, used)
        rate = 1 - min(decay, 1 - (1 + step) ** (-2 / 3))
        for name, value in model.state_dict().items():
            plain[name] = plain[name].lerp(value, rate) if value.is_floating_point() else value.clone()
        if rng.random() < reads:
            average.averaged(step + 1)
    averages = average.averaged(steps).state_dict()
    for name, value in plain.items():
        torch.testing.assert_close(averages[name], value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(average.averaged(steps).state_dict(), averages, rtol=0, atol=0)


def test_the_average_is_not_trained() -> None:
    model = network().train()
    average = ModelEma(model, 0.9, 3)
    assert not average.module.training and not any(p.requires_grad for p in average.module.parameters())
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_state_has_the_latest_counters_in_the_middle_of_a_training() -> None:
    model = network().train()
    average = ModelEma(model, 0.9, 3)
    average.before_step(0, [])
    model(torch.ones(4, 3, dtype=torch.double))
    average.after_step(0, [])
    assert average.state_dict()["1.num_batches_tracked"] == 1


def test_a_step_without_a_parameter_leaves_its_average_to_be_read() -> None:
    model = network()
    average = ModelEma(model, 0.9, 3)
    average.after_step(0, [])
    weight = average.averaged(1).state_dict()["0.weight"]
    assert torch.equal(weight, model.state_dict()["0.weight"])
    assert average.steps_included == [1] * 6
