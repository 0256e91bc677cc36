"""Counts that are kept: found again, made anew where anything that decides them changed, never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.training.part_counts import PartCounts, digest_code
from nas.training.saved_memory import Flow, SavedMemory
from search_spaces.space import Space

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path))


def count_largest(space: Space, dtype: torch.dtype = torch.float32) -> tuple[float, float]:
    counts = PartCounts(CPU, dtype)
    saved = SavedMemory(CPU, dtype, counts).of_network(space.largest)
    counts.save()
    return saved.fixed, saved.per_image


def test_what_was_counted_is_not_counted_again(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count_largest(space)
    fresh = SavedMemory(CPU, torch.float32).of_network(space.largest)
    assert counted == (fresh.fixed, fresh.per_image)
    monkeypatch.setattr(SavedMemory, "_run", None)  # running a part would now fail
    assert count_largest(space) == counted
    with pytest.raises(TypeError):
        count_largest(space, torch.bfloat16)  # other types are counted by themselves


def test_other_code_or_libraries_count_anew(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    count_largest(space)
    first, code = PartCounts(CPU, torch.float32).path, digest_code()
    digest_code.cache_clear()
    monkeypatch.setattr("nas.training.part_counts.metadata.version", lambda name: "0.0")
    try:
        assert digest_code() != code and PartCounts(CPU, torch.float32).path != first
    finally:
        digest_code.cache_clear()
    assert PartCounts(torch.device("cuda"), torch.float32).path != first


@pytest.mark.parametrize("content", ["", "[]", "{", '{"0": 1}'])
def test_a_damaged_file_is_counted_anew(content: str, space: Space) -> None:
    counted = count_largest(space)
    path = PartCounts(CPU, torch.float32).path
    whole = path.read_text()
    path.write_text(content)
    assert count_largest(space) == counted
    assert set(whole.split()) <= set(path.read_text().split())


def test_two_at_once_keep_what_both_counted() -> None:
    one, other = PartCounts(CPU, torch.float32), PartCounts(CPU, torch.float32)
    one.add("a part", 1)
    other.add("another part", 2)
    one.save()
    other.save()
    both = PartCounts(CPU, torch.float32)
    assert (both.get("a part"), both.get("another part"), both.get("a third")) == (1, 2, None)


def test_a_place_that_cannot_be_written_stops_nothing(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = count_largest(space)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "file"))
    assert count_largest(space) == counted


def test_what_is_handed_on_survives_the_file() -> None:
    for flow in (Flow(), Flow(torch.bfloat16, True), Flow(torch.float32, False, torch.float16, True)):
        assert Flow.from_json(flow.to_json()) == flow
