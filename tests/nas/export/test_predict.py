"""Image files are predicted alike by the command, by the folder's own source, and by hand."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.dataset import load_data
from nas.export.predict import predict_files
from nas.export.source_module import load_source
from search_spaces.errors import DataError, RequestError
from tests.helpers.exports import CLASSES, MEAN, PYRAMID, STD, smooth_image, write_export


def image_files(folder: Path) -> list[Path]:
    """Write images of every kind: sizes, orientations, transparency, shades of grey."""
    folder.mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    smooth_image(100, 60).save(folder / "turned.jpg", exif=turned)
    smooth_image(60, 101).save(folder / "tall.png")
    smooth_image(32, 32).save(folder / "own.png")
    clear = smooth_image(50, 40).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((50, 40)))
    clear.save(folder / "clear.png")
    smooth_image(64, 48).convert("L").save(folder / "grey.png")
    smooth_image(64, 48).convert("P").save(folder / "palette.gif")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("channels", "side", "test_crop"), [(1, 32, 1.0), (3, 32, 1.0), (3, 96, 0.875)])
@torch.no_grad()
def test_command_source_and_data_sets_agree(
    channels: int, side: int, test_crop: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    network = write_export(
        tmp_path / "model", replace(PYRAMID, in_channels=channels, image_size=(side, side)), test_crop
    )
    files = image_files(tmp_path / "images")
    source = load_source(tmp_path / "model")
    model = source.load_model()
    predictions = predict_files(tmp_path / "model", files, 5)
    assert [each.file for each in predictions] == files
    for file, prediction in zip(files, predictions, strict=True):
        assert [each.name for each in prediction.classes] == [
            CLASSES[each.index] for each in prediction.classes
        ]
        by_source = source.predict(file, model=model)
        assert [name for name, _ in by_source] == [each.name for each in prediction.classes]
        expected = network(source.preprocess(str(file))).softmax(1)[0].sort(descending=True)
        for values in ([value for _, value in by_source], [each.probability for each in prediction.classes]):
            assert values == pytest.approx(expected.values.tolist(), abs=1e-5)
    # The very tensors that the accuracy is counted on.
    for name in ("a", "b", "c"):
        (tmp_path / "set" / "test" / name).mkdir(parents=True)
        for part in ("train", "val"):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            mode = "L" if channels == 1 else "RGB"
            smooth_image(40, 30, seed=100 * len(part) + ord(name)).convert(mode).save(
                tmp_path / "set" / part / name / "x.png"
            )
    for name, file in zip(("a", "b", "c"), files, strict=False):
        image = Image.open(file)
        (image.convert("L") if channels == 1 else image).save(tmp_path / "set" / "test" / name / file.name)
    split = load_data(f"folder:{tmp_path / 'set'}", image_size=side, test_crop=test_crop).final_test()
    images, labels = next(replace(split, mean=MEAN[:channels], std=STD[:channels]).batches(10))
    for image, label in zip(images, labels.tolist(), strict=True):
        (file,) = (tmp_path / "set" / "test" / "abc"[label]).iterdir()
        torch.testing.assert_close(source.preprocess(file)[0], image, rtol=0, atol=1e-5)


def test_the_tensor_by_hand(tmp_path: Path) -> None:
    """A plain image with a border that the crop leaves out, in values that resizing does not change."""
    write_export(tmp_path / "model", test_crop=0.5)
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[8:56, 40:88] = (51, 102, 204)  # reaches 8 pixels further than the central 32 x 32
    x = load_source(tmp_path / "model").preprocess(Image.fromarray(pixels))
    by_hand = torch.tensor([(0.2 - 0.25) / 0.5, (0.4 - 0.5) / 0.25, (0.8 - 0.75) / 0.125]).view(1, 3, 1, 1)
    torch.testing.assert_close(x, by_hand.expand(1, 3, 32, 32))


def test_classes_without_names_and_fewer_of_them(tmp_path: Path) -> None:
    write_export(tmp_path / "model", class_names=())
    smooth_image(40, 30).save(tmp_path / "a.png")
    (prediction,) = predict_files(tmp_path / "model", [tmp_path / "a.png"], 2)
    assert len(prediction.classes) == 2
    content = prediction.to_json()
    assert [each["class"] for each in content["classes"]] == [
        str(each["index"]) for each in content["classes"]
    ]
    assert len(load_source(tmp_path / "model").predict(tmp_path / "a.png", top=1)) == 1


def test_the_folder_predicts_without_this_project(tmp_path: Path) -> None:
    write_export(tmp_path / "model")
    smooth_image(40, 30).save(tmp_path / "model" / "a.png")
    program = (
        "import sys; from model import predict; print(predict('a.png', top=1)[0][0], "
        "sorted({name.split('.')[0] for name in sys.modules} & {'nas', 'supernet', 'search_spaces', 'timm'}))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path / "model", env={"PYTHONPATH": ""}, capture_output=True, text=True, check=True
    )
    (expected,) = predict_files(tmp_path / "model", [tmp_path / "model" / "a.png"], 1)
    assert done.stdout.split() == [expected.classes[0].name, "[]"]


def test_files_that_are_no_images(tmp_path: Path) -> None:
    write_export(tmp_path / "model")
    smooth_image(40, 30).save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no image")
    content = (tmp_path / "good.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    Image.new("I;16", (9, 9)).save(tmp_path / "deep.png")
    for name, says in [
        ("text.png", r"text\.png is no image of a format that Pillow reads; give a JPEG or PNG file"),
        ("half.png", r"half\.png cannot be decoded \(.*\); replace it"),
        ("deep.png", r"deep\.png cannot be decoded \(it has more than 8 bits per channel"),
        ("none.png", r"there is no file .*none\.png; check the path"),
        ("model", r"model is a folder; give the image files in it"),
    ]:
        with pytest.raises(DataError, match=says):
            predict_files(tmp_path / "model", [tmp_path / "good.png", tmp_path / name], 1)
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        load_source(tmp_path / "model").preprocess(tmp_path / "deep.png")


def test_models_that_take_no_image_files(tmp_path: Path) -> None:
    write_export(tmp_path / "wide", replace(PYRAMID, image_size=(32, 64)))
    write_export(tmp_path / "two", replace(PYRAMID, in_channels=2))
    with pytest.raises(RequestError, match="takes images of 32x64 px; only square ones can be read"):
        predict_files(tmp_path / "wide", [tmp_path / "a.png"], 1)
    with pytest.raises(RequestError, match="takes images of 2 channels, which image files do not have"):
        predict_files(tmp_path / "two", [tmp_path / "a.png"], 1)
    # Its own source reads them, and what takes no image files has no function that would.
    x = load_source(tmp_path / "wide").preprocess(smooth_image(100, 40))
    assert x.shape == (1, 3, 32, 64)
    assert not hasattr(load_source(tmp_path / "two"), "predict")
