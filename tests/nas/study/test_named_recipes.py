"""Recipes by name: the papers' numbers, their sources, and what of them a search and a retraining take."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.study.named_recipes.reader import LR_SCALING, known_recipes, load_recipe, read_recipe
from nas.study.recipe import Recipe, for_params, with_epochs
from nas.study.recipes import RecipeOverrides, default_recipes, retraining_recipe, stored_recipes
from nas.study.settings import Settings
from search_spaces.cost import costs
from search_spaces.errors import RequestError
from search_spaces.published import PUBLISHED, published
from tests.helpers.command_line import Nas

REFERENCE = Path(os.environ.get("NAS_REFERENCE_DIR") or Path(__file__).parents[4] / "shared" / "reference")
PAPERS = ("cswin", "deit", "refiner", "swin", "twins")


def content(name: str) -> dict[str, Any]:
    file = resources.files("nas.study.named_recipes") / f"{name}.yaml"
    read: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return read


def test_the_recipes_of_the_papers_are_there() -> None:
    assert known_recipes() == sorted([*PAPERS, "cifar", "small"])


@pytest.mark.parametrize("name", known_recipes())
def test_every_number_has_its_source(name: str) -> None:
    read = content(name)
    assert read["name"] == name
    numbers = [
        *read["retraining"].values(),
        *read["supernet"].values(),
        read["lr_scaling"],
        read["test_crop"],
    ]
    assert all(set(number) == {"value", "source"} and number["source"] for number in numbers)
    named = load_recipe(name)
    assert set(named.number_sources or {}) == {
        *(f"{section}.{number}" for section in ("retraining", "supernet") for number in read[section]),
        *("lr_scaling", "test_crop"),
    }
    assert all(each["source"] for each in (named.results or {}).values()) and named.results


@pytest.mark.parametrize("name", (*PAPERS, "cifar"))
def test_a_papers_recipe_leaves_no_number_to_a_default(name: str) -> None:
    ours = {
        "shards",
        "seed",
        "warmup",
        "distillation",
        "temperature",
        "teacher_weight",
        "teacher_images",
        "drop_path_by_params",
    }
    assert {each.name for each in fields(Recipe)} - ours <= set(content(name)["retraining"])


def test_numbers_are_those_of_the_papers() -> None:
    """By hand from Table 9 of DeiT, section 4.1 of Twins, and the commands that CSWin's authors give."""
    deit, twins, cswin, swin = (load_recipe(name).retraining for name in ("deit", "twins", "cswin", "swin"))
    for recipe in (deit, twins, cswin, swin):
        assert (recipe.epochs, recipe.weight_decay, recipe.label_smoothing) == (300, 0.05, 0.1)
        assert (recipe.mixup, recipe.cutmix, recipe.mixup_switch_prob) == (0.8, 1.0, 0.5)
        assert (recipe.rand_augment, recipe.random_erasing) == ("rand-m9-mstd0.5-inc1", 0.25)
        assert recipe.lr / recipe.batch_size == pytest.approx(5e-4 / 512)
    assert (deit.batch_size, deit.warmup_epochs, deit.clip_grad, deit.drop_path) == (1024, 5, 0, 0.1)
    assert (deit.repeated_augmentation, deit.ema_decay) == (3, 0.99996)
    assert (twins.batch_size, twins.warmup_epochs, twins.clip_grad, twins.ema_decay) == (1024, 5, 5.0, 0)
    assert (cswin.batch_size, cswin.lr, cswin.warmup_epochs, cswin.ema_decay) == (2048, 2e-3, 20, 0.99984)
    assert (swin.warmup_epochs, swin.clip_grad, swin.repeated_augmentation) == (20, 5.0, 1)
    crops = {name: load_recipe(name).test_crop for name in PAPERS}
    assert crops == {"cswin": 0.9, "deit": 0.875, "refiner": 0.9, "swin": 0.875, "twins": 0.875}


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        ("twins", {"svt_small": 0.2, "svt_base": 0.3, "svt_large": 0.5}),
        ("twins", {"pcpvt_small": 0.2, "pcpvt_base": 0.3, "pcpvt_large": 0.5}),
        ("cswin", {"tiny": 0.2, "small": 0.4, "base": 0.5}),
        ("swin", {"tiny": 0.2, "small": 0.3, "base": 0.5}),
        ("refiner", {"vit_small": 0.1, "vit_medium": 0.2, "vit_large": 0.2}),
    ],
)
def test_drop_path_of_a_published_network_is_the_papers(recipe: str, rates: dict[str, float]) -> None:
    for size, rate in rates.items():
        design = f"{recipe}_{size}"
        if design not in PUBLISHED:
            continue
        sized = for_params(load_recipe(recipe).retraining, costs(published(design)).params)
        assert sized.drop_path == pytest.approx(rate, abs=1e-4), design
        assert sized.drop_path_by_params is None


