"""Widths, heads and sizes of the images from the search to the exported model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.study.folder import Study
from tests.helpers.command_line import Nas, paint_folder

SPACE = """
name: widths
blocks:
  mlp_ratio: 2
  operators:
    lsa: {window_size: 2, pos: [none, rpe]}
    dwconv: {kernel_size: 3, dynamic: none}
scales:
  one:
    images: [12, 32]
    image_size: [12, 16]
    stem: patch4x4
    stages:
      - {dim: [8, 16], num_heads: [2, 4], depth: 1}
      - {width: [{dim: 16, num_heads: 2}, {dim: 24, num_heads: 3}], depth: 1, downsample: merging}
"""


@pytest.mark.slow
def test_from_the_search_to_the_exported_model(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    paint_folder(tmp_path / "images")  # of 16 px
    search = (
        *("search", "--space", "space.yaml", "--data", "folder:images", "--study", "./study", "--seed", "0"),
        *("--epochs", "2", "--batch-size", "8", "--paths", "by-cost", "--policy", "sandwich"),
        *("--objective", "top1,macs", "--budget", "1cpu,24trials", "--batch", "8", "--json"),
    )
    outcome = nas(*search)
    assert outcome.code == 0, outcome.err
    designs = {each.architecture.digest: each.architecture for each in Study(Path("study")).records()}
    assert {design.image_size for design in designs.values()} == {(12, 12), (16, 16)}
    assert len({(stage.dim, stage.num_heads) for d in designs.values() for stage in d.stages}) > 4
    small = next(design for design in designs.values() if design.image_size == (12, 12))
    retrained = nas(
        *("retrain", "study", "--arch", small.digest, "--epochs", "1", "--budget", "1cpu", "--json"),
    )
    assert retrained.code == 0, retrained.err
    assert {result["mode"] for result in json.loads(retrained.out)} == {"inherit", "scratch"}
    exported = nas("export", "study", "--arch", small.digest, "--out", "model", "--format", "all", "--json")
    assert exported.code == 0, exported.err
    config = json.loads(Path("model/config.json").read_text())
    assert config["input_size"] == [3, 12, 12]
    evaluated = nas("evaluate", "model", "--data", "folder:images", "--json")
    assert evaluated.code == 0, evaluated.err
    # The same images, decoded at 12 px rather than made smaller on the device.
    assert json.loads(evaluated.out)["images"] == 6
    report = nas("report", "study")
    assert report.code == 0, report.err
