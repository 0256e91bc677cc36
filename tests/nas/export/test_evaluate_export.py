"""Export folders are measured on test images of their own kind, or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image

from nas.data.dataset import load_data
from nas.evaluation.accuracy import accuracy
from nas.export.evaluate_export import evaluate_folder
from nas.export.writer import export_model
from nas.runtime.uncertainty import standard_error, wilson_interval
from search_spaces.declaration import parse_declaration
from search_spaces.errors import CheckpointError, DataError, RequestError
from supernet.subnet import build_subnet
from tests.helpers.command_line import Nas

SPACE = """
name: small
blocks:
  mlp_ratio: [2]
  operators:
    dwconv: {kernel_size: [3], dynamic: [none], pos: [none]}
    lsa: {window_size: [2], pos: [rpe]}
scales:
  only:
    images: 8
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [2]}
"""
MEAN, STD = (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)


def folder_of_images(path: Path, classes: tuple[str, ...], mode: str = "RGB") -> Path:
    rng = Random(0)
    for name in classes:
        (path / name).mkdir(parents=True)
        for number in range(10):
            shape = (8, 8, 3) if mode == "RGB" else (8, 8)
            size = 192 if mode == "RGB" else 64
            pixels = torch.tensor([rng.randrange(256) for _ in range(size)], dtype=torch.uint8).view(shape)
            Image.fromarray(pixels.numpy()).save(path / name / f"{number}.png")
    return path


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    space = parse_declaration(SPACE, "space.yaml").space(None, 8, 3, 3)
    torch.manual_seed(0)
    design = space.sample(Random(0))
    folder = tmp_path / "model"
    export_model(
        build_subnet(design),
        design,
        folder,
        name="small",
        mean=MEAN,
        std=STD,
        class_names=("ant", "bee", "fly"),
        metrics={},
        provenance={},
        formats=(),
    )
    return folder


def test_scores_are_those_of_the_model_on_test_images(exported: Path, tmp_path: Path) -> None:
    spec = f"folder:{folder_of_images(tmp_path / 'images', ('ant', 'bee', 'fly'))}"
    scores = evaluate_folder(exported, spec, None)
    # By hand, from raw pixels: its own normalisation, not that of the images.
    split = load_data(spec, image_size=8).final_test()
    images, labels = next(split.batches(100))
    raw = images * torch.tensor(split.std).view(3, 1, 1) + torch.tensor(split.mean).view(3, 1, 1)
    own = (raw - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    namespace: dict[str, object] = {"__name__": "model", "__file__": str(exported / "model.py")}
    exec((exported / "model.py").read_text(), namespace)
    model = namespace["load_model"]()  # type: ignore[operator]
    expected = accuracy(model, [(own, labels)])
    assert expected.pop("correct") >> len(split) == 0
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert scores["top1_se"] == standard_error(scores["top1"], len(split))
    assert scores["top5_interval"] == list(wilson_interval(scores["top5"], len(split)))
    assert "correct" not in scores
    assert accuracy(model, [(images, labels)])["loss"] != pytest.approx(expected["loss"], rel=1e-3)
    assert scores["images"] == len(split) == 6
    assert scores["images_per_second"] > 0
    assert isinstance(scores["device"], str)
    json.dumps(scores)


def test_the_device_that_is_asked_for_is_taken(
    exported: Path, tmp_path: Path, nas: Nas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU of this machine is only said to be there: what is sent to it fails."""
    spec = f"folder:{folder_of_images(tmp_path / 'images', ('ant', 'bee', 'fly'))}"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    on_cpu = nas("evaluate", exported, "--data", spec, "--device", "cpu", "--json")
    assert on_cpu.code == 0 and json.loads(on_cpu.out)["device"] == "cpu"
    assert nas("predict", exported, next((tmp_path / "images").rglob("*.png")), "--device", "cpu").code == 0
    assert nas("evaluate", exported, "--data", spec).code == 1


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_not_an_export_folder(exported: Path, missing: str) -> None:
    (exported / missing).unlink()
    with pytest.raises(RequestError, match=f"is not an export folder .no {missing}."):
        evaluate_folder(exported, "mnist5k", None)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"is not an export folder .no config.json and no model.safetensors."
    ):
        evaluate_folder(tmp_path / "nothing", "mnist5k", None)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"input_size": [3]}', '{"input_size": [3, 8, 8], "mean": 1}']
)
def test_a_config_that_is_none(exported: Path, content: str) -> None:
    (exported / "config.json").write_text(content)
    with pytest.raises(RequestError, match=r"is no export that can be used: cannot read .*config\.json"):
        evaluate_folder(exported, "mnist5k", None)


