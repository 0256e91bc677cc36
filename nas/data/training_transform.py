"""How one streamed image is varied in training, by parts of timm and torchvision; seeded by their global generators."""

from __future__ import annotations

import random

import torch
from PIL import Image

from nas.data.augment import Augmentation
from nas.data.decoding import Box
from nas.data.rand_augment import create_rand_augment

# Shares of the area that a crop keeps where the recipe does not say: of photographs, and of small images.
_CROP_AREA = {"large": 0.35, "small": 0.75, "digits": 0.75}
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class TrainingTransform:
    """Crops, resizes, flips and colours.

    Args:
        augmentation: What is done.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        from timm.data.transforms import RandomResizedCropAndInterpolation  # timm takes seconds to import
        from torchvision import transforms

        area = augmentation.crop_area
        self._area = _CROP_AREA[augmentation.policy] if area is None else area
        self._sample_crop = RandomResizedCropAndInterpolation.get_params
        self._interpolation = augmentation.interpolation
        parts = [transforms.RandomHorizontalFlip()] if augmentation.flips else []
        if augmentation.rand_augment is not None:
            bicubic = augmentation.interpolation == "bicubic"
            parts.append(create_rand_augment(augmentation.rand_augment, augmentation.fill, bicubic))
        elif augmentation.color_jitter > 0:
            saturation = augmentation.color_jitter if len(augmentation.fill) == 3 else 0
            parts.append(
                transforms.ColorJitter(augmentation.color_jitter, augmentation.color_jitter, saturation)
            )
        self._parts = parts

    def choose_box(self, width: int, height: int) -> Box:
        """Return a random part of an image of ``width`` x ``height`` pixels."""
        image = torch.empty(1, height, width, device="meta")  # has a size and no pixels
        top, left, tall, wide = self._sample_crop(image, (self._area, 1.0), (3 / 4, 4 / 3))
        return left, top, left + wide, top + tall

    def finish(self, image: Image.Image, image_size: int) -> Image.Image:
        """Resize the chosen part of an image, then flip and colour it."""
        name = self._interpolation
        resampling = random.choice(list(_RESAMPLING.values())) if name == "random" else _RESAMPLING[name]
        image = image.resize((image_size, image_size), resampling)
        for part in self._parts:
            image = part(image)
        return image
