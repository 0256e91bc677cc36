"""Subnet: the plain standalone network of one architecture.

``network_blueprint`` returns the tree of constructor calls that makes it. The network is built from this tree and the
exported source is printed from it, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.architecture import Block as BlockDesign
from search_spaces.geometry import ConvolutionalPatches, Merging, downsample_geometry, stem_geometry
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.walk import BlockPart, DownsamplePart, StemPart, walk
from supernet.block import (
    Block,
    MapBatchNorm,
    ScaledBlock,
    SharedAttentionBlock,
    SharedAttentionStage,
    Stage,
)
from supernet.blueprint import Call, call
from supernet.ffn import FeedForward
from supernet.network import Backbone, DenseTokenNetwork, Network, TokenNetwork
from supernet.operators import mixer
from supernet.pos import AbsolutePosition, PositionalEncodingGenerator
from supernet.stem import ConvDownsample, ConvStem, PatchMerging, RefinerStem, TokenStem

#: The network of each ``Style.head``.
NETWORKS = {"mean": Network, "token": TokenNetwork, "dense_token": DenseTokenNetwork}


def network_blueprint(architecture: Architecture) -> Call:
    """Return the tree of constructor calls that makes the network of ``architecture``."""
    style, classes = architecture.style, architecture.num_classes
    stem, stages = stages_blueprint(architecture)
    dims = tuple(stage.dim for stage in architecture.stages)
    reductions = tuple(max(stride) for stride in architecture.strides())
    return call(NETWORKS[style.head], stem, stages, dims, reductions, classes, norm_eps=style.norm_eps)


def backbone_blueprint(architecture: Architecture, norms: bool = False) -> Call:
    """Return what makes the network without its classifier, for dense prediction.

    Args:
        architecture: The design.
        norms: Whether each stage's output is returned through a LayerNorm.
    """
    stem, stages = stages_blueprint(architecture)
    eps = architecture.style.norm_eps
    sides = [call(nn.LayerNorm, stage.dim, eps=eps) for stage in architecture.stages] if norms else None
    return call(Backbone, stem, stages, norms=sides)


def stages_blueprint(architecture: Architecture) -> tuple[Call, list[Call]]:
    """Return what makes the stem and what makes every stage."""
    style = architecture.style
    stem = call(nn.Identity)
    downsamples: dict[int, Call] = {}
    blocks: list[list[Call]] = [[] for _ in architecture.stages]
    sharing: set[int] = set()
    for part in walk(architecture):
        match part:
            case StemPart():
                stem = skeleton_blueprint(part, style)
            case DownsamplePart():
                downsamples[part.stage] = skeleton_blueprint(part, style)
            case BlockPart():
                blueprint = block_blueprint(part.block, part.feature_map, style, part.shares_attention)
                blocks[part.stage].append(blueprint)
                if part.shares_attention:
                    sharing.add(part.stage)
    stages = [
        call(SharedAttentionStage if index in sharing else Stage, row, downsample=downsamples.get(index))
        for index, row in enumerate(blocks)
    ]
    return stem, stages


def stem_blueprint(name: str, in_channels: int, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the stem called ``name`` for the first stage at ``feature_map``."""
    geometry, dim = stem_geometry(name), feature_map.dim
    if isinstance(geometry, ConvolutionalPatches):
        stem = call(RefinerStem, in_channels, dim, geometry.patch_size)
    else:
        sides = map(_plain, (geometry.kernel_size, geometry.stride, geometry.padding))
        stem = call(ConvStem, in_channels, dim, *sides, norm=None if style.stem_norm else False)
    return call(TokenStem, stem, feature_map.height, feature_map.width, dim) if style.class_token else stem


def ends_blueprint(dim: int, num_classes: int, style: Style) -> Call:
    """Return what makes a network that has nothing but its classifier."""
    identity = call(nn.Identity)
    return call(
        NETWORKS[style.head], identity, [identity], (dim,), (1,), num_classes, norm_eps=style.norm_eps
    )


