"""Training recipes that fit the images, where the user does not say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nas.settings import Settings
from nas.train import Recipe

#: For images below this side the small recipes are used.
LARGE = 96

SMALL_SUPERNET = Recipe(epochs=20, batch_size=64, lr=3e-3, ema_decay=0.995)
SMALL_RETRAINING = Recipe(epochs=12, batch_size=64, lr=2e-3, ema_decay=0.99)
#: ViT recipes of the field (DeiT, Twins, CSWin), at batch 1024 over all workers.
LARGE_SUPERNET = Recipe(epochs=120, batch_size=1024, lr=1e-3, ema_decay=0.9998)
LARGE_RETRAINING = Recipe(epochs=300, batch_size=1024, lr=1e-3, ema_decay=0.9998, drop_path=0.2)


@dataclass(frozen=True)
class Wishes:
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


def fitting(settings: Settings, wishes: Wishes, image_size: int) -> Settings:
    """Return ``settings`` with recipes for images of a side, as far as the user did not choose.

    Raises:
        RequestError: If a wish is out of range.
    """
    large = image_size >= LARGE
    both = {name: value for name in ("batch_size", "lr") if (value := getattr(wishes, name)) is not None}
    supernet = replace(LARGE_SUPERNET if large else SMALL_SUPERNET, seed=settings.seed, **both)
    retraining = replace(LARGE_RETRAINING if large else SMALL_RETRAINING, seed=settings.seed, **both)
    if wishes.epochs is not None:
        supernet = replace(supernet, epochs=wishes.epochs)
    if wishes.retrain_epochs is not None:
        retraining = replace(retraining, epochs=wishes.retrain_epochs)
    return replace(settings, recipe=supernet, retraining=retraining)