def test_images_that_are_not_square(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    config["model_args"]["architecture"]["image_size"] = [8, 16]
    (exported / "config.json").write_text(json.dumps({**config, "input_size": [3, 8, 16]}))
    with pytest.raises(RequestError, match="8x16 px; only square"):
        evaluate_folder(exported, "mnist5k", None)


def test_truncated_weights(exported: Path) -> None:
    weights = exported / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        evaluate_folder(exported, "mnist5k", None)


def test_weights_of_another_model(exported: Path) -> None:
    from nas.runtime.files import save_tensors

    save_tensors(exported / "model.safetensors", {"other": torch.zeros(3)})
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: its parameters do not match: .* export the model"
    ):
        evaluate_folder(exported, "mnist5k", None)


def test_the_source_of_the_folder_is_not_run(exported: Path, tmp_path: Path) -> None:
    (exported / "model.py").write_text("raise SystemExit('this was run')")
    spec = f"folder:{folder_of_images(tmp_path / 'images', ('ant', 'bee', 'fly'))}"
    assert evaluate_folder(exported, spec, None)["images"] == 6


def test_the_source_is_run_where_it_is_trusted(exported: Path, tmp_path: Path) -> None:
    spec = f"folder:{folder_of_images(tmp_path / 'images', ('ant', 'bee', 'fly'))}"
    assert (
        evaluate_folder(exported, spec, None, trust=True)["top1"]
        == evaluate_folder(exported, spec, None)["top1"]
    )
    (exported / "model.py").write_text("raise KeyError('this was run')")
    with pytest.raises(CheckpointError, match=r"model.py cannot load its weights .*this was run"):
        evaluate_folder(exported, spec, None, trust=True)


def test_modules_that_a_config_names_are_not_imported(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    monkeypatch.syspath_prepend(tmp_path)
    config = json.loads((exported / "config.json").read_text())
    config["model_args"]["architecture"]["operators"] = {"planted": "planted:OPERATOR"}
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        RequestError, match=r"'planted:OPERATOR', and a file alone has none imported; .*NAS_TRUST=1"
    ):
        evaluate_folder(exported, "mnist5k", None)
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv("NAS_TRUST", "1")
    with pytest.raises(RequestError, match="'planted:OPERATOR' is not an OperatorSpec"):
        evaluate_folder(exported, "mnist5k", None)
    assert (tmp_path / "ran").exists()


def test_a_config_that_contradicts_its_design(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps({**config, "input_size": [3, 16, 16]}))
    with pytest.raises(
        RequestError, match=r"contradicts itself: .* are \(3, 16, 16\) and 3, those of its design"
    ):
        evaluate_folder(exported, "mnist5k", None)


def test_a_design_that_cannot_be_built(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    config["model_args"]["architecture"]["stem"] = "tree"
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=r"is no export that can be used: .*unknown stem 'tree'"):
        evaluate_folder(exported, "mnist5k", None)


@pytest.mark.parametrize(
    ("classes", "mode", "message"),
    [
        (("ant", "bee"), "RGB", "tells 3 classes apart but --data .* has 2"),
        (("ant", "bee", "gnat"), "RGB", "class 2 of .* is 'fly' but that of --data .* is 'gnat'"),
        (("ant", "bee", "fly"), "L", "takes images of 3 channels but --data .* has 1 channel"),
    ],
)
def test_images_of_another_kind(
    exported: Path, tmp_path: Path, classes: tuple[str, ...], mode: str, message: str
) -> None:
    images = folder_of_images(tmp_path / "images", classes, mode)
    with pytest.raises(DataError, match=message):
        evaluate_folder(exported, f"folder:{images}", None)