def test_drop_path_between_and_beyond_the_points() -> None:
    recipe = Recipe(drop_path=0.9, drop_path_by_params=((10.0, 0.2), (30.0, 0.4)))
    rates = {params: for_params(recipe, params).drop_path for params in (0, 5, 10, 15, 30, 300)}
    assert rates == pytest.approx({0: 0, 5: 0.1, 10: 0.2, 15: 0.25, 30: 0.4, 300: 0.4})
    assert for_params(Recipe(drop_path=0.3), 5).drop_path == 0.3


@pytest.mark.skipif(not (REFERENCE / "published.json").exists(), reason="no reference files")
def test_what_is_to_be_reached_is_what_the_authors_say() -> None:
    reference = json.loads((REFERENCE / "published.json").read_text())
    compared = 0
    for name in PAPERS:
        for design, result in (load_recipe(name).results or {}).items():
            readme = (reference.get(design) or {}).get("authors_readme") or {}
            if "imagenet_top1_224" in readme:
                assert result["top1"] == readme["imagenet_top1_224"], design
                compared += 1
    assert compared >= 12


def test_small_images_are_trained_as_ever() -> None:
    small = load_recipe("small")
    assert small.supernet == Recipe(epochs=24, batch_size=64, lr=3e-3, ema_decay=0.995)
    assert small.retraining == Recipe(epochs=16, batch_size=64, lr=4e-3, ema_decay=0.99)


