"""Compiled blocks against blocks as written, and what compiling them costs."""

from __future__ import annotations

import pytest

from nas.bench import (
    compile,
)
from nas.bench.setup import Setup


@pytest.mark.usefixtures("captured", "nothing_compiled")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compile_counts_what_it_waits_for(tiny: Setup) -> None:
    first, second, steps = compile.bench(tiny)
    assert 0 < first.details["compilations"] <= second.details["compilations"]
    assert second.details["compilations"] <= second.details["kinds_of_the_space"] == 2 * (7 + 2)
    assert 0 < first.ours <= second.ours and first.unit == "s"
    assert len(steps.details["architectures"]) == 2 and steps.ratio is not None
