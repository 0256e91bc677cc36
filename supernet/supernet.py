"""The supernet: one set of weights for every architecture of a space.

The path is an argument, never a state: ``supernet(images, architecture)``. It is run by the static modules of
the subnet on views of the shared weights (``elastic.py``), so it has the cost and the output of the subnet.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.architecture import Block as BlockDesign
from search_spaces.choices import StageChoices
from search_spaces.errors import SpaceError
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.walk import BlockPart, DownsamplePart, HeadPart, Part, StemPart, walk
from supernet.block import Block, MapBatchNorm
from supernet.compile_blocks import compile_blocks
from supernet.elastic import Elastic, Projections
from supernet.functional_module import BoundModule, FunctionalModule
from supernet.network import Network
from supernet.operators import mixer
from supernet.pos import AbsolutePosition, PositionalEncodingGenerator
from supernet.resizing import resize_images
from supernet.skeleton_slices import downsample_slices, head_slices, stem_slices
from supernet.subnet import (
    block_blueprint,
    build_on_meta,
    downsample_blueprint,
    drop_path_rates,
    ends_blueprint,
    initialise,
    network_blueprint,
    skeleton_blueprint,
    stem_blueprint,
)
from supernet.weight_slices import (
    Weights,
    WeightSlices,
    first,
    first_entries,
    full,
    materialize,
    narrow,
    prefixed,
)

SHARINGS = ("operator", "block")


class ElasticFeedForward(nn.Module):
    """Weights of the widest MLP; a narrower one uses its first hidden channels."""

    def __init__(self, dim: int, hidden_dim: int, scaled: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.ones(dim)) if scaled else None

    def weight_slices(self, dim: int, hidden_dim: int) -> WeightSlices:
        """Return slices named as ``FeedForward`` names its parameters."""
        weight_slices = prefixed("fc1", first_entries(self.fc1, hidden_dim, dim))
        weight_slices |= prefixed("fc2", first_entries(self.fc2, dim, hidden_dim))
        if self.scale is not None:
            weight_slices["scale"] = full(self)["scale"].then(narrow(dim))
        return weight_slices


class ElasticBlock(nn.Module):
    """Shared weights of every block that may be chosen at one position of the supernet.

    Args:
        choices: The blocks that may be chosen.
        feature_map: As high, wide and deep, and with as many heads, as any map that they may work on.
        style: How blocks are composed.
        sharing: ``operator`` gives every attention operator its own projections, ``block`` one set to all.
    """

    def __init__(self, choices: StageChoices, feature_map: FeatureMap, style: Style, sharing: str) -> None:
        super().__init__()
        self.style = style
        dim, pos = feature_map.dim, {block.pos for block in choices.blocks}
        make_projections = partial(Projections, dim, style.qkv_bias, choices.widths.head_groups)
        common = make_projections() if sharing == "block" else None
        self.mixers = nn.ModuleDict()
        for operator in choices.operators:
            blocks = [block for block in choices.blocks if block.operator == operator.name]
            projections = common or make_projections()
            self.mixers[operator.name] = mixer(operator.name).elastic(blocks, feature_map, projections)
        self.norm1 = nn.LayerNorm(dim) if style.mixer_norm == "layer" else nn.Identity()
        self.norm2 = nn.LayerNorm(dim) if style.mlp_norm == "layer" else MapBatchNorm(dim)
        widest = max(block.hidden_dim(dim) for block in choices.blocks)
        self.mlp = ElasticFeedForward(dim, widest, style.mlp_scale)
        self.ape = AbsolutePosition(feature_map.height, feature_map.width, dim) if "ape" in pos else None
        self.peg = PositionalEncodingGenerator(dim) if "cpe" in pos else None
        self.compiled = False
        self._bound_modules: dict[tuple[BlockDesign, FeatureMap, bool], BoundModule] = {}

    def weight_slices(self, block: BlockDesign, feature_map: FeatureMap) -> WeightSlices:
        """Return slices named as the static ``Block`` names its parameters.

        Raises:
            SpaceError: If the block's operator is not among the choices.
        """
        if block.operator not in self.mixers:
            raise SpaceError(f"this supernet's block offers {', '.join(self.mixers)}, not '{block.operator}'")
        elastic = cast(Elastic, self.mixers[block.operator])
        dim = feature_map.dim
        weight_slices = (
            prefixed("norm1", first_entries(self.norm1, dim))
            | prefixed("mixer", elastic.weight_slices(block, feature_map))
            | prefixed("norm2", first_entries(self.norm2, dim))
            | prefixed("mlp", self.mlp.weight_slices(dim, block.hidden_dim(dim)))
        )
        if block.pos == "ape" and self.ape is not None:
            corner = first(1, feature_map.height, feature_map.width, dim)
            weight_slices["before.table"] = full(self.ape)["table"].then(corner)
        if block.pos == "cpe" and self.peg is not None:
            weight_slices |= prefixed("after", self.peg_slices(dim))
        return weight_slices

    def peg_slices(self, dim: int) -> WeightSlices:
        """Return slices of PEG for maps of ``dim`` channels."""
        assert self.peg is not None, "a path with PEG is of a space with PEG"
        return prefixed("conv", first_entries(self.peg.conv, dim))

    def weights(self, block: BlockDesign, feature_map: FeatureMap) -> Weights:
        """Return the weights of ``block``, views of the shared ones, by the names of ``weight_slices``.

        Raises:
            SpaceError: If the block's operator is not among the choices.
        """
        return materialize(self.weight_slices(block, feature_map))

    def forward(self, x: Tensor, block: BlockDesign, feature_map: FeatureMap) -> Tensor:
        """Run ``block`` on a map ``(B, H, W, C)``, without stochastic depth."""
        bound = self.bound(block, feature_map)
        set_drop_path(bound, 0.0)
        output: Tensor = bound.run(self.training, x)
        return output

    def bound(
        self, block: BlockDesign, feature_map: FeatureMap, shares_attention: bool = False
    ) -> BoundModule:
        """Return the static module of ``block``, run on the shared weights.

        Args:
            block: The block.
            feature_map: The map that it works on.
            shares_attention: Whether it is given the attention maps of the block before, and returns its own too.

        Raises:
            SpaceError: If the block's operator is not among the choices.
        """
        key = (block, feature_map, shares_attention)
        if key not in self._bound_modules:
            module = build_on_meta(block_blueprint(block, feature_map, self.style, shares_attention))
            if self.compiled:
                compile_blocks(module)
            weight_slices = self.weight_slices(block, feature_map)
            self._bound_modules[key] = BoundModule(FunctionalModule(module), weight_slices)
        return self._bound_modules[key]

    def compile_static(self) -> None:
        """Compile the static modules of this block when they first run."""
        self.compiled = True
        self._bound_modules.clear()

    def __getstate__(self) -> dict[str, object]:
        """Drop bound modules when copied or sent: they refer to this block's weights and may be compiled."""
        return {**self.__dict__, "_bound_modules": {}, "compiled": False}