def downsample_blueprint(name: str, dim: int, out_dim: int) -> Call:
    """Return what makes the downsampling called ``name``."""
    geometry = downsample_geometry(name)
    if isinstance(geometry, Merging):
        return call(PatchMerging, dim, out_dim)
    stride = None if geometry.stride == (2, 2) else _plain(geometry.stride)
    sides = map(_plain, (geometry.kernel_size, geometry.padding))
    return call(ConvDownsample, dim, out_dim, *sides, stride=stride)


def _plain(pair: tuple[int, int]) -> int | tuple[int, int]:
    """Return one number for two that are equal."""
    return pair[0] if pair[0] == pair[1] else pair


def skeleton_blueprint(part: StemPart | DownsamplePart, style: Style) -> Call:
    """Return what makes a stem or a downsampling."""
    if isinstance(part, StemPart):
        return stem_blueprint(part.name, part.in_channels, part.feature_map, style)
    return downsample_blueprint(part.name, part.before.dim, part.feature_map.dim)


@lru_cache(maxsize=4096)
def block_blueprint(
    block: BlockDesign, feature_map: FeatureMap, style: Style, shares_attention: bool = False
) -> Call:
    """Return what makes one block.

    Args:
        block: The design.
        feature_map: The map that it works on.
        style: How blocks are composed.
        shares_attention: Whether it is given attention maps by the block before or returns its own to the next.
    """
    dim, scaled = feature_map.dim, style.residual_scale != 1.0
    layer_norm = call(nn.LayerNorm, dim, eps=style.norm_eps)
    return call(
        SharedAttentionBlock if shares_attention else ScaledBlock if scaled else Block,
        mixer=mixer(block.operator).blueprint(block, feature_map, style),
        mlp=call(FeedForward, dim, block.hidden_dim(dim), scaled=True if style.mlp_scale else None),
        norm1=layer_norm if style.mixer_norm == "layer" else call(nn.Identity),
        norm2=layer_norm if style.mlp_norm == "layer" else call(MapBatchNorm, dim),
        before=call(AbsolutePosition, feature_map.height, feature_map.width, dim)
        if block.pos == "ape"
        else None,
        after=call(PositionalEncodingGenerator, dim) if block.pos == "cpe" else None,
        residual_scale=style.residual_scale if scaled else None,
    )


def build_subnet(architecture: Architecture, drop_path: float = 0.0) -> Network:
    """Return the freshly initialised network of ``architecture``.

    Linear weights are Xavier-uniform (ViT, arXiv 2010.11929), which suits widths from 24 to 1152, convolutions
    normal with a deviation of ``sqrt(2 / fan_out)``, tables and tokens truncated normal with 0.02.

    Args:
        architecture: The design.
        drop_path: Stochastic depth of the last block, to which that of the blocks rises linearly.
    """
    network: Network = network_blueprint(architecture).build()
    initialise(network)
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for block, rate in zip(blocks, drop_path_rates(drop_path, len(blocks)), strict=True):
        block.drop_path = rate
    return network


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Return the stochastic depth of each of so many blocks: linear from 0 to that of the last one."""
    return [last * index / max(1, blocks - 1) for index in range(blocks)]


def initialise(network: nn.Module) -> None:
    """Initialise weights in place, as ``build_subnet`` says; a module on the meta device has no values to set."""
    # PyTorch samples normal numbers for the meta device in Python, and imports its compiler for that: 6 to 9 s.
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    for module in network.modules():
        if isinstance(module, nn.Linear):
            # The papers' fixed 0.02 starves networks of 24-64 channels: on mnist5k the loss after 60 steps
            # was 1.34 with it and 0.98 with Xavier.
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            # A depth-wise filter's fan-out is that of one channel.
            if module.groups > 1:
                module.weight.data *= module.groups**0.5
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, parameter in network.named_parameters():
        if name.endswith(("table", "token")):
            nn.init.trunc_normal_(parameter, std=0.02)


def count_parameters(modules: nn.Module | Sequence[nn.Module]) -> int:
    """Return the number of trainable values."""
    several = [modules] if isinstance(modules, nn.Module) else modules
    return sum(p.numel() for module in several for p in module.parameters() if p.requires_grad)


def build_on_meta(blueprint: Call) -> Any:
    """Return the module of ``blueprint`` without memory for its weights."""
    with torch.device("meta"):
        return blueprint.build()
