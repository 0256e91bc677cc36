"""The plain network: a stem, stages of blocks, a norm, a mean over positions and a linear head.

Its methods for fine-tuning and dense prediction are those of timm's models, and give maps channels first. An exported
``model.py`` contains the text of these classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Network(nn.Module):
    """An image classifier that is also a backbone.

    Its stages work on channels-last maps; what ``forward_features`` and ``forward_intermediates`` return has
    the channels first, ``(B, C, H, W)``.

    Args:
        stem: Turns images ``(B, in_channels, H, W)`` into the first map ``(B, H', W', C)``.
        stages: The stages, first to last.
        dims: Channels of each stage.
        strides: Pixels of the image from one position of each stage's map to the next; the larger of the
            two where rows and columns differ, as timm has it.
        num_classes: Outputs of the classifier.
        norm_eps: Epsilon of the last LayerNorm.

    Attributes:
        num_features: Channels of the last stage, which the classifier reads.
        num_classes: Outputs of the classifier; 0 where there is none.
        feature_info: Channels ``num_chs``, stride ``reduction`` and name ``module`` of each stage.
        global_pool: How the classifier comes from a map to a vector; empty where it does not.
    """

    pooling = "avg"

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        dims: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_features = dims[-1]
        self.num_classes = num_classes
        self.global_pool = self.pooling
        self.feature_info = [
            {"num_chs": dim, "reduction": stride, "module": f"stages.{index}"}
            for index, (dim, stride) in enumerate(zip(dims, strides, strict=True))
        ]
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.norm: nn.Module = nn.LayerNorm(self.num_features, eps=norm_eps)
        self.head: nn.Module = nn.Linear(self.num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to logits ``(B, num_classes)``."""
        return self.classify(self.run_stages(self.embed(images))[-1])

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to the last map, ``(B, num_features, H', W')``."""
        return self.norm(self.run_stages(self.embed(images))[-1]).permute(0, 3, 1, 2)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify what ``forward_features`` returned.

        Args:
            features: ``(B, num_features, H', W')``.
            pre_logits: Whether to stop before the classifier.

        Returns:
            Logits ``(B, num_classes)``; where there is no classifier or it is left out, vectors
            ``(B, num_features)``, or ``features`` where nothing is pooled either.
        """
        x = features.mean(dim=(2, 3)) if self.global_pool else features
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the maps of stages, for dense prediction.

        Args:
            images: ``(B, in_channels, H, W)``.
            indices: Which stages: their indices, the last ones by their number, or all.
            norm: Whether the last stage's map is normalised, as the classifier has it.
            stop_early: Whether stages after the last one asked for are not run.
            output_fmt: ``NCHW`` or ``NHWC``.
            intermediates_only: Whether to leave out the first of two results.

        Returns:
            What ``forward_features`` returns, and a list of the maps ``(B, C, H', W')``, first stage first;
            only that list with ``intermediates_only``.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt is NCHW or NHWC, not {output_fmt!r}")
        chosen = self.find_stages(indices)
        x, maps = self.embed(images), []
        size = (x.shape[1], x.shape[2])
        outputs = self.run_stages(x, chosen[-1] + 1 if stop_early and intermediates_only else None)
        for index in chosen:
            x = outputs[index]
            x = self.to_map(self.norm(x) if norm and index == len(self.stages) - 1 else x, size)
            maps.append(x.permute(0, 3, 1, 2) if output_fmt == "NCHW" else x)
        return maps if intermediates_only else (self.norm(outputs[-1]).permute(0, 3, 1, 2), maps)

    def find_stages(self, indices: int | Sequence[int] | None) -> list[int]:
        """Return the indices from 0, in order, of the stages that ``forward_intermediates`` is asked for."""
        count = len(self.stages)
        if indices is None or isinstance(indices, int):
            indices = range(-(count if indices is None else indices), 0)
        if not indices or not all(-count <= index < count for index in indices):
            raise ValueError(
                f"there are {count} stages, from 0 to {count - 1}, and none like {tuple(indices)}"
            )
        return sorted({index % count for index in indices})

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] | None = None, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one asked for, and norm and head as told; return their indices."""
        chosen = self.find_stages(indices)
        self.stages = self.stages[: chosen[-1] + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return chosen

    def get_classifier(self) -> nn.Module:
        """Return the linear layer that gives the logits."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put an untrained classifier in place of the trained one.

        Args:
            num_classes: Its outputs; 0 for none, so that the network gives vectors ``(B, num_features)``.
            global_pool: Empty to give maps ``(B, num_features, H', W')`` where there is no classifier.
        """
        pool = self.pooling if global_pool is None else global_pool
        if pool not in ("", self.pooling):
            raise ValueError(f"global_pool is {self.pooling!r} or empty, not {pool!r}")
        if num_classes and not pool:
            raise ValueError("a classifier reads vectors: give global_pool with it, or 0 classes")
        self.num_classes, self.global_pool = num_classes, pool
        self.head = self.make_classifier(num_classes)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns of parameter names from the first layer to the last, for rates that fall by layer.

        The layers are the stem, every block and the classifier; a downsampling belongs to the block after it,
        the last norm to the last block.

        Args:
            coarse: Whether a layer is a stage rather than a block.
        """
        last = (r"^norm", (99999,))  # timm's number for what belongs to the layer before
        if coarse:
            return {"stem": r"^stem", "blocks": [(r"^stages\.(\d+)", None), last]}
        blocks = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None), last]
        return {"stem": r"^stem", "blocks": blocks}

    def no_weight_decay(self) -> set[str]:
        """Return the names of position tables and class tokens, which are usually not pulled to zero."""
        return {name for name, _ in self.named_parameters() if name.endswith((".table", ".token"))}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Say whether blocks run again in the backward pass: less memory for activations, more time."""
        for stage in self.stages:
            stage.grad_checkpointing = enable  # type: ignore[assignment]

    def make_classifier(self, num_classes: int) -> nn.Module:
        """Return an untrained linear layer where the weights are; what changes nothing for 0 classes."""
        weight = next(self.parameters())
        if not num_classes:
            return nn.Identity()
        return nn.Linear(self.num_features, num_classes, device=weight.device, dtype=weight.dtype)

    def embed(self, images: Tensor) -> Tensor:
        """Return the first map of images, ``(B, H', W', C)``."""
        return self.stem(images)

    def run_stages(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """Return what the first ``count`` stages, or all, return one after the other: channels last."""
        outputs = []
        for stage in self.stages[:count]:
            x = stage(x)
            outputs.append(x)
        return outputs

    def classify(self, x: Tensor) -> Tensor:
        """Map what the last stage returned, ``(B, H', W', C)``, to logits."""
        return self.forward_head(self.norm(x).permute(0, 3, 1, 2))

    def to_map(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what a stage returned as a map ``(B, H', W', C)``; ``size`` is that of the first map."""
        return x


