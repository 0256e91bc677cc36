"""The device of these tests: ``NAS_TEST_DEVICE``, ``cuda`` where it is not set; ``cpu`` shows that they run."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    name = os.environ.get("NAS_TEST_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device; NAS_TEST_DEVICE=cpu runs these tests on the CPU")
    return torch.device(name)