def set_drop_path(bound: BoundModule, drop_path: float) -> None:
    """Set the probability with which the branches of a block are dropped in training."""
    block = cast(Block, bound.function.module)
    if block.drop_path != drop_path:  # a module takes long to set what it has
        block.drop_path = drop_path


class Supernet(nn.Module):
    """Shared weights of a whole space.

    Args:
        space: The space.
        sharing: ``operator``: each attention operator of a block has its own projections; ``block``: they
            share one set, which trains each more often and ties them together.

    Raises:
        SpaceError: If ``sharing`` is unknown.
    """

    def __init__(self, space: Space, sharing: str = "operator") -> None:
        super().__init__()
        if sharing not in SHARINGS:
            raise SpaceError(f"sharing must be one of {', '.join(SHARINGS)}, not '{sharing}'")
        self.space, self.sharing = space, sharing
        stages, feature_maps = space.stages, space.feature_maps()
        self.stems = nn.ModuleDict(
            {
                name: stem_blueprint(
                    name, space.in_channels, space.feature_maps(name)[0], space.style
                ).build()
                for name in space.stems
            }
        )
        self.downsamples = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: downsample_blueprint(name, feature_maps[i - 1].dim, feature_maps[i].dim).build()
                    for name in stage.downsamples
                }
            )
            for i, stage in enumerate(stages)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(
                ElasticBlock(stage, feature_map, space.style, sharing) for _ in range(max(stage.depths))
            )
            for stage, feature_map in zip(stages, feature_maps, strict=True)
        )
        self.ends: Network = ends_blueprint(feature_maps[-1].dim, space.num_classes, space.style).build()
        self._bound_parts: dict[object, BoundModule] = {}
        initialise(self)

    def forward(self, images: Tensor, architecture: Architecture, drop_path: float = 0.0) -> Tensor:
        """Run one path.

        Args:
            images: ``(B, in_channels, H, W)``. Where the space has designs for several sizes of images they are
                brought to that of this one.
            architecture: The path.
            drop_path: Stochastic depth of the path's last block in training, to which that of its blocks rises
                linearly, as in a subnet; so a block is dropped more often in a short path than in a long one.

        Returns:
            Logits ``(B, num_classes)``.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        self._check_contains(architecture)
        x, maps = self.resize(images, architecture.image_size), None
        rates = iter(drop_path_rates(drop_path, sum(len(stage.blocks) for stage in architecture.stages)))
        for part in walk(architecture):
            bound = self._bound_parts.get(part) or self._bind(part)
            if isinstance(part, BlockPart):
                set_drop_path(bound, next(rates))
                if part.shares_attention:
                    x, maps = bound.run(self.training, x, maps)
                    continue
            x, maps = bound.run(self.training, x), None
        return x

    def resize(self, images: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Bring images to the height and width that a design is for, where the space has more than one size."""
        return resize_images(images, image_size) if len(self.space.image_sizes) > 1 else images

    def classify(self, x: Tensor) -> Tensor:
        """Map the last stage's ``(B, H, W, C)``, of any width, to logits ``(B, num_classes)``."""
        logits: Tensor = self._bound_head(x.shape[-1]).run(self.training, x)
        return logits

    def _bind(self, part: Part) -> BoundModule:
        match part:
            case BlockPart():
                elastic = self.block(part.stage, part.index)
                bound = elastic.bound(part.block, part.feature_map, part.shares_attention)
            case HeadPart():
                bound = self._bound_head(part.feature_map.dim)
            case _:
                module = FunctionalModule(build_on_meta(skeleton_blueprint(part, self.space.style)))
                bound = BoundModule(module, self.part_slices(part))
        self._bound_parts[part] = bound
        return bound

    def _bound_head(self, dim: int) -> BoundModule:
        if dim not in self._bound_parts:
            blueprint = ends_blueprint(dim, self.space.num_classes, self.space.style)
            module = FunctionalModule(build_on_meta(blueprint), "classify")
            self._bound_parts[dim] = BoundModule(module, head_slices(self.ends, dim))
        return self._bound_parts[dim]

    def part_slices(self, part: StemPart | DownsamplePart) -> WeightSlices:
        """Return slices named as the static stem or downsampling names its parameters."""
        if isinstance(part, StemPart):
            return stem_slices(self.stems[part.name], part.feature_map)
        module = self.downsample(part.stage, part.name)
        return downsample_slices(module, part.before.dim, part.feature_map.dim)

    def __getstate__(self) -> dict[str, object]:
        """Drop bound modules when copied or sent: they refer to this supernet's weights."""
        return {**self.__dict__, "_bound_parts": {}}

    def downsample(self, stage: int, name: str) -> nn.Module:
        """Return the downsampling called ``name`` before a stage, counted from 0."""
        return cast(nn.ModuleDict, self.downsamples[stage])[name]

    def block(self, stage: int, index: int) -> ElasticBlock:
        """Return the elastic block at a position, both counted from 0."""
        return cast(ElasticBlock, cast(nn.ModuleList, self.stages[stage])[index])

    def compile_blocks(self) -> None:
        """Compile the blocks of every path by region when they first run (``compile_blocks.py``)."""
        self._bound_parts.clear()
        for module in self.modules():
            if isinstance(module, ElasticBlock):
                module.compile_static()

    def weights(self, architecture: Architecture) -> Weights:
        """Return views of every weight of one path, named as the subnet names them.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        self._check_contains(architecture)
        weights: Weights = {}
        for part in walk(architecture):
            match part:
                case StemPart():
                    weights |= prefixed("stem", materialize(self.part_slices(part)))
                case DownsamplePart():
                    downsample = materialize(self.part_slices(part))
                    weights |= prefixed(f"stages.{part.stage}.downsample", downsample)
                case BlockPart():
                    block = self.block(part.stage, part.index).weights(part.block, part.feature_map)
                    weights |= prefixed(f"stages.{part.stage}.blocks.{part.index}", block)
                case HeadPart():
                    weights |= materialize(head_slices(self.ends, part.feature_map.dim))
        return weights

    def extract(self, architecture: Architecture) -> Network:
        """Return the standalone network of one path, with a copy of its weights."""
        network: Network = build_on_meta(network_blueprint(architecture))
        copies = {name: value.detach().clone() for name, value in self.weights(architecture).items()}
        network.load_state_dict(copies, assign=True)
        return network.train(self.training)

    def inherit(self, network: Network, architecture: Architecture) -> None:
        """Copy the weights of a subnet into its path.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        own, given = self.weights(architecture), network.state_dict()
        trainable = {name: value for name, value in own.items() if value.requires_grad}
        for name in own.keys() - trainable.keys():
            own[name].copy_(given[name])
        # Not every slice of a parameter is a view of it (the layers that compute dynamic kernels). For all of
        # them the backward pass carries values of the slices to their positions in the parameters.
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]

        def scatter(values: list[Tensor]) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(
                list(trainable.values()), parameters, values, retain_graph=True, allow_unused=True
            )

        masks = scatter([torch.ones_like(value) for value in trainable.values()])
        scattered = scatter([given[name] for name in trainable])
        with torch.no_grad():
            for parameter, mask, value in zip(parameters, masks, scattered, strict=True):
                if mask is not None and value is not None:
                    parameter.copy_(torch.where(mask > 0, value, parameter))

    def _check_contains(self, architecture: Architecture) -> None:
        if not self.space.contains(architecture):
            self.space.values(architecture)  # raises an error that says what does not fit
