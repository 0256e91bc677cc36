"""What decides a score is compared by content: spelling changes nothing, content everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.search.objectives import ObjectiveDeclaration
from nas.study.fingerprint import compute_fingerprint, find_differences
from nas.study.recipe import Recipe
from nas.study.setting import (
    AS_FILE,
    AS_NAMED_FILES,
    AS_TEACHER,
    AS_VALUE,
    NOT_COMPARED,
    Setting,
    declared_settings,
)
from nas.study.settings import Settings
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from tests.helpers.command_line import TINY_SPACE

DECLARATION = parse_declaration(TINY_SPACE, "tiny.yaml")
COMPARED = [each for each in declared_settings(Settings) if each.compared != NOT_COMPARED]


@pytest.fixture(scope="module")
def space() -> Space:
    return DECLARATION.space("nano", 16, 3, 3)


def other_value(each: Setting, folder: Path) -> Any:
    """Return a valid value that is not the default."""
    (folder / "file").write_text("content")
    if each.compared == AS_FILE:
        return str(folder / "file")
    if each.compared == AS_NAMED_FILES:
        return (f"cswin_tiny={folder / 'file'}",)
    if each.choices:
        return next(choice for choice in each.choices if choice != each.default)
    if isinstance(each.default, bool):
        return not each.default
    if isinstance(each.default, int):
        return each.default + 1
    if each.compared == AS_TEACHER:
        return f"timm:resnet18={folder / 'file'}"
    texts = {"objectives": "macs,top1", "max_macs": "3M", "max_params": "2K"}
    own = (ObjectiveDeclaration("depth", "minimize"),)
    values = {
        "own_objectives": own,
        "training_step": "squares",
        "max_latency_ms": 3.0,
        "racing": 0.1,
        "test_crop": 0.9,
        "recipe": Recipe(lr=0.5),
        **texts,
    }
    return values[each.name]


@pytest.mark.parametrize("each", COMPARED, ids=lambda each: each.name)
def test_every_setting_that_decides_a_score_tells_studies_apart(
    each: Setting, space: Space, tmp_path: Path
) -> None:
    base = Settings(objectives="top1,macs") if each.name == "racing" else Settings()
    changed = replace(base, **{each.name: other_value(each, tmp_path)})
    stored = compute_fingerprint(base, space, "images")
    assert find_differences(stored, compute_fingerprint(base, space, "images")) == {}
    differences = find_differences(stored, compute_fingerprint(changed, space, "images"))
    assert [name.partition(".")[0] for name in differences] == [each.name]
    # A fingerprint that was stored before the setting was invented knows nothing of it.
    older = {name: value for name, value in stored.items() if name != each.name}
    assert find_differences(older, compute_fingerprint(base, space, "images")) == {}
    assert find_differences(older, compute_fingerprint(changed, space, "images")) == differences


def test_what_is_not_compared_by_itself_is_compared_by_what_it_names(space: Space) -> None:
    assert {each.name for each in declared_settings(Settings)} - {each.name for each in COMPARED} == {
        *("space", "scale", "data", "data_dir", "image_size", "skip_broken", "retraining", "candidates")
    }
    stored = compute_fingerprint(Settings(), space, "1" * 64)
    spelled = Settings(space="./a.yaml", data="folder:b", data_dir="c", retraining=Recipe(epochs=9))
    assert find_differences(stored, compute_fingerprint(spelled, space, "1" * 64)) == {}
    larger = DECLARATION.space("nano", 32, 3, 3)
    assert find_differences(stored, compute_fingerprint(Settings(), larger, "2" * 64)) == {
        "images": "other images (111111111111, not 222222222222)",
        "space": f"another space, scale or image size ({space.digest}, not {larger.digest})",
    }


def test_numbers_count_not_how_they_are_written(space: Space) -> None:
    written = [Settings(max_macs=text) for text in ("600M", "600000000", "0.6G", "600 M")]
    first, *others = (compute_fingerprint(each, space, "images") for each in written)
    assert all(find_differences(first, other) == {} for other in others)


@pytest.mark.parametrize("name", ["supernet", "latency_table", "init_from", "teacher"])
def test_files_count_by_content(
    name: str, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(path: object) -> dict[str, Any]:
        values = {"init_from": (f"cswin_tiny={path}",), "teacher": f"timm:resnet18={path}"}
        value: Any = values.get(name, f"{path}")
        return compute_fingerprint(replace(Settings(), **{name: value}), space, "images")

    monkeypatch.chdir(tmp_path)
    for file, content in (("one", "weights"), ("copy", "weights"), ("other", "other weights")):
        Path(file).write_text(content)
    Path("link").symlink_to("one")
    stored = fingerprint("one")
    for spelling in ("./one", tmp_path / "one", "copy", "link"):
        assert find_differences(stored, fingerprint(spelling)) == {}
    assert find_differences(stored, fingerprint("other"))[name].startswith(f"{name}=")
    Path("one").write_text("replaced in place")
    assert find_differences(stored, fingerprint("one"))[name].startswith(f"{name}=")
    Path("one").unlink()  # what was read of it is in the study
    assert find_differences(stored, fingerprint("one")) == {}
    assert find_differences(compute_fingerprint(Settings(), space, "images"), fingerprint("one"))


def test_a_new_setting_is_compared_by_its_value_unless_it_says_otherwise() -> None:
    assert Setting("new", int, 0, "Something.").compared == AS_VALUE


def test_a_number_of_a_recipe_that_is_new_had_its_default(space: Space) -> None:
    wanted = compute_fingerprint(Settings(), space, "0")
    stored = {**wanted, "recipe": {k: v for k, v in wanted["recipe"].items() if k != "teacher_images"}}
    assert find_differences(stored, wanted) == {}
    other = compute_fingerprint(Settings(recipe=Recipe(teacher_images="clean")), space, "0")
    assert list(find_differences(stored, other)) == ["recipe.teacher_images"]
