"""A path of the supernet against its subnet, in equal work."""

from __future__ import annotations

from nas.bench import (
    supernet,
)
from nas.bench.setup import Setup


def test_supernet(tiny: Setup) -> None:
    rows = supernet.bench(tiny)
    assert [row.target is not None for row in rows] == [True, True, False, False, False]
    each = rows[1].details["architectures"]
    assert len(each) == 2
    assert all(one["touched"]["ours"] >= one["touched"]["theirs"] > 0 for one in each)
    assert rows[3].details["touched"] <= rows[3].details["of"]
