"""Training recipes that fit the images, where the user does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas.study.recipe import Recipe
from nas.study.setting import TRAINING, declared_settings, setting
from nas.study.settings import Settings

#: For images below this side the small recipes are used.
LARGE = 96

#: Costs 1 to 3.5 minutes on 2 cores for ``twins_cswin`` nano and 3,500 digits; then the best of 256 designs reaches
#: 90.5 ± 0.8% validation top-1 with the supernet's weights (three seeds, studies/mnist5k/NOTES.md).
SMALL_SUPERNET = Recipe(epochs=24, batch_size=64, lr=3e-3, ema_decay=0.995)
#: Costs about a minute a design there and reaches 97.4 ± 0.4% test top-1 from scratch, 97.8 ± 0.4% from the
#: supernet's weights.
SMALL_RETRAINING = Recipe(epochs=16, batch_size=64, lr=4e-3, ema_decay=0.99)
#: ViT recipes of the field (DeiT, Twins, CSWin): rates are those for 1024 images a step. Neither was run to its
#: end here, so their cost and result are not known.
LARGE_SUPERNET = Recipe(epochs=120, batch_size=1024, lr=1e-3, ema_decay=0.9998)
LARGE_RETRAINING = Recipe(epochs=300, batch_size=1024, lr=1e-3, ema_decay=0.9998, drop_path=0.2)
#: Workers without a GPU have one thread each; two of them train small networks 1.1 to 1.6 times as
#: fast as one process of two threads (studies/performance/NOTES.md).
CPU_SHARDS = 2
#: Large images a step that a GPU and a machine without one hold.
GPU_BATCH, CPU_BATCH = 128, 32


@dataclass(frozen=True)
class RecipeOverrides:
    """Options that set numbers of the recipes; None leaves them as they are."""

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
        gpus: GPUs that train the supernet together; a retraining has one of them.

    Raises:
        RequestError: If a value that the user chose is out of range.
    """
    if image_size < LARGE:
        supernet, retraining = replace(SMALL_SUPERNET, shards=gpus or CPU_SHARDS), SMALL_RETRAINING
    else:
        supernet = replace(_rescale(LARGE_SUPERNET, gpus * GPU_BATCH or CPU_BATCH), shards=gpus or 1)
        retraining = _rescale(LARGE_RETRAINING, GPU_BATCH if gpus else CPU_BATCH)
    return _apply(overrides, settings, supernet, retraining, settings.seed)


def stored_recipes(settings: Settings, overrides: RecipeOverrides, stored: Settings) -> Settings:
    """Return ``settings`` with the recipes a study began with, but for what the user chooses now.

    Which batch fits depends on the GPUs of the day; a study keeps the one it began with.
    """
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
    return _apply(overrides, settings, stored.recipe, stored.retraining, given.get("seed"))


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
                recipes[name] = replace(recipes[name], **{number: value})
    supernet = recipes["recipe"]
    # Each shard needs two images at least, for its BatchNorms.
    recipes["recipe"] = replace(supernet, shards=max(1, min(supernet.shards, supernet.batch_size // 2)))
    return replace(settings, recipe=recipes["recipe"], retraining=recipes["retraining"])


def _rescale(recipe: Recipe, batch_size: int) -> Recipe:
    """Return a recipe for another batch; adaptive optimizers' rates go with its square root (arXiv 2006.09092)."""
    return replace(recipe, batch_size=batch_size, lr=recipe.lr * (batch_size / recipe.batch_size) ** 0.5)
