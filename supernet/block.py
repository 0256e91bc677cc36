"""Blocks and stages of the plain network.

These classes are what a paper's own code would have, without a trace of the search: an exported ``model.py``
contains their text. Maps are channels-last, ``(B, H, W, C)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class MapBatchNorm(nn.BatchNorm1d):
    """BatchNorm of a channels-last map ``(B, H, W, C)``, as DWNet has before its MLPs."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel over images and positions."""
        return super().forward(x.flatten(0, 2)).view(x.shape)


class Block(nn.Module):
    """A residual token mixer followed by a residual MLP.

    ``x = before(x); x = x + mixer(norm1(x)); x = x + mlp(norm2(x)); return after(x)``

    Args:
        mixer: The operator, ``(B, H, W, C) -> (B, H, W, C)``.
        mlp: The position-wise MLP.
        norm1: Norm before the mixer.
        norm2: Norm before the MLP.
        before: Positional encoding of the block's input (absolute positions).
        after: Positional encoding of the block's output (PEG).
        drop_path: Probability of dropping a residual branch of an image in training (stochastic depth,
            arXiv 1603.09382).
    """

    def __init__(
        self,
        mixer: nn.Module,
        mlp: nn.Module,
        norm1: nn.Module,
        norm2: nn.Module,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        self.norm1 = norm1
        self.mixer = mixer
        self.norm2 = norm2
        self.mlp = mlp
        self.after = after or nn.Identity()
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, H, W, C)`` to ``(B, H, W, C)``."""
        return self.after(self.apply_mlp(self.apply_mixer(x)))

    def apply_mixer(self, x: Tensor) -> Tensor:
        """Apply the first half, the token mixer."""
        x = self.before(x)
        return x + self.drop_branch(self.mixer(self.norm1(x)))

    def apply_mlp(self, x: Tensor) -> Tensor:
        """Apply the second half, the MLP."""
        return x + self.drop_branch(self.mlp(self.norm2(x)))

    def drop_branch(self, branch: Tensor) -> Tensor:
        """Zero the branch of some images and scale up that of the others, in training only."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        mask = torch.rand(branch.shape[0], 1, 1, 1, device=branch.device) < keep
        return branch * mask.to(branch.dtype) / keep


class ScaledBlock(Block):
    """A block whose branches work on a scaled residual stream (Refiner-ViT's code, arXiv 2106.03714).

    ``x = x + mixer(norm1(s x)) / s; x = x + mlp(norm2(s x)) / s``

    Args:
        residual_scale: The factor s; published networks have 0.5.
        arguments: Those of ``Block``.
    """

    def __init__(self, *, residual_scale: float = 1.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.residual_scale = residual_scale

    def apply_mixer(self, x: Tensor) -> Tensor:
        """Apply the first half, the token mixer."""
        x, s = self.before(x), self.residual_scale
        return x + self.drop_branch(self.mixer(self.norm1(x * s))) / s

    def apply_mlp(self, x: Tensor) -> Tensor:
        """Apply the second half, the MLP."""
        s = self.residual_scale
        return x + self.drop_branch(self.mlp(self.norm2(x * s))) / s


class SharedAttentionBlock(ScaledBlock):
    """A block that is given the previous block's attention maps and returns maps for the next.

    Args:
        arguments: Those of ``ScaledBlock``; the mixer has a method ``forward_with_attention``.
    """

    mixer: Any

    def forward(  # type: ignore[override]
        self, x: Tensor, maps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map ``(B, H, W, C)`` and attention maps ``(B, heads, N, N)`` to the same shapes."""
        x, maps = self.apply_mixer(x, maps)
        return self.after(self.apply_mlp(x)), maps

    def apply_mixer(  # type: ignore[override]
        self, x: Tensor, maps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply the first half, the token mixer; return attention maps for the next block too."""
        x, s = self.before(x), self.residual_scale
        branch, maps = self.mixer.forward_with_attention(self.norm1(x * s), maps)
        return x + self.drop_branch(branch) / s, maps


class Stage(nn.Module):
    """Blocks on maps of one size, after the downsampling to that size.

    Args:
        blocks: The blocks, first to last.
        downsample: The downsampling of the previous stage's map; None in the first stage.
    """

    grad_checkpointing = False

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.downsample = downsample or nn.Identity()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map the previous stage's ``(B, H, W, C)`` to this stage's."""
        x = self.downsample(x)
        for block in self.blocks:
            x = self.run(block, x)
        return x

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        """Run a block; with checkpointed gradients it keeps nothing and runs again in backward."""
        return checkpoint(block, *inputs, use_reentrant=False) if self.grad_checkpointing else block(*inputs)


class SharedAttentionStage(Stage):
    """A stage in which some blocks use the attention maps of the block before."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the previous stage's ``(B, H, W, C)`` to this stage's."""
        x, maps = self.downsample(x), None
        for block in self.blocks:
            if isinstance(block, SharedAttentionBlock):
                x, maps = self.run(block, x, maps)
            else:
                x, maps = self.run(block, x), None
        return x
