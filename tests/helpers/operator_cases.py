"""Blocks and mixers on maps, which the contract of operators is checked on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.choices import OperatorChoices
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.operators import mixer
from supernet.subnet import block_blueprint
from tests.helpers.modules import (
    randomised,
)

BYSTANDERS = {
    "lsa": OperatorChoices("lsa", (("window_size", (2,)),), ("none", "rpe")),
    "gsa": OperatorChoices("gsa", (("sr_ratio", (2,)),), ("none", "ape")),
    "cswin": OperatorChoices("cswin", (("stripe_width", (2,)),), ("lepe",)),
    "dwconv": OperatorChoices("dwconv", (("kernel_size", (3,)), ("dynamic", ("none",))), ("cpe",)),
}
#: Encodings that a block applies around its operator; all others live inside it.
AROUND = ("ape", "cpe")
#: Channels of modules that no block asks for.
DIM = 12
SIZES = ((8, 8), (7, 10), (5, 3), (2, 9), (1, 1))


@dataclass(frozen=True)
class Case:
    """A block and the map that it works on."""

    block: Block
    feature_map: FeatureMap

    @property
    def style(self) -> Style:
        # An epsilon that no torch module has by default, so that one left out shows.
        return Style(norm_eps=1e-3, qkv_bias=self.feature_map.qkv_bias)

    def static(self) -> nn.Module:
        """Return the subnet's block."""
        module: nn.Module = block_blueprint(self.block, self.feature_map, self.style).build()
        return randomised(module)

    def mixer(self) -> nn.Module:
        """Return the operator's static module."""
        spec = mixer(self.block.operator)
        module: nn.Module = spec.blueprint(self.block, self.feature_map, self.style).build()
        return module

    def images(
        self, batch: int, height: int = 0, width: int = 0, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return maps of the declared size, or of another."""
        size = (height or self.feature_map.height, width or self.feature_map.width)
        return random_map(batch, *size, self.feature_map.dim, dtype=dtype)

    def __str__(self) -> str:
        return f"{self.block}@{self.feature_map.height}x{self.feature_map.width}x{self.feature_map.dim}"


@dataclass(frozen=True)
class MixerCase:
    """A static module of the operator, without a block around it.

    Args:
        name: For people.
        build: Returns the module.
        dim: Its channels.
        size: Height and width of a map that its windows divide.
    """

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, int]
    dim: int = DIM

    def module(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """Return it with random weights and statistics, ready for inference."""
        return randomised(self.build()).to(dtype).eval()

    def images(self, batch: int, height: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return random_map(batch, height, width, self.dim, dtype=dtype)

    def __str__(self) -> str:
        return self.name


def random_map(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(dtype)


def trace(module: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the TorchScript trace of ``module``."""
    with warnings.catch_warnings(), torch.no_grad():
        # torch.jit is deprecated, and the shapes of a map are constants of a trace.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced: Callable[[Tensor], Tensor] = torch.jit.trace(module, (x,), check_trace=False)
    return traced
