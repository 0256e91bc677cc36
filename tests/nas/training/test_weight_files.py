"""Weight files of other codes become networks, or are refused in a sentence."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.training.weight_files import read_network, read_weights
from search_spaces.errors import CheckpointError
from tests.helpers.small_network import SMALL_DESIGN, save_weights, small_network


def test_weights_are_found_wherever_training_codes_keep_them(tmp_path: Path) -> None:
    weights = small_network().state_dict()
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    args = argparse.Namespace(lr=1.0)
    contents: dict[str, object] = {
        "plain": weights,
        "model": {"model": weights, "epoch": 3, "args": args},
        "nested": {"state_dict": {"model": wrapped}},
        "averaged": {"state_dict": other, "state_dict_ema": wrapped, "optimizer": {"state": {}}},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
        read = read_weights(tmp_path / name)
        assert read.keys() == weights.keys(), name
        assert all(torch.equal(read[key], weights[key]) for key in weights), name
    (tmp_path / "folder").mkdir()
    save_weights(tmp_path / "folder" / "model.safetensors", small_network())
    assert read_weights(tmp_path / "folder").keys() == weights.keys()


class Code:
    """Something that a pickle would have to import."""


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"model": Code()}, tmp_path / "code")
    torch.save({"epoch": 3}, tmp_path / "empty")
    torch.save(small_network().state_dict(), tmp_path / "whole")
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:3000])
    (tmp_path / "text").write_text("not weights")
    for name, sentence in {
        "absent": "there is no checkpoint",
        "code": "not a torch file of plain weights",
        "empty": "holds no weights by name",
        "half": "truncated or not a torch file",
        "text": "not a torch file",
    }.items():
        with pytest.raises(CheckpointError, match=sentence):
            read_weights(tmp_path / name)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "a.safetensors", small_network())
    wider = replace(
        SMALL_DESIGN, stages=(replace(SMALL_DESIGN.stages[0], blocks=SMALL_DESIGN.stages[0].blocks[:1]),)
    )
    with pytest.raises(CheckpointError, match=r"a\.safetensors.* unexpected .*blocks\.1\..*another network"):
        read_network(path, wider)
