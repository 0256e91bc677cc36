"""Peak memory and copies of one call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nas.bench.memory import count_copies, measure_peak_bytes
from tests.helpers.bench import QUICK


def test_peak_memory_is_what_a_call_holds_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    def side(x: Tensor) -> Tensor:
        a = x + 1
        b = a + 1
        del a
        return b + 1

    # Scalars are tensors for a moment, too.
    assert measure_peak_bytes(side, torch.zeros(1000), QUICK) == pytest.approx(2 * 4000, abs=64)
    assert capfd.readouterr().err == ""


def test_copies_are_counted() -> None:
    assert count_copies(lambda x: x.t() + x, torch.zeros(4, 4)) == 0
    assert count_copies(lambda x: torch.cat([x.t().contiguous(), x.clone()]), torch.zeros(4, 4)) == 3
