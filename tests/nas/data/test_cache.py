"""Copies on disk save time and never change what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.data.cache import load_or_compute
from nas.data.dataset import load_data
from tests.helpers.image_folders import paint_classes


@pytest.mark.parametrize("damage", ["none", "emptied", "truncated", "flipped"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "one.safetensors"
    tensors = {"images": torch.arange(6, dtype=torch.uint8)}
    made = []

    def make() -> dict[str, torch.Tensor]:
        made.append(1)
        return tensors

    load_or_compute(path, make)
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"none": content, "emptied": b"", "truncated": content[:-2], "flipped": flipped}[damage])
    assert torch.equal(load_or_compute(path, make)["images"], tensors["images"])
    assert len(made) == (1 if damage == "none" else 2)


def test_a_cache_that_cannot_be_written_is_done_without() -> None:
    made = load_or_compute(Path("/proc/nas/x.safetensors"), lambda: {"a": torch.ones(1)})
    assert torch.equal(made["a"], torch.ones(1))


def test_the_cache_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "elsewhere"))
    root = paint_classes(tmp_path / "set", {"a": 4, "b": 4})
    load_data(f"folder:{root}")
    assert list((tmp_path / "elsewhere" / "decoded").iterdir())
