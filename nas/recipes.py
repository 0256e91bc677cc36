"""Training recipes that fit the images, where the user does not say."""

from __future__ import annotations

from dataclasses import replace

from nas.settings import Settings
from nas.train import Recipe

#: For images below this side the small recipes are used.
LARGE = 96

SMALL_SUPERNET = Recipe(epochs=50, batch_size=128, lr=2e-3)
SMALL_RETRAINING = Recipe(epochs=30, batch_size=64, lr=2e-3, ema_decay=0.995)
#: ViT recipes of the field (DeiT, Twins, CSWin), at batch 1024 over all workers.
LARGE_SUPERNET = Recipe(epochs=120, batch_size=1024, lr=1e-3, ema_decay=0.9998)
LARGE_RETRAINING = Recipe(epochs=300, batch_size=1024, lr=1e-3, ema_decay=0.9998, drop_path=0.2)


def fitting(
    settings: Settings,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    retrain_epochs: int | None = None,
    image_size: int | None = None,
) -> Settings:
    """Return ``settings`` with recipes for their images, as far as the user did not choose.

    Args:
        settings: Without recipes.
        epochs: Epochs of the supernet, or None.
        batch_size: Images a step of either, or None.
        lr: Peak learning rate of either, or None.
        retrain_epochs: Epochs of retraining, or None.
        image_size: Side of the images where the settings leave it open.
    """
    side = settings.image_size or image_size
    large = side is not None and side >= LARGE
    supernet, retraining = (
        (LARGE_SUPERNET, LARGE_RETRAINING) if large else (SMALL_SUPERNET, SMALL_RETRAINING)
    )
    both = {name: value for name, value in (("batch_size", batch_size), ("lr", lr)) if value is not None}
    supernet = replace(supernet, seed=settings.seed, **both)
    retraining = replace(retraining, seed=settings.seed, **both)
    if epochs is not None:
        supernet = replace(supernet, epochs=epochs)
    if retrain_epochs is not None:
        retraining = replace(retraining, epochs=retrain_epochs)
    return replace(settings, recipe=supernet, retraining=retraining)
