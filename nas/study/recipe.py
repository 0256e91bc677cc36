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
    clip_grad: float = setting(5.0, "Largest norm of the gradient; 0 for no limit.")
    ema_decay: float = setting(
        0.998, "Decay of the moving average of the weights, which is what is evaluated."
    )
    drop_path: float = setting(0.0, "Stochastic depth of the last block.")
    seed: int = setting(0, "Seed of weights, batches and paths.")
    warmup_epochs: int | None = setting(None, "Epochs in which the rate rises; the share of warmup if null.")
    warmup_lr: float | None = setting(None, "Rate of the first step; a hundredth of lr if null.")
    min_lr: float | None = setting(None, "Rate at the end; a hundredth of lr if null.")
    mixup: float = setting(0.0, "Alpha of Mixup (arXiv 1710.09412); 0 for none.")
    cutmix: float = setting(0.0, "Alpha of CutMix (arXiv 1905.04899); 0 for none.")
    mixup_prob: float = setting(
        1.0, "Probability that the images of a shard are mixed, where any mixing is on."
    )
    mixup_switch_prob: float = setting(0.5, "Probability of CutMix rather than Mixup where both are on.")
    rand_augment: str | None = setting(
        None, "RandAugment (arXiv 1909.13719) as timm writes it, e.g. rand-m9-mstd0.5-inc1; null for none."
    )
    color_jitter: float = setting(
        0.0, "Largest change of brightness, contrast and saturation; RandAugment takes its place."
    )
    random_erasing: float = setting(0.0, "Probability of erasing a part of an image (arXiv 1708.04896).")
    repeated_augmentation: int = setting(
        1, "Differently varied copies of each image in a batch (arXiv 1901.09335); 1 for none."
    )
    crop_area: float | None = setting(
        None,
        "Least share of the area that a random crop keeps; that of the images' own augmentation if null.",
    )
    interpolation: str = setting("bicubic", "How training images are resized: bicubic, bilinear or random.")
    distillation: str = setting(
        "soft", "What is learned from a teacher: soft, its probabilities, or hard, its first class."
    )
    temperature: float = setting(1.0, "Temperature of soft distillation.")
    teacher_weight: float = setting(0.5, "Share of the teacher in the loss; the rest is the labels'.")
