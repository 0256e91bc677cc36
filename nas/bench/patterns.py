"""A supernet that recognises noisy patterns, and the images it is trained and evaluated on.

Racing needs paths of which some are better than others: random weights say nothing, and of equals none is
stopped. Ten fixed patterns under noise are learned in a few steps.
"""

from __future__ import annotations

from random import Random

import torch
from torch.nn import functional as F

from nas.evaluation.accuracy import Batch
from nas.runtime import interrupt
from search_spaces.space import Space
from supernet.supernet import Supernet

_CLASSES = 10  # that a supernet learns in few steps
_NOISE = 2.0  # standard deviation, that of the classes' patterns being 1


def train_on_patterns(space: Space, device: torch.device, steps: int) -> Supernet:
    """Return a supernet that recognises ten noisy patterns, some paths better than others.

    Args:
        space: What it holds.
        device: Where.
        steps: Each of 64 images through one path, sampled uniformly.
    """
    torch.manual_seed(0)
    supernet, rng, generator = Supernet(space).to(device), Random(0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(supernet.parameters(), 1e-3)
    for _ in range(steps):
        interrupt.check()
        images, labels = sample_patterns(space, 64, device, generator)
        optimizer.zero_grad()
        F.cross_entropy(supernet(images, space.sample(rng)), labels).backward()
        optimizer.step()
    return supernet.eval()


def sample_patterns(space: Space, count: int, device: torch.device, generator: torch.Generator) -> Batch:
    """Return images of ten fixed patterns under noise, and which pattern each is of."""
    classes = min(_CLASSES, space.num_classes)
    coarse = torch.randn(classes, space.in_channels, 4, 4, generator=torch.Generator().manual_seed(classes))
    patterns = F.interpolate(coarse, size=space.image_size, mode="nearest")
    labels = torch.randint(0, classes, (count,), generator=generator)
    noise = torch.randn(count, space.in_channels, *space.image_size, generator=generator)
    return (patterns[labels] + _NOISE * noise).to(device), labels.to(device)
