"""In what proportion the images of a shard were mixed, for what is to be mixed as they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """How a shard of images was mixed with itself in reverse order.

    Args:
        share: Share of an image in the one that is made of it; its partner has the rest.
        paired: How many images, from the first on, have partners; a last odd one stays as it is.
    """

    share: float
    paired: int

    def mix(self, rows: Tensor) -> Tensor:
        """Return rows ``(B, ...)``, one an image, mixed as the images were."""
        pairs = rows[: self.paired]
        mixed = self.share * pairs + (1 - self.share) * pairs.flip(0)
        return mixed if self.paired == len(rows) else torch.cat([mixed, rows[self.paired :]])
