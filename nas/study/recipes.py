"""Training recipes that fit the images, where the user does not say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas.study.named_recipes.reader import NamedRecipe, load_recipe
from nas.study.recipe import Recipe, with_epochs
from nas.study.setting import TRAINING, declared_settings, setting
from nas.study.settings import Settings

#: For images below this side the small recipes are used.
LARGE = 96

#: What is taken where the user names no recipe, for small images and for large ones.
SMALL, LARGE_IMAGES = load_recipe("small"), load_recipe("deit")
SMALL_SUPERNET, SMALL_RETRAINING = SMALL.supernet, SMALL.retraining
LARGE_SUPERNET, LARGE_RETRAINING = LARGE_IMAGES.supernet, LARGE_IMAGES.retraining
#: Workers without a GPU have one thread each; two of them train small networks 1.1 to 1.6 times as
#: fast as one process of two threads (studies/performance/NOTES.md).
CPU_SHARDS = 2
#: Large images a step that a GPU and a machine without one hold.
GPU_BATCH, CPU_BATCH = 128, 32


@dataclass(frozen=True)
class RecipeOverrides:
    """Options that set numbers of the recipes; None leaves them as they are."""

    training_recipe: str | None = setting(
        None,
        "Train by this recipe: a name that nas recipes lists, or a YAML file of that form.",
        TRAINING,
        option="--recipe",
        metavar="NAME|FILE",
        default_help=f"{SMALL.name}; {LARGE_IMAGES.name} from {LARGE} px, with a batch that the devices hold",
        overrides=("recipe", "retraining"),
    )
    epochs: int | None = setting(
        None,
        "Epochs of the supernet.",
        TRAINING,
        default_help=f"{SMALL_SUPERNET.epochs}; {LARGE_SUPERNET.epochs} from {LARGE} px",
        overrides=("recipe.epochs",),
    )
    batch_size: int | None = setting(
        None,
        "Images a training step.",
        TRAINING,
        default_help=f"{SMALL_SUPERNET.batch_size}; from {LARGE} px {GPU_BATCH} a GPU, {CPU_BATCH} on CPUs",
        overrides=("recipe.batch_size", "retraining.batch_size"),
    )
    lr: float | None = setting(
        None,
        "Peak learning rate.",
        TRAINING,
        default_help=f"{SMALL_SUPERNET.lr:g}, in retraining {SMALL_RETRAINING.lr:g}; from {LARGE} px "
        f"{LARGE_SUPERNET.lr:g} for {LARGE_SUPERNET.batch_size} images",
        overrides=("recipe.lr", "retraining.lr"),
    )
    retrain_epochs: int | None = setting(
        None,
        "Epochs of retraining.",
        TRAINING,
        default_help=f"{SMALL_RETRAINING.epochs}; {LARGE_RETRAINING.epochs} from {LARGE} px",
        overrides=("retraining.epochs",),
    )


def default_recipes(settings: Settings, overrides: RecipeOverrides, image_size: int, gpus: int) -> Settings:
    """Return ``settings`` with recipes for images of a side, as far as the user did not choose.

    Args:
        settings: Without recipes.
        overrides: What the user chose.
        image_size: Side of the images in pixels.
        gpus: GPUs that train the supernet together, and then the designs.

    Raises:
        RequestError: If a value that the user chose is out of range.
    """
    if overrides.training_recipe is not None:
        workers, most = (gpus or CPU_SHARDS, GPU_BATCH) if image_size < LARGE or gpus else (1, CPU_BATCH)
        return _apply_named(overrides, settings, workers, most)
    if image_size < LARGE:
        shards, recipes = gpus or CPU_SHARDS, (SMALL_SUPERNET, SMALL_RETRAINING)
    else:
        shards, batch_size = gpus or 1, gpus * GPU_BATCH or CPU_BATCH
        recipes = _rescale(LARGE_SUPERNET, batch_size), _rescale(LARGE_RETRAINING, batch_size)
    supernet, retraining = (replace(recipe, shards=shards) for recipe in recipes)
    return _apply(overrides, settings, supernet, retraining, settings.seed)


def stored_recipes(settings: Settings, overrides: RecipeOverrides, stored: Settings) -> Settings:
    """Return ``settings`` with the recipes a study began with, but for what the user chooses now.

    Which batch fits depends on the GPUs of the day; a study keeps the one it began with.
    """
    if overrides.training_recipe is not None:
        return _apply_named(overrides, settings, stored.recipe.shards, GPU_BATCH)
    return _apply(overrides, settings, stored.recipe, stored.retraining, settings.seed)


def override_settings(stored: Settings, given: Mapping[str, Any], overrides: RecipeOverrides) -> Settings:
    """Return stored settings, recipes included, but for what the user chooses now.

    Args:
        stored: Complete settings, such as those of a ``study.yaml``.
        given: Values of other settings by name; a seed is that of the recipes too.
        overrides: Numbers of the recipes.

    Raises:
        RequestError: If a value is wrong.
    """
    settings = replace(stored, **given)
    if overrides.training_recipe is not None:
        return _apply_named(overrides, settings, stored.recipe.shards, GPU_BATCH)
    return _apply(overrides, settings, stored.recipe, stored.retraining, given.get("seed"))


def retraining_recipe(
    settings: Settings, name_or_file: str | None = None, epochs: int | None = None
) -> Recipe:
    """Return how designs of a study are retrained: as its settings say, but for what the user chooses now.

    Raises:
        RequestError: If there is no such recipe, or something in it is wrong.
    """
    recipe = stored = settings.retraining
    if name_or_file is not None:
        named = load_recipe(name_or_file)
        recipe = _with_batch(named, named.retraining, named.retraining.batch_size, stored.shards, GPU_BATCH)
        recipe = replace(recipe, seed=stored.seed)
    return recipe if epochs is None else with_epochs(recipe, epochs)


def _apply_named(overrides: RecipeOverrides, settings: Settings, workers: int, most: int) -> Settings:
    """Return ``settings`` with a named recipe, overridden; its batch stays as it is, in shards that devices hold.

    Another batch has its rate by the recipe's rule, unless the user gives one. The seed is the study's.
    """
    assert overrides.training_recipe is not None
    named = load_recipe(overrides.training_recipe)
    supernet, retraining = (
        _with_batch(named, recipe, overrides.batch_size or recipe.batch_size, workers, most)
        for recipe in (named.supernet, named.retraining)
    )
    return _apply(overrides, settings, supernet, retraining, settings.seed)


def _with_batch(named: NamedRecipe, recipe: Recipe, batch_size: int, workers: int, most: int) -> Recipe:
    """Return a recipe for a batch, in equal shards for each worker of at most ``most`` images."""
    shards = workers * max(1, math.ceil(batch_size / (workers * most)))
    return replace(
        recipe,
        batch_size=batch_size,
        lr=named.scale_lr(recipe.lr, recipe.batch_size, batch_size),
        shards=max(1, min(shards, batch_size // 2)),
    )


def _apply(
    overrides: RecipeOverrides, settings: Settings, supernet: Recipe, retraining: Recipe, seed: int | None
) -> Settings:
    """Return ``settings`` with these recipes, overridden, and with this seed unless it is None."""
    recipes = {"recipe": supernet, "retraining": retraining}
    if seed is not None:
        recipes = {name: replace(recipe, seed=seed) for name, recipe in recipes.items()}
    for override in declared_settings(RecipeOverrides):
        if (value := getattr(overrides, override.name)) is not None:
            for key in override.overrides:
                name, _, number = key.partition(".")
                if number:  # without one the whole recipe was chosen already
                    recipes[name] = _override(recipes[name], number, value)
    # Each shard needs two images at least, for its BatchNorms.
    recipes = {
        name: replace(recipe, shards=max(1, min(recipe.shards, recipe.batch_size // 2)))
        for name, recipe in recipes.items()
    }
    return replace(settings, recipe=recipes["recipe"], retraining=recipes["retraining"])


def _override(recipe: Recipe, number: str, value: Any) -> Recipe:
    """Return a recipe with another number."""
    return with_epochs(recipe, value) if number == "epochs" else replace(recipe, **{number: value})


def _rescale(recipe: Recipe, batch_size: int) -> Recipe:
    """Return a recipe for another batch; adaptive optimizers' rates go with its square root (arXiv 2006.09092)."""
    return replace(recipe, batch_size=batch_size, lr=recipe.lr * (batch_size / recipe.batch_size) ** 0.5)
