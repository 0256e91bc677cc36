"""Every trained design can be looked into, beside others and on images that are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from nas.data.dataset import load_data
from nas.export.writer import export_model
from nas.report.similarity import analyze
from nas.report.similarity_page import plot_similarities
from nas.report.trained_networks import find_trained_networks
from nas.runtime.files import save_tensors, write_json
from nas.study.dataset_info import DatasetInfo
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.errors import DataError, RequestError
from supernet.subnet import build_subnet
from tests.helpers.designs import DEEP, FLAT, noise

SPACE = """
name: small
blocks:
  mlp_ratio: [2]
  operators:
    lsa: {window_size: [2], pos: [none]}
scales:
  only: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: [1]}]}
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for number, name in enumerate(("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for shade in range(50):
            picture = (noise(16, 16, 3, seed=100 * number + shade) * 30 + 120).clamp(0, 255).byte()
            Image.fromarray(picture.numpy()).save(folder / name / f"{shade}.png")
    return folder


def exported(folder: Path, design: Architecture, name: str) -> Path:
    torch.manual_seed(0)
    mean = std = (0.5, 0.5, 0.5)
    names = ("ant", "bee")
    export_model(
        build_subnet(design),
        design,
        folder,
        name=name,
        mean=mean,
        std=std,
        class_names=names,
        metrics={},
        provenance={},
        formats=(),
    )
    return folder


def studied(folder: Path, images: Path) -> Study:
    """Make a study with two designs that were retrained, as far as files tell."""
    study, spec = Study(folder), f"folder:{images}"
    dataset = DatasetInfo.from_data(load_data(spec, image_size=16), spec)
    declaration = parse_declaration(SPACE, "space.yaml")
    study.create(Settings(data=spec, image_size=16), dataset, declaration, study.default_url, [])
    for top1, design in enumerate((DEEP, FLAT)):
        place = study.retraining_folder(design.digest, "scratch")
        save_tensors(place / "model.safetensors", build_subnet(design).state_dict())
        result = {"digest": design.digest, "mode": "scratch", "architecture": design.to_json()}
        result |= {"macs": 1, "recipe": {}, "val_top1": top1, "test_top1": top1, "test_images": 10}
        write_json(place / "result.json", {**result, "weights": "model.safetensors"})
    return study


def test_designs_of_a_study_are_drawn_side_by_side(tmp_path: Path, images: Path) -> None:
    study = studied(tmp_path / "study", images)
    result = analyze([str(study.folder)], None, None, 10, None)
    assert (result["data"], result["images"]) == (f"folder:{images}", 10)
    assert [design["digest"] for design in result["designs"]] == [FLAT.digest, DEEP.digest]
    deep = result["designs"][1]
    assert [block["place"] for block in deep["blocks"]] == ["stage1.block1", "stage1.block2", "stage2.block1"]
    assert [block["depth"] for block in deep["blocks"]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert deep["mean"] == pytest.approx(sum(block["similarity"] for block in deep["blocks"][:2]) / 2)
    assert result["designs"][0]["mean"] is None  # a single block has nothing before it
    page = Path(result["out"]).read_text()
    assert Path(result["out"]) == study.folder / "similarity.html"
    assert FLAT.digest in page
    assert "src=" not in page.split("</style>")[1].split("<script>")[0]
    single = find_trained_networks(str(study.retraining_folder(DEEP.digest, "scratch")))
    assert [network.label for network in single] == [f"{DEEP.digest} scratch"]


def test_exports_are_compared_on_images_that_are_named(tmp_path: Path, images: Path) -> None:
    folders = [str(exported(tmp_path / name, design, "one")) for name, design in (("a", DEEP), ("b", FLAT))]
    with pytest.raises(RequestError, match="--data is needed"):
        analyze(folders, None, None, 10, None)
    result = analyze(folders, f"folder:{images}", None, 8, tmp_path / "x.html")
    assert [design["label"] for design in result["designs"]] == ["one", "one (2)"]
    assert (tmp_path / "x.html").is_file()
    again = analyze(folders, f"folder:{images}", None, 8, None)
    assert again["out"] is None
    assert again["designs"] == result["designs"]
    assert [len(trace.x) for trace in plot_similarities(result["designs"]).data] == [3, 1]


def test_what_cannot_be_looked_into_is_refused(tmp_path: Path, images: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RequestError, match="neither an export folder nor a study"):
        analyze([str(tmp_path / "nothing")], None, None, 10, None)
    folder = exported(tmp_path / "a", DEEP, "one")
    with pytest.raises(DataError, match="too few to compare"):
        analyze([str(folder)], f"folder:{images}", None, 3, None)
    with pytest.raises(DataError, match="takes images of 3 channels"):
        analyze([str(folder)], "mnist5k", None, 10, None)
