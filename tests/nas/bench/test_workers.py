"""A worker maps the weights that it is given."""

from __future__ import annotations

import pytest
import torch

from nas.bench import (
    workers,
)
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.evaluation.population import payload_from_batches
from supernet.supernet import Supernet


@pytest.mark.slow
def test_a_worker_starts_and_maps_its_weights(tiny: Setup) -> None:
    start, mapped = workers.bench(tiny)
    assert len(start.details["start_s"]) == start.rounds and min(start.details["start_s"]) > 0
    assert mapped.ours == 100 and mapped.details["bytes"] > 0


@pytest.mark.parametrize("writable", [True, False])
def test_weights_are_mapped_where_they_are_used_as_they_came(tiny: Setup, writable: bool) -> None:
    space = load_space(tiny)
    images = torch.zeros(2, space.in_channels, *space.image_size)
    given = payload_from_batches(Supernet(space), [(images, torch.zeros(2, dtype=torch.long))], [images])
    for array in () if writable else given["weights"].values():
        array.flags.writeable = False  # as what Ray maps is
    counts = workers.build_inspector(given, "cpu").counts(None)
    assert counts["mapped"] == (0 if writable else counts["bytes"]) and counts["bytes"] > 0
