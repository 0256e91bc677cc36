"""Which of their shared weights stems, downsamplings and the classifier use between maps of given widths.

The supernet holds each as the static module of its largest widths; a narrower map has the first channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.operators import FeatureMap
from supernet.stem import PatchMerging, TokenStem
from supernet.weight_slices import (
    Select,
    WeightSlices,
    chain,
    first_entries,
    first_of_groups,
    full,
    narrow,
    prefixed,
)


def stem_slices(stem: nn.Module, feature_map: FeatureMap) -> WeightSlices:
    """Return the slices of a stem that makes ``feature_map``."""
    dim, weight_slices = feature_map.dim, full(stem)
    if isinstance(stem, TokenStem):
        rows = _token_positions(stem.size, (feature_map.height, feature_map.width))
        return {
            "token": weight_slices["token"].then(narrow(dim, dim=3)),
            "table": weight_slices["table"].then(chain(narrow(dim, dim=3), rows)),
            **prefixed("patches", stem_slices(stem.patches, feature_map)),
        }
    # The last convolution makes the map; those before it, in Refiner-ViT's stem, have widths of their own.
    for name in ("conv", "norm", "proj"):
        if isinstance(module := getattr(stem, name, None), nn.Module):
            weight_slices |= prefixed(name, first_entries(module, dim))
    return weight_slices


def _token_positions(size: tuple[int, int], part: tuple[int, int]) -> Select:
    """Return what selects the class token and the first rows and columns of a table ``(1, 1, 1 + H W, C)``."""

    def select(table: Tensor) -> Tensor:
        if size == part:
            return table
        positions = table[:, :, 1:].unflatten(2, size)[:, :, : part[0], : part[1]].flatten(2, 3)
        return torch.cat([table[:, :, :1], positions], dim=2)

    return select


def downsample_slices(module: nn.Module, dim: int, out_dim: int) -> WeightSlices:
    """Return the slices of a downsampling from ``dim`` to ``out_dim`` channels."""
    layers: Any = module
    if isinstance(module, PatchMerging):
        # Four neighbours have the channels of a map one after the other.
        norm = {name: value.then(first_of_groups(4 * dim, 4)) for name, value in full(layers.norm).items()}
        rows = chain(narrow(out_dim), first_of_groups(4 * dim, 4, dim=1))
        weight = full(layers.reduction)["weight"].then(rows)
        return prefixed("norm", norm) | {"reduction.weight": weight}
    return prefixed("conv", first_entries(layers.conv, out_dim, dim)) | prefixed(
        "norm", first_entries(layers.norm, out_dim)
    )


def head_slices(ends: nn.Module, dim: int) -> WeightSlices:
    """Return the slices of a network's last norm and classifiers that read maps of ``dim`` channels."""
    weight_slices: WeightSlices = {}
    for name, module in ends.named_children():
        if isinstance(module, nn.LayerNorm):
            weight_slices |= prefixed(name, first_entries(module, dim))
        elif isinstance(module, nn.Linear):
            weight_slices |= prefixed(name, first_entries(module, module.out_features, dim))
    return weight_slices
