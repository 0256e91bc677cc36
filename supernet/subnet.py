"""Subnet: the plain standalone network of one architecture.

``network_blueprint`` says which classes with which arguments make it, as a tree of ``Call``. Building the network
and printing the exported source both walk this one tree, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.architecture import Block as BlockDesign
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import DOWNSAMPLES, STEMS, ConvolutionalPatches, Style
from supernet.block import (
    Backbone,
    Block,
    DenseTokenNetwork,
    MapBatchNorm,
    Network,
    ScaledBlock,
    SharedAttentionBlock,
    SharedAttentionStage,
    Stage,
    TokenNetwork,
)
from supernet.blueprint import Call, call
from supernet.ffn import FeedForward
from supernet.operators import MIXERS
from supernet.pos import AbsolutePosition, PositionalEncodingGenerator
from supernet.stem import ConvDownsample, ConvStem, PatchMerging, RefinerStem, TokenStem

#: The network of each ``Style.head``.
NETWORKS = {"mean": Network, "token": TokenNetwork, "dense_token": DenseTokenNetwork}


def network_blueprint(architecture: Architecture) -> Call:
    """Return the tree of constructors that makes the network of ``architecture``."""
    style, classes = architecture.style, architecture.num_classes
    stem, stages = stages_blueprint(architecture)
    return call(
        NETWORKS[style.head], stem, stages, architecture.stages[-1].dim, classes, norm_eps=style.norm_eps
    )


def backbone_blueprint(architecture: Architecture, norms: bool = False) -> Call:
    """Return what makes the network without its classifier, for dense prediction.

    Args:
        architecture: The design.
        norms: Whether a LayerNorm of each stage's output is returned in its place.
    """
    stem, stages = stages_blueprint(architecture)
    eps = architecture.style.norm_eps
    sides = [call(nn.LayerNorm, stage.dim, eps=eps) for stage in architecture.stages] if norms else None
    return call(Backbone, stem, stages, norms=sides)


def stages_blueprint(architecture: Architecture) -> tuple[Call, list[Call]]:
    """Return what makes the stem and what makes every stage."""
    style, first = architecture.style, architecture.feature_map(0)
    stages = []
    for index, stage in enumerate(architecture.stages):
        feature_map, shares_attention = architecture.feature_map(index), attention_sharing(stage.blocks)
        blocks = [
            block_blueprint(block, feature_map, style, forward_with_attention)
            for block, forward_with_attention in zip(stage.blocks, shares_attention, strict=True)
        ]
        downsample = None
        if stage.downsample is not None:
            downsample = downsample_blueprint(stage.downsample, architecture.stages[index - 1].dim, stage.dim)
        stages.append(
            call(SharedAttentionStage if any(shares_attention) else Stage, blocks, downsample=downsample)
        )
    return stem_blueprint(architecture.stem, architecture.in_channels, first, style), stages


def stem_blueprint(name: str, in_channels: int, feature_map: FeatureMap, style: Style) -> Call:
    """Return what makes the stem called ``name`` for the first stage at ``feature_map``."""
    geometry, dim = STEMS[name], feature_map.dim
    if isinstance(geometry, ConvolutionalPatches):
        stem = call(RefinerStem, in_channels, dim, geometry.patch_size)
    else:
        sides = (geometry.kernel_size, geometry.stride, geometry.padding)
        stem = call(ConvStem, in_channels, dim, *sides, norm=None if style.stem_norm else False)
    return call(TokenStem, stem, feature_map.height, feature_map.width, dim) if style.class_token else stem


def ends_blueprint(dim: int, num_classes: int, style: Style) -> Call:
    """Return what makes a network of nothing but its classifier."""
    nothing = call(nn.Identity)
    return call(NETWORKS[style.head], nothing, [nothing], dim, num_classes, norm_eps=style.norm_eps)


def attention_sharing(blocks: Sequence[BlockDesign]) -> list[bool]:
    """Return for each block of a stage whether attention maps come from the one before or go to the next."""
    takes = [block.needs_previous_attention for block in blocks]
    return [one or other for one, other in zip(takes, [*takes[1:], False], strict=True)]


def downsample_blueprint(name: str, dim: int, out_dim: int) -> Call:
    """Return what makes the downsampling called ``name``."""
    if name == "merging":
        return call(PatchMerging, dim, out_dim)
    return call(ConvDownsample, dim, out_dim, DOWNSAMPLES[name].kernel_size, DOWNSAMPLES[name].padding)


@lru_cache(maxsize=4096)
def block_blueprint(
    block: BlockDesign, feature_map: FeatureMap, style: Style, shares_attention: bool = False
) -> Call:
    """Return what makes one block at ``feature_map``.

    Args:
        block: The design.
        site: Where it stands.
        style: How it is put together.
        hands: Whether it is given and hands on attention maps.
    """
    dim, scaled = feature_map.dim, style.residual_scale != 1.0
    layer_norm = call(nn.LayerNorm, dim, eps=style.norm_eps)
    return call(
        SharedAttentionBlock if shares_attention else ScaledBlock if scaled else Block,
        mixer=MIXERS[block.operator].blueprint(block, feature_map, style),
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

    Linear weights start Xavier-uniform (ViT, arXiv 2010.11929), which suits widths from 24 to 1152 alike,
    convolutions from a normal of ``sqrt(2 / fan_out)``, tables from a truncated normal of 0.02.

    Args:
        architecture: What to build.
        drop_path: Stochastic depth of the last block; earlier blocks rise to it linearly.
    """
    network: Network = network_blueprint(architecture).build()
    initialise(network)
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for index, block in enumerate(blocks):
        block.drop_path = drop_path * index / max(1, len(blocks) - 1)
    return network


def initialise(network: nn.Module) -> None:
    """Initialise weights in place, as ``build_subnet`` says; those of a ``build_on_meta`` have no values."""
    # PyTorch draws normal numbers for the meta device in Python, and imports its compiler for that: 6 to 9 s.
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
    parts = [modules] if isinstance(modules, nn.Module) else modules
    return sum(p.numel() for module in parts for p in module.parameters() if p.requires_grad)


def build_on_meta(blueprint: Call) -> Any:
    """Return the module of ``blueprint`` without memory for its weights."""
    with torch.device("meta"):
        return blueprint.build()
