"""The Python and the spaces that documents show run as they stand there.

The operator in `docs/howto/operator.md` is that of `tests/examples`, whose tests run it.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml

from search_spaces.declaration import parse_declaration
from tests.docs.documents import code_blocks, read
from tests.helpers.exports import CLASSES, smooth_image, write_export


def snippets(document: str, language: str = "python") -> list[str]:
    """Return the blocks of a document in a language that are not quoted from files."""
    return [
        block.text for block in code_blocks(read(document)) if block.language == language and not block.quotes
    ]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an export, `models/mine`, and a photograph, in which snippets run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "cache"))
    write_export(tmp_path / "models" / "mine")
    smooth_image(90, 60).save(tmp_path / "photo.jpg")
    return tmp_path


def test_an_export_is_used_as_its_page_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_itself, by_timm = snippets("docs/howto/export.md")
    monkeypatch.syspath_prepend(place / "models" / "mine")
    names: dict[str, object] = {"images": torch.zeros(2, 3, 32, 32)}
    monkeypatch.delitem(sys.modules, "model", raising=False)  # of another export
    exec(by_itself, names)
    del sys.modules["model"]
    maps, model = names["maps"], names["model"]
    assert isinstance(maps, list) and [x.shape[:2] for x in maps] == [(2, 8), (2, 16), (2, 24)]
    assert isinstance(model, torch.nn.Module) and model.head.out_features == 7 != len(CLASSES)
    names = {}
    exec(by_timm, names)
    backbone, transform = names["backbone"], names["transform"]
    assert isinstance(backbone, torch.nn.Module) and callable(transform)
    maps = backbone(transform(smooth_image(64, 64))[None])
    assert [x.shape[1] for x in maps] == [16, 24]


def test_the_choices_of_widths_and_sizes_are_a_scale() -> None:
    """The page shows them as a part of the space above them."""
    whole, part = snippets("docs/howto/space.md", "yaml")
    declaration = yaml.safe_load(whole)
    scale = {"images": [24, 32], "stem": "patch4x4", **yaml.safe_load(textwrap.dedent(part))}
    declaration["blocks"]["operators"] = {"dwconv": {"kernel_size": 3, "dynamic": "none"}}
    declaration["scales"] = {"mine": scale}
    space = parse_declaration(yaml.safe_dump(declaration), "docs/howto/space.md").space("mine")
    assert len(space.stages) == len(scale["stages"]) == 3 and space.size > 1000


@pytest.mark.slow
def test_a_folder_of_images_becomes_a_backbone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python of the tutorial and of the reference, in the tutorial's folder: minutes on two cores."""
    for number in range(180):
        folder = place / "flowers" / ("daisy", "rose", "tulip")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        smooth_image(32, 32, seed=number).save(folder / f"{number}.jpg")
    (ten_lines,) = (text for text in snippets("docs/tutorial.md") if "features_only" in text)
    exec(ten_lines, {})
    channels = capsys.readouterr().out.splitlines()[-1]
    assert channels.startswith("[") and channels.count("[") == 2
    (three_calls,) = (text for text in snippets("docs/reference/python.md") if "folder:flowers" in text)
    exec(three_calls.replace('study="flowers"', 'study="again"'), {})
    assert list((place / "studies" / "again" / "exports").iterdir())