class TokenNetwork(Network):
    """A classifier that reads a class token: one stage on a sequence (ViT, arXiv 2010.11929, section 3.1).

    Its stem is a ``TokenStem``. A sequence of a class token and N positions is a map of one row, the class
    token first: ``forward_features`` returns ``(B, num_features, 1, 1 + N)``. ``forward_intermediates``
    returns maps without it.
    """

    pooling = "token"
    stem: Any

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to logits ``(B, num_classes)``."""
        return self.classify(self.stages[0](self.stem(images)))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the class token of a sequence ``(B, num_features, 1, 1 + N)``."""
        x = features[:, :, 0, 0] if self.global_pool else features
        return x if pre_logits else self.head(x)

    def embed(self, images: Tensor) -> Tensor:
        """Return the first map of images, ``(B, H', W', C)``, without the class token."""
        return self.stem.patches(images)

    def run_stages(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """Return the sequence ``(B, 1, 1 + N, C)`` that the stage makes of the first map."""
        return super().run_stages(self.stem.sequence(x), count)

    def to_map(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return a sequence ``(B, 1, 1 + N, C)`` without its class token as a map ``(B, H', W', C)``."""
        return x[:, 0, 1:].unflatten(1, size)


class DenseTokenNetwork(TokenNetwork):
    """Refiner-ViT's classifier, after token labelling (arXiv 2104.10858): every position is classified too.

    Args:
        stem: A ``TokenStem``.
        stages: The one stage.
        dims: Its channels.
        strides: Its stride.
        num_classes: Outputs of the classifier.
        norm_eps: Epsilon of the last LayerNorm.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        dims: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(stem, stages, dims, strides, num_classes, norm_eps)
        self.aux_head: nn.Module = nn.Linear(self.num_features, num_classes)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Add half of the largest logits of any position to those of the class token.

        Args:
            features: A sequence ``(B, num_features, 1, 1 + N)``, the class token first.
            pre_logits: Whether to return the class token's vector, before both classifiers.
        """
        if pre_logits or not self.num_classes:
            return super().forward_head(features, pre_logits=True)
        x = features[:, :, 0].transpose(1, 2)
        return self.head(x[:, 0]) + 0.5 * self.aux_head(x[:, 1:]).amax(dim=1)

    def get_classifier(self) -> nn.Module:
        """Return both linear layers that give the logits."""
        return nn.ModuleList([self.head, self.aux_head])

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put two untrained classifiers in place of the trained ones; arguments as of ``Network``."""
        super().reset_classifier(num_classes, global_pool)
        self.aux_head = self.make_classifier(num_classes)


class Backbone(nn.Module):
    """The maps of all stages for dense prediction, channels first as detection and segmentation heads need.

    Args:
        stem: Turns images into the first map.
        stages: The stages, first to last.
        norms: A norm of each stage's output, which the next stage does not see (CSWin's segmentation code);
            None where outputs are returned as they are (Twins').
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], norms: Sequence[nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.norms = nn.ModuleList(norms or [nn.Identity() for _ in stages])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(B, 3, H, W)`` to a map ``(B, C, H', W')`` of every stage."""
        x, maps = self.stem(images), []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = stage(x)
            maps.append(norm(x).permute(0, 3, 1, 2))
        return maps
