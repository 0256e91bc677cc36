"""How a recipe varies the images of a set."""

from __future__ import annotations

from dataclasses import replace

from nas.data.augment import Augmentation
from nas.data.dataset import Data
from nas.study.recipe import Recipe


def recipe_augmentation(recipe: Recipe, data: Data) -> Augmentation:
    """Return the set's own augmentation with what the recipe adds to it."""
    return replace(
        data.augmentation,
        rand_augment=recipe.rand_augment,
        color_jitter=recipe.color_jitter,
        random_erasing=recipe.random_erasing,
        crop_area=recipe.crop_area,
        interpolation=recipe.interpolation,
        repeats=recipe.repeated_augmentation,
    )
