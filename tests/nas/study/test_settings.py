"""study.yaml: complete, read back as it was written, refused where it is wrong."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.search.objectives import ObjectiveDeclaration
from nas.study.find import find_study
from nas.study.recipe import Recipe
from nas.study.recipes import (
    LARGE,
    LARGE_SUPERNET,
    SMALL_RETRAINING,
    SMALL_SUPERNET,
    RecipeOverrides,
    default_recipes,
    stored_recipes,
)
from nas.study.settings import Settings, read_settings
from search_spaces.errors import RequestError, StudyError

OTHER = Settings(
    space="my space.yaml",
    scale="nano",
    data="folder:/images/with: colon",
    data_dir="/data",
    image_size=32,
    test_crop=0.9,
    skip_broken=True,
    objectives="top1,params,latency_ms",
    max_macs="600M",
    max_params="25M",
    max_latency_ms=3.5,
    latency_table="table.json",
    latency_runtime="openvino",
    sampler="nsga2",
    batch=7,
    ahead=2,
    policy="sandwich",
    paths="by-architecture",
    sharing="block",
    supernet="weights.safetensors",
    init_from=("twins_svt_small=a.pth", "cswin_tiny=b.pth"),
    teacher="timm:resnet18=c.pth",
    validation_images=99,
    compile=True,
    seed=2**32 - 1,
    racing=0.05,
    candidates=9,
    training_step="squares",
    own_objectives=(ObjectiveDeclaration("depth", "minimize", "blocks", limit=12.0),),
    recipe=Recipe(epochs=3, lr=1e-5),
    retraining=Recipe(epochs=4, drop_path=0.3),
)


@pytest.mark.parametrize("settings", [Settings(), OTHER], ids=["default", "every setting"])
def test_round_trip(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(settings.to_yaml())
    assert read_settings(path) == settings


def test_every_setting_differs_in_the_example() -> None:
    # So that the round trip above cannot pass by a default.
    same = [
        field.name
        for field in fields(Settings)
        if getattr(OTHER, field.name) == getattr(Settings(), field.name)
    ]
    assert same == []


def test_yaml_is_complete_and_in_order() -> None:
    content, full = (yaml.safe_load(settings.to_yaml()) for settings in (Settings(), OTHER))
    assert list(full) == [field.name for field in fields(Settings)]
    assert list(content) == [name for name in full if name not in ("own_objectives", "training_step")]
    assert list(content["recipe"]) == [field.name for field in fields(Recipe)]


def test_left_out_settings_take_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("seed: 3\nrecipe: {epochs: 2}\n")
    assert read_settings(path) == Settings(seed=3, recipe=Recipe(epochs=2))


@given(lr=st.floats(1e-8, 1, exclude_min=True), seed=st.integers(0, 2**32 - 1), limit=st.floats(1e-3, 1e6))
def test_numbers_survive(
    lr: float, seed: int, limit: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings(seed=seed, max_latency_ms=limit, recipe=Recipe(lr=lr))
    path = tmp_path_factory.getbasetemp() / "numbers.yaml"
    path.write_text(settings.to_yaml())
    assert read_settings(path) == settings


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "must be a mapping"),
        ("", "must be a mapping"),
        ("space: [", "cannot read the settings"),
        ("sampel: tpe", "unknown setting 'sampel'.*did you mean 'sampler'"),
        ("recipe: {warmpu: 1}", "unknown setting 'recipe.warmpu'.*did you mean 'warmup'"),
        ("seed: '1'", "setting 'seed'"),
        ("seed: 1.5", "setting 'seed'"),
        ("batch: yes", "setting 'batch'"),
        ("space: null", "setting 'space'"),
        ("recipe: {epochs: many}", r"setting 'recipe\.epochs'"),
        ("retraining: [1]", "setting 'retraining"),
    ],
)
def test_wrong_files(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=says) as error:
        read_settings(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"objectives": "accuracy"},
        {"max_macs": "lots"},
        {"max_params": "0"},
        {"max_latency_ms": 0.0},
        {"max_latency_ms": float("nan")},
        {"sampler": "grid"},
        {"policy": "random"},
        {"sharing": "stage"},
        {"batch": 0},
        {"ahead": -1},
        {"ahead": 1, "sampler": "tpe"},
        {"validation_images": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"racing": 0.0},
        {"racing": 0.5},
        {"racing": float("nan")},
        {"racing": 0.05, "objectives": "macs,params"},
        {"recipe": Recipe(epochs=0)},
        {"recipe": Recipe(batch_size=1)},
        {"recipe": Recipe(batch_size=8, shards=5)},
        {"retraining": Recipe(lr=0.0)},
    ],
    ids=str,
)
def test_wrong_values(change: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        replace(Settings(), **change)  # type: ignore[arg-type]


def test_limits() -> None:
    assert Settings().limits == ()
    assert OTHER.limits == (("macs", 6e8), ("params", 2.5e7), ("latency_ms", 3.5), ("depth", 12.0))


def test_recipes_fit_the_images() -> None:
    base = Settings(seed=5)
    assert default_recipes(base, RecipeOverrides(), LARGE - 1, gpus=8).recipe == replace(
        SMALL_SUPERNET, seed=5, shards=8
    )
    assert default_recipes(base, RecipeOverrides(), LARGE, gpus=8).recipe == replace(
        LARGE_SUPERNET, seed=5, shards=8
    )
    assert default_recipes(base, RecipeOverrides(), LARGE - 1, gpus=0).recipe.shards == 2
    assert default_recipes(base, RecipeOverrides(batch_size=3), LARGE - 1, gpus=0).recipe.shards == 1
    wished = default_recipes(
        base, RecipeOverrides(epochs=2, batch_size=16, lr=0.1, retrain_epochs=3), 28, gpus=0
    )
    assert wished.recipe == replace(SMALL_SUPERNET, epochs=2, batch_size=16, lr=0.1, seed=5, shards=2)
    assert wished.retraining == replace(SMALL_RETRAINING, epochs=3, batch_size=16, lr=0.1, seed=5, shards=2)
    with pytest.raises(RequestError, match="epochs must be at least 1"):
        default_recipes(base, RecipeOverrides(epochs=0), 28, gpus=0)


def test_designs_are_retrained_on_as_many_gpus_as_the_supernet() -> None:
    small, large = (default_recipes(Settings(), RecipeOverrides(), side, gpus=4) for side in (28, LARGE))
    assert (small.retraining.shards, small.retraining.batch_size) == (4, 64)
    # 128 images a GPU; the rate for 1024 goes with the square root of the batch.
    assert (large.retraining.shards, large.retraining.batch_size) == (4, 512)
    assert large.retraining.lr == pytest.approx(1e-3 * 0.5**0.5)
    assert default_recipes(Settings(), RecipeOverrides(), 28, gpus=0).retraining.shards == 2
    tiny = default_recipes(Settings(), RecipeOverrides(batch_size=6), 28, gpus=8)
    assert (tiny.recipe.shards, tiny.retraining.shards) == (3, 3)


def test_large_images_get_a_batch_that_the_gpus_hold_and_its_rate() -> None:
    base = Settings()
    one, none = (default_recipes(base, RecipeOverrides(), LARGE, gpus=gpus).recipe for gpus in (1, 0))
    assert (one.batch_size, none.batch_size) == (128, 32)
    assert one.lr == pytest.approx(LARGE_SUPERNET.lr / 8**0.5)
    assert none.lr == pytest.approx(LARGE_SUPERNET.lr / 32**0.5)


def test_a_resumed_study_keeps_its_recipe_but_for_what_is_wished() -> None:
    stored = default_recipes(Settings(), RecipeOverrides(), LARGE, gpus=8)
    again = stored_recipes(Settings(), RecipeOverrides(), stored)
    assert (again.recipe, again.retraining) == (stored.recipe, stored.retraining)
    longer = stored_recipes(Settings(), RecipeOverrides(epochs=7), stored)
    assert longer.recipe == replace(stored.recipe, epochs=7, warmup_epochs=1)  # of 120 it is 5


@pytest.mark.parametrize(
    ("content", "folder"),
    [
        ("daisy/1.jpg", "studies/flowers"),
        ("study.yaml", "flowers"),
        ("log.txt", "flowers"),
        (None, "flowers"),
    ],
)
def test_a_study_may_have_the_name_of_the_folder_of_its_images(
    content: str | None, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers").mkdir()
    if content is not None:
        (tmp_path / "flowers" / content).parent.mkdir(exist_ok=True)
        (tmp_path / "flowers" / content).touch()
    assert find_study("flowers").folder == Path(folder)
    assert find_study("./flowers").folder == Path("flowers")


def test_a_study_is_a_folder_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    found = {text: find_study(text).folder for text in ("first", "./first", "there", "a/b", f"{tmp_path}/c")}
    assert found == {
        "first": Path("studies/first"),
        "./first": Path("first"),
        "there": Path("there"),
        "a/b": Path("a/b"),
        f"{tmp_path}/c": tmp_path / "c",
    }
