"""Every operator runs on an imitated GPU at the settings and encodings of its contract, forward and backward."""

from __future__ import annotations

import importlib

import pytest
import torch

from nas.runtime.device import autocast
from search_spaces.operators import OPERATORS
from tests.helpers.fake_device import FakeDevice, fake_device, require_on
from tests.helpers.operator_cases import Case
from tests.operator_contract import OperatorContract


def contract_cases(name: str) -> list[Case]:
    """Return a case for each setting and for each encoding of an operator, on maps that windows do not divide too."""
    module = importlib.import_module(f"tests.supernet.operators.test_{name}")
    (contract,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, OperatorContract) and value is not OperatorContract
    )
    chosen, seen = list[Case](), set[object]()
    for case in contract.cases():
        shown = {case.block.pos, (case.block.knobs, case.feature_map)}
        if not shown <= seen:
            chosen.append(case)
            seen |= shown
    return chosen


@pytest.mark.parametrize("kind", ["cuda", "lazy"])
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_an_operator_runs_on_a_gpu(name: str, kind: FakeDevice) -> None:
    cases = contract_cases(name)
    modules = [case.static().train() for case in cases]
    with fake_device(kind) as (device, watch):
        for case, module in zip(cases, modules, strict=True):
            module.to(device)
            x = torch.zeros(
                2, case.feature_map.height, case.feature_map.width, case.feature_map.dim, device=device
            )
            watch.uploads.clear()
            with autocast(device):
                out = module(x)
            assert out.device == device, case
            out.sum().backward()
            require_on(device, module)
            assert not watch.waits and not watch.uploads, case