def test_a_file_may_say_less(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "retraining: {epochs: 7, mixup: 0.2, drop_path_by_params: [[1000, 0.1]]}\nsupernet: {lr: 1}\n"
    )
    named = load_recipe(str(path))
    assert (named.name, named.lr_scaling, named.test_crop) == ("mine", "none", None)
    assert named.retraining == Recipe(epochs=7, mixup=0.2, drop_path_by_params=((1000, 0.1),))
    assert named.supernet == Recipe(epochs=7, mixup=0.2, lr=1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "the recipe must be a mapping"),
        ("name: it", "neither 'retraining' nor 'supernet'"),
        ("retraining: [", "not valid YAML"),
        ("retraining: {epoch: 3}", "retraining has an unknown key 'epoch' .*did you mean 'epochs'"),
        ("retrainig: {}\nsupernet: {}", "unknown key 'retrainig' .*did you mean 'retraining'"),
        ("retraining: {epochs: {value: 3}}", "retraining.epochs lacks the key 'source'"),
        ("retraining: {epochs: many}", "retraining.epochs must be a whole number, not 'many'"),
        ("retraining: {epochs: 1.5}", "retraining.epochs must be a whole number, not 1.5"),
        ("retraining: {epochs: true}", "retraining.epochs must be a whole number, not True"),
        ("retraining: {lr: null}", "retraining.lr must be a number, not None"),
        ("retraining: {rand_augment: 3}", "retraining.rand_augment must be a text, not 3"),
        (
            "retraining: {drop_path_by_params: [1, 2]}",
            r"must be a list of \[parameters, rate\], not \[1, 2\]",
        ),
        ("retraining: {epochs: 0}", "retraining.epochs must be at least 1, not 0"),
        ("supernet: {mixup_prob: 2}", "supernet.mixup_prob must be between 0 and 1, not 2"),
        (
            "retraining: {epochs: 3, warmup_epochs: 4}",
            r"warmup_epochs must not be more than epochs \(3\), not 4",
        ),
        ("retraining: {interpolation: cubic}", "retraining.interpolation: unknown value 'cubic'"),
        ("retraining: {}\nlr_scaling: cubic", "lr_scaling is unknown: 'cubic'"),
        ("retraining: {}\ntest_crop: 1.5", "test_crop must be a share of the side from 0.5 to 1, not 1.5"),
        ("retraining: {}\nimages: 0", "images must be a positive number"),
        ("supernet: {drop_path_by_params: [[2, 0.1], [1, 0.2]]}", "of ever more parameters"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(RequestError, match=says) as error:
        read_recipe(text, "mine.yaml")
    assert str(error.value).startswith("mine.yaml") and "\n" not in str(error.value)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("number", "right", "wrong"),
    [
        ("epochs", [1], [0, -1]),
        ("batch_size", [2], [1]),
        ("shards", [1, 64], [0, 65]),  # of 128 images
        ("lr", [1e-9], [0.0, -1.0, NAN, INF]),
        ("weight_decay", [0.0], [-0.1, NAN, INF]),
        ("warmup", [0.0, 1.0], [-0.1, 1.1, NAN]),
        ("label_smoothing", [0.0, 1.0], [-0.1, 1.1, NAN]),
        ("clip_grad", [0.0], [-1.0, NAN]),
        ("ema_decay", [0.0, 0.999], [-0.1, 1.0, NAN]),
        ("drop_path", [0.0, 0.9], [-0.1, 1.0, NAN]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
        ("warmup_epochs", [0, 40], [-1, 41]),
        ("warmup_lr", [0.0], [-1.0, NAN]),
        ("min_lr", [0.0], [-1.0, NAN]),
        ("mixup", [0.0, 2.0], [-0.1, NAN, INF]),
        ("cutmix", [0.0, 2.0], [-0.1, NAN, INF]),
        ("mixup_prob", [0.0, 1.0], [-0.1, 1.1, NAN]),
        ("mixup_switch_prob", [0.0, 1.0], [-0.1, 1.1, NAN]),
        ("rand_augment", ["rand-m9-mstd0.5-inc1", "rand-m7-n3"], ["augmix", ""]),
        ("color_jitter", [0.0, 0.4], [-0.1, NAN]),
        ("random_erasing", [0.0, 1.0], [-0.1, 1.1, NAN]),
        ("repeated_augmentation", [1, 3], [0]),
        ("crop_area", [1.0, 0.08], [0.0, 1.1, NAN]),
        ("interpolation", ["bilinear", "random"], ["cubic"]),
        ("distillation", ["soft", "hard"], ["warm"]),
        ("temperature", [0.5], [0.0, NAN]),
        ("teacher_weight", [0.0, 1.0], [-0.1, 1.1]),
        ("teacher_images", ["varied", "clean"], ["mixed", ""]),
        (
            "drop_path_by_params",
            [((1.0, 0.2),)],
            [(), ((0.0, 0.2),), ((1.0, 1.0),), ((2.0, 0.1), (1.0, 0.2))],
        ),
    ],
)
def test_every_number_has_a_range(number: str, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        replace(Settings(), retraining=Recipe(**{number: value}))
    for value in wrong:
        with pytest.raises(RequestError, match=rf"retraining\.{number}\b"):
            replace(Settings(), retraining=Recipe(**{number: value}))


def test_all_numbers_are_tested_for_their_ranges() -> None:
    tested = test_every_number_has_a_range.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {number for number, _, _ in tested} == {each.name for each in fields(Recipe)}


def test_a_supernet_has_no_size() -> None:
    with pytest.raises(RequestError, match="drop_path_by_params is by the size of one network"):
        Settings(recipe=Recipe(drop_path_by_params=((1.0, 0.1),)))


def chosen(image_size: int = 224, gpus: int = 8, **overrides: Any) -> Settings:
    return default_recipes(Settings(seed=5), RecipeOverrides(**overrides), image_size, gpus)


def test_a_named_recipe_keeps_its_batch_in_shards_that_devices_hold() -> None:
    for gpus, shards in ((8, 8), (2, 8), (3, 9), (16, 16), (0, 32)):
        settings = chosen(gpus=gpus, training_recipe="deit")
        for recipe in (settings.recipe, settings.retraining):
            assert (recipe.batch_size, recipe.shards, recipe.lr, recipe.seed) == (1024, shards, 1e-3, 5)
    small = chosen(32, 0, training_recipe="cifar").recipe
    assert (small.batch_size, small.shards, small.lr) == (128, 2, 5.5e-4)


def test_another_batch_has_its_rate_by_the_recipes_rule() -> None:
    """DeiT: 0.0005 for 512 images, in proportion."""
    settings = chosen(training_recipe="deit", batch_size=256)
    for recipe in (settings.recipe, settings.retraining):
        assert (recipe.batch_size, recipe.lr) == (256, pytest.approx(2.5e-4))
    assert chosen(training_recipe="deit", batch_size=256, lr=0.1).recipe.lr == 0.1
    assert chosen(32, 0, training_recipe="small", batch_size=32).recipe.lr == 3e-3
    assert LR_SCALING == {"linear": 1.0, "square root": 0.5, "none": 0.0}


def test_options_win_over_a_named_recipe() -> None:
    settings = chosen(training_recipe="swin", epochs=60, retrain_epochs=30)
    assert (settings.recipe.epochs, settings.recipe.warmup_epochs) == (60, 4)  # of 120 epochs it is 8
    assert (settings.retraining.epochs, settings.retraining.warmup_epochs) == (30, 2)  # of 300 it is 20


def test_a_shorter_training_warms_up_in_proportion_and_a_longer_one_as_long() -> None:
    recipe = Recipe(epochs=300, warmup_epochs=5)
    warmups = {epochs: with_epochs(recipe, epochs).warmup_epochs for epochs in (1, 60, 61, 299, 300, 500)}
    assert warmups == {1: 1, 60: 1, 61: 2, 299: 5, 300: 5, 500: 5}
    assert with_epochs(Recipe(), 3) == Recipe(epochs=3)


def test_a_study_resumes_with_the_name_that_it_began_with_on_other_devices() -> None:
    stored = chosen(gpus=8, training_recipe="twins")
    again = stored_recipes(Settings(seed=5), RecipeOverrides(training_recipe="twins"), stored)
    assert (again.recipe, again.retraining) == (stored.recipe, stored.retraining)


def test_a_retraining_takes_a_recipe_of_its_own() -> None:
    settings = chosen(gpus=8)
    assert retraining_recipe(settings) == settings.retraining
    cswin = retraining_recipe(settings, "cswin", epochs=30)
    assert asdict(cswin) == {
        **asdict(load_recipe("cswin").retraining),
        "epochs": 30,
        "warmup_epochs": 2,
        "seed": 5,
        "shards": cswin.shards,
    }
    assert cswin.batch_size / cswin.shards <= 128


def test_images_from_96_pixels_are_trained_as_deit_has_it() -> None:
    settings = chosen(96, 8)
    deit = load_recipe("deit")
    assert replace(settings.recipe, shards=1, seed=0) == deit.supernet
    assert settings.retraining.mixup == 0.8 and settings.retraining.repeated_augmentation == 3
    assert chosen(95, 8).recipe.mixup == 0.0


def test_recipes_are_listed_and_shown(nas: Nas, tmp_path: Path) -> None:
    listed = json.loads(nas("recipes", "--json").out)
    assert [each["name"] for each in listed] == known_recipes()
    shown = json.loads(nas("recipes", "twins", "--json").out)
    assert shown == next(each for each in listed if each["name"] == "twins")
    assert shown["retraining"]["epochs"] == 300 and "paper" in shown["number_sources"]["retraining.epochs"]
    text = nas("recipes", "twins").out
    assert "384M" in text.replace("\n", " ") and "81.7%" in text  # 300 epochs of 1,281,167 images
    outcome = nas("recipes", "twin")
    assert outcome.code == 2 and "did you mean 'twins'" in outcome.err


@pytest.mark.parametrize(
    ("typed", "crop"),
    [
        pytest.param("--image-size 96", 1.0, marks=pytest.mark.slow),
        ("--image-size 96 --recipe cswin", 0.9),
        pytest.param("--image-size 96 --recipe cswin --test-crop 0.8", 0.8, marks=pytest.mark.slow),
        ("--image-size 28 --recipe cswin", 1.0),  # small images have the size that they are tested at
    ],
)
def test_large_images_are_tested_on_the_recipes_crop(typed: str, crop: float, nas: Nas, images: Path) -> None:
    command = (
        f"search --data folder:{images} --scale nano --budget 1cpu,4trials --study ./new --dry-run --json"
    )
    outcome = nas(*command.split(), *typed.split())
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["settings"]["test_crop"] == crop
