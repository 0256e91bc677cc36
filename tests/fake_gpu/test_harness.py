"""The imitated GPU finds what is planted: masks, tables, indices and generators on the CPU, values waited for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.fake_device import DeviceMismatch, FakeDevice, fake_device, require_on


class Planted(nn.Module):
    """A layer with one fault.

    Args:
        fault: Which.
    """

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.linear = nn.Linear(4, 4)
        self.mask = torch.zeros(4)  # no buffer: ``to`` leaves it where it is
        self.indices = torch.tensor([3, 2, 1, 0])
        self.generator = torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        match self.fault:
            case "mask":
                return x + self.mask
            case "new mask":
                return x * torch.ones(4)
            case "index":
                return x[:, self.indices]
            case "new index":
                return x.index_select(1, torch.arange(4))
            case "put":
                x = x.clone()
                x[:, self.indices] = 0.0
                return x
            case "generator":
                return x + torch.rand(4, device=x.device, generator=self.generator)
            case "upload":
                return x + self.mask.to(x.device)
            case "item":
                return x * x.sum().item()
            case "branch":
                return x if x.sum() > 0 else -x
            case "nonzero":
                return x[x > 0]
        return x


@pytest.fixture(params=["cuda", "lazy"])
def kind(request: pytest.FixtureRequest) -> FakeDevice:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("fault", ["mask", "new mask", "index", "new index", "put", "generator"])
def test_what_lies_elsewhere_is_refused(kind: FakeDevice, fault: str) -> None:
    layer = Planted(fault)
    with fake_device(kind) as (device, _):
        layer.to(device)
        with pytest.raises((DeviceMismatch, RuntimeError), match=r"device|on cpu|generator"):
            layer(torch.zeros(2, 4, device=device))


def test_a_sound_layer_runs_waits_for_nothing_and_has_its_gradients_there(kind: FakeDevice) -> None:
    layer = Planted("none")
    with fake_device(kind) as (device, watch):
        layer.to(device)
        watch.uploads.clear()
        layer(torch.zeros(2, 4, device=device)).sum().backward()
        require_on(device, layer)
        assert layer.linear.weight.grad is not None
        assert not watch.waits and not watch.uploads


@pytest.mark.parametrize("fault", ["item", "branch"])
def test_values_that_the_processor_waits_for_are_counted(kind: FakeDevice, fault: str) -> None:
    layer = Planted(fault)
    with fake_device(kind) as (device, watch):
        layer.to(device)(torch.zeros(2, 4, device=device))
        assert watch.waits == {"item": 1}


def test_shapes_that_depend_on_values_are_refused(kind: FakeDevice) -> None:
    layer = Planted("nonzero")
    with fake_device(kind) as (device, _), pytest.raises(Exception, match="nonzero"):
        layer.to(device)(torch.zeros(2, 4, device=device))


def test_copies_from_the_processor_are_counted(kind: FakeDevice) -> None:
    layer = Planted("upload")
    with fake_device(kind) as (device, watch):
        layer.to(device)
        watch.uploads.clear()
        layer(torch.zeros(2, 4, device=device))
        assert watch.uploads == {(4,): 1}


def test_parameters_left_behind_are_named(kind: FakeDevice) -> None:
    layer = Planted("none")
    layer.other = nn.Linear(2, 2)
    with fake_device(kind) as (device, _):
        layer.linear.to(device)
        with pytest.raises(DeviceMismatch, match=r"other\.weight is on cpu"):
            require_on(device, layer)


def test_mixed_precision_is_on_where_the_gpu_has_it() -> None:
    layer = Planted("none")
    with fake_device("cuda") as (device, _):
        layer.to(device)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert layer(torch.zeros(2, 4, device=device)).dtype == torch.bfloat16
    assert not torch.cuda.is_available() or torch.zeros(1, device="cuda").sum().item() == 0
