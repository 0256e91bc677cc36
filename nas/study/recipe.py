"""Recipe: every number of a training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: Passes over the training images.
        batch_size: Images a step, over all workers.
        shards: Equal parts of a batch whose gradients are computed apart and summed, by as many workers as
            there are or by fewer in turn. It belongs to the recipe, not to the machine: BatchNorms see one
            part at a time, and the sums do not depend on the number of workers.
        lr: Peak learning rate of AdamW.
        weight_decay: Decay of matrices and kernels; norms, biases and tables are not decayed.
        warmup: Share of the steps in which the rate rises linearly; then it falls as a cosine.
        label_smoothing: Share of the target spread over all classes.
        clip_grad: Largest norm of the gradient.
        ema_decay: Decay of the average of the weights, which is what is evaluated.
        drop_path: Stochastic depth of the last block.
        seed: Seed of weights, batches and paths.
    """

    epochs: int = 40
    batch_size: int = 128
    shards: int = 1
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    clip_grad: float = 5.0
    ema_decay: float = 0.998
    drop_path: float = 0.0
    seed: int = 0
