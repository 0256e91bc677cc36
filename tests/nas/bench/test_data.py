"""The loader beside the step, on files that are removed again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from nas.bench import data
from nas.bench.setup import Setup


def test_data(tiny: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small, large, beside = data.bench(tiny)
    assert small.unit == large.unit == beside.unit == "images/s"
    # Large files are decoded at an eighth, the other way in full: how much faster that is, is the bench's to say.
    assert small.ratio is not None and large.ratio is not None and small.ours > 0 and large.ours > 0
    assert beside.theirs is not None and beside.target is not None and beside.ours > 0
    assert list(tmp_path.glob("nas-bench-*")) == []
