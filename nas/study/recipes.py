"""Training recipes that fit the images, where the user does not say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nas.study.recipe import Recipe
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
    """What the user says of training; None leaves it to the images.

    Args:
        epochs: Epochs of the supernet.
        batch_size: Images a step of supernet and retraining.
        lr: Peak learning rate of both.
        retrain_epochs: Epochs of retraining.
    """

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    retrain_epochs: int | None = None


def default_recipes(settings: Settings, overrides: RecipeOverrides, image_size: int, gpus: int) -> Settings:
    """Return ``settings`` with recipes for images of a side, as far as the user did not choose.

    Args:
        settings: Without recipes.
        wishes: What the user chose.
        image_size: Side of the images in pixels.
        gpus: GPUs that train the supernet together; a retraining has one of them.

    Raises:
        RequestError: If a wish is out of range.
    """
    if image_size < LARGE:
        supernet, retraining = replace(SMALL_SUPERNET, shards=gpus or CPU_SHARDS), SMALL_RETRAINING
    else:
        supernet = replace(_scaled(LARGE_SUPERNET, gpus * GPU_BATCH or CPU_BATCH), shards=gpus or 1)
        retraining = _scaled(LARGE_RETRAINING, GPU_BATCH if gpus else CPU_BATCH)
    supernet, retraining = (replace(recipe, seed=settings.seed) for recipe in (supernet, retraining))
    return _with(settings, overrides, supernet, retraining)


def stored_recipes(settings: Settings, overrides: RecipeOverrides, stored: Settings) -> Settings:
    """Return ``settings`` with the recipes a study began with, but for what the user chooses now.

    Which batch fits depends on the GPUs of the day; a study keeps the one it began with.
    """
    supernet, retraining = (
        replace(recipe, seed=settings.seed) for recipe in (stored.recipe, stored.retraining)
    )
    return _with(settings, overrides, supernet, retraining)


def _with(settings: Settings, overrides: RecipeOverrides, supernet: Recipe, retraining: Recipe) -> Settings:
    both = {name: value for name in ("batch_size", "lr") if (value := getattr(overrides, name)) is not None}
    supernet, retraining = replace(supernet, **both), replace(retraining, **both)
    supernet = replace(supernet, shards=max(1, min(supernet.shards, supernet.batch_size // 2)))
    if overrides.epochs is not None:
        supernet = replace(supernet, epochs=overrides.epochs)
    if overrides.retrain_epochs is not None:
        retraining = replace(retraining, epochs=overrides.retrain_epochs)
    return replace(settings, recipe=supernet, retraining=retraining)


def _scaled(recipe: Recipe, batch_size: int) -> Recipe:
    """Return a recipe for another batch; adaptive optimizers' rates go with its square root (arXiv 2006.09092)."""
    return replace(recipe, batch_size=batch_size, lr=recipe.lr * (batch_size / recipe.batch_size) ** 0.5)
