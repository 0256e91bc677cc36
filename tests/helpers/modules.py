"""Modules in tests: random weights, where slices lie in the shared weights, what torch counts, exported source."""

from __future__ import annotations

import builtins
import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from supernet.supernet import ElasticBlock, Supernet

M = TypeVar("M", bound=nn.Module)
OURS = ("nas", "supernet", "search_spaces")


def randomised(module: M, seed: int = 0) -> M:
    """Return ``module`` with random parameters and buffers, tables, norms and statistics included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if name.endswith("num_batches_tracked"):
                value.fill_(3)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            else:
                value.normal_(std=0.3, generator=generator)
    return module


def numbered(module: M) -> M:
    """Return a copy whose parameters and buffers are each value's index in ``flat``."""
    twin, start = copy.deepcopy(module), 0
    for value in tensors(twin):
        value.data = torch.arange(start, start + value.numel(), dtype=torch.float64).view(value.shape)
        start += value.numel()
    return twin


def flat(module: nn.Module, gradients: bool = False) -> Tensor:
    """Return all parameters and buffers, or their gradients (zero where there is none), end to end."""
    values = tensors(module)
    if gradients:
        values = [torch.zeros_like(value) if value.grad is None else value.grad for value in values]
    return torch.cat([value.detach().double().flatten() for value in values])


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def indices(module: ElasticBlock | Supernet, *path: Any) -> dict[str, Tensor]:
    """Return the index in ``flat`` of every value of a path's weights."""
    return {name: value.detach().long() for name, value in numbered(module).weights(*path).items()}


def outside(module: nn.Module, found: dict[str, Tensor]) -> Tensor:
    """Return a mask of ``flat`` that is true for everything but the indices ``found``."""
    mask = torch.ones(sum(value.numel() for value in tensors(module)), dtype=torch.bool)
    mask[torch.cat([index.flatten() for index in found.values()])] = False
    return mask


def executed(source: str) -> dict[str, Any]:
    """Execute an exported ``model.py`` in a namespace that cannot import anything of ours."""

    def guarded(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] in OURS:
            raise ImportError(f"the exported source imports {name}")
        return __import__(name, *args, **kwargs)

    namespace: dict[str, Any] = {
        "__name__": "exported_model",
        "__builtins__": {**vars(builtins), "__import__": guarded},
    }
    exec(compile(source, "model.py", "exec"), namespace)
    return namespace


def counted_macs(module: nn.Module, images: Tensor) -> float:
    """Return half the FLOPs that torch counts in one forward pass."""
    return sum(macs_by_kernel(module, images).values())


def macs_by_kernel(module: nn.Module, images: Tensor) -> dict[str, float]:
    """Return half the FLOPs that torch counts in one forward pass, by the name of the kernel."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(images)
    return {str(kernel): flops / 2 for kernel, flops in counter.get_flop_counts()["Global"].items()}


def uncounted_macs(block: Block, feature_map: FeatureMap) -> int:
    """Return the MACs of an inhomogeneous kernel's product, an element-wise one that torch does not count."""
    knobs = dict(block.knobs)
    if knobs.get("dynamic") != "inhomogeneous":
        return 0
    return feature_map.tokens * feature_map.dim * int(knobs["kernel_size"]) ** 2
