"""Recipe: every number of a training."""

from __future__ import annotations

from dataclasses import dataclass

from nas.study.setting import setting


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; each field says what it means.

    The shards belong to the recipe, not to the machine: BatchNorms see one shard at a time, and the sums do
    not depend on the number of workers.
    """

    epochs: int = setting(40, "Passes over the training images.")
    batch_size: int = setting(128, "Images a step, over all workers.")
    shards: int = setting(
        1,
        "Equal parts of a batch whose gradients are computed apart and summed, by as many workers as there are "
        "or by fewer in turn.",
    )
    lr: float = setting(2e-3, "Peak learning rate of AdamW.")
    weight_decay: float = setting(
        0.05, "Decay of matrices and kernels; norms, biases and tables are not decayed."
    )
    warmup: float = setting(
        0.1, "Share of the steps in which the rate rises linearly; then it falls as a cosine."
    )
    label_smoothing: float = setting(0.1, "Share of the target spread over all classes.")
    clip_grad: float = setting(5.0, "Largest norm of the gradient.")
    ema_decay: float = setting(
        0.998, "Decay of the moving average of the weights, which is what is evaluated."
    )
    drop_path: float = setting(0.0, "Stochastic depth of the last block.")
    seed: int = setting(0, "Seed of weights, batches and paths.")
