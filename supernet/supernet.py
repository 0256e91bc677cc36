"""The supernet: one set of weights for every architecture of a space.

The path is an argument, never a state: ``supernet(images, architecture)``. A path is run by the static
modules of the subnet on views of the shared weights (``elastic.py``), so it costs what the subnet costs
and gives what the subnet gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.architecture import Block as BlockDesign
from search_spaces.choices import StageChoices
from search_spaces.errors import SpaceError
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.space import Space
from supernet.block import MapBatchNorm, Network
from supernet.compile_blocks import compile_blocks
from supernet.elastic import (
    BoundModule,
    Elastic,
    FunctionalModule,
    Projections,
    Weights,
    WeightSlices,
    full,
    materialize,
    narrow,
    prefixed,
    state,
)
from supernet.operators import MIXERS
from supernet.pos import AbsolutePosition, PositionalEncodingGenerator
from supernet.subnet import (
    attention_sharing,
    block_blueprint,
    build_on_meta,
    downsample_blueprint,
    ends_blueprint,
    initialise,
    network_blueprint,
    stem_blueprint,
)

SHARINGS = ("operator", "block")


class ElasticFeedForward(nn.Module):
    """Weights of the widest MLP; a narrower one uses its first hidden channels."""

    def __init__(self, dim: int, hidden_dim: int, scaled: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.scale = nn.Parameter(torch.ones(dim)) if scaled else None

    def weight_slices(self, hidden_dim: int) -> WeightSlices:
        """Return cuts named as ``FeedForward`` names its parameters."""
        weight_slices = full(self)
        for name, dim in (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1)):
            weight_slices[name] = weight_slices[name].then(narrow(hidden_dim, dim=dim))
        return weight_slices


class ElasticBlock(nn.Module):
    """Shared weights of every block that may stand at one place.

    Args:
        choices: The blocks that may stand here.
        site: The largest map they may stand on.
        style: How blocks are put together.
        sharing: ``operator`` gives every attention operator its own projections, ``block`` one set to all.
    """

    def __init__(self, choices: StageChoices, feature_map: FeatureMap, style: Style, sharing: str) -> None:
        super().__init__()
        self.style = style
        dim, pos = feature_map.dim, {block.pos for block in choices.blocks}
        common = Projections(dim, style.qkv_bias) if sharing == "block" else None
        self.mixers = nn.ModuleDict()
        for operator in choices.operators:
            blocks = [block for block in choices.blocks if block.operator == operator.name]
            projections = common or Projections(dim, style.qkv_bias)
            self.mixers[operator.name] = MIXERS[operator.name].elastic(blocks, feature_map, projections)
        self.norm1 = nn.LayerNorm(dim) if style.mixer_norm == "layer" else nn.Identity()
        self.norm2 = nn.LayerNorm(dim) if style.mlp_norm == "layer" else MapBatchNorm(dim)
        widest = max(block.hidden_dim(dim) for block in choices.blocks)
        self.mlp = ElasticFeedForward(dim, widest, style.mlp_scale)
        self.ape = AbsolutePosition(feature_map.height, feature_map.width, dim) if "ape" in pos else None
        self.peg = PositionalEncodingGenerator(dim) if "cpe" in pos else None
        self.compiled = False
        self._bound_modules: dict[tuple[BlockDesign, FeatureMap, bool], BoundModule] = {}

    def weight_slices(self, block: BlockDesign, feature_map: FeatureMap) -> WeightSlices:
        """Return cuts named as the static ``Block`` names its parameters.

        Raises:
            SpaceError: If the block may not stand here.
        """
        if block.operator not in self.mixers:
            raise SpaceError(f"this supernet's block offers {', '.join(self.mixers)}, not '{block.operator}'")
        mixer: Elastic = self.mixers[block.operator]  # type: ignore[assignment]
        weight_slices = (
            prefixed("norm1", full(self.norm1))
            | prefixed("mixer", mixer.weight_slices(block, feature_map))
            | prefixed("norm2", full(self.norm2))
            | prefixed("mlp", self.mlp.weight_slices(block.hidden_dim(feature_map.dim)))
        )
        if block.pos == "ape" and self.ape is not None:
            table = full(self.ape)["table"]
            weight_slices["before.table"] = table.then(
                lambda full: full[:, : feature_map.height, : feature_map.width]
            )
        if block.pos == "cpe" and self.peg is not None:
            weight_slices |= prefixed("after", full(self.peg))
        return weight_slices

    def weights(self, block: BlockDesign, feature_map: FeatureMap) -> Weights:
        """Return the weights of ``block``, views of the shared ones, by the names of ``weight_slices``.

        Raises:
            SpaceError: If the block may not stand here.
        """
        return materialize(self.weight_slices(block, feature_map))

    def forward(self, x: Tensor, block: BlockDesign, feature_map: FeatureMap) -> Tensor:
        """Run ``block`` on a map ``(B, H, W, C)``."""
        output: Tensor = self._static(block, feature_map).run(self.training, x)
        return output

    def forward_with_attention(
        self, x: Tensor, maps: Tensor | None, block: BlockDesign, feature_map: FeatureMap
    ) -> tuple[Tensor, Tensor | None]:
        """Run ``block`` on a map and the attention maps of the block before; return its own maps too."""
        outputs: tuple[Tensor, Tensor] = self._static(block, feature_map, shares_attention=True).run(
            self.training, x, maps
        )
        return outputs

    def _static(
        self, block: BlockDesign, feature_map: FeatureMap, shares_attention: bool = False
    ) -> BoundModule:
        key = (block, feature_map, shares_attention)
        if key not in self._bound_modules:
            module = build_on_meta(block_blueprint(block, feature_map, self.style, shares_attention))
            if self.compiled:
                compile_blocks(module)
            self._bound_modules[key] = BoundModule(
                FunctionalModule(module), self.weight_slices(block, feature_map)
            )
        return self._bound_modules[key]

    def __getstate__(self) -> dict[str, object]:
        """Leave static modules behind when copied or sent: they are wired to this block, and hold compiled code."""
        return {**self.__dict__, "_bound_modules": {}, "compiled": False}


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
                    name: downsample_blueprint(name, stages[i - 1].dim, stage.dim).build()
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
        self.ends: Network = ends_blueprint(stages[-1].dim, space.num_classes, space.style).build()
        initialise(self)

    def forward(self, images: Tensor, architecture: Architecture) -> Tensor:
        """Run one path.

        Args:
            images: ``(B, in_channels, H, W)``.
            architecture: The path.

        Returns:
            Logits ``(B, num_classes)``.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        self._refuse_foreign(architecture)
        x = self.stems[architecture.stem](images)
        for index, stage in enumerate(architecture.stages):
            feature_map = architecture.feature_map(index)
            if stage.downsample is not None:
                x = self.downsamples[index][stage.downsample](x)  # type: ignore[index]
            maps = None
            for number, (block, shares_attention) in enumerate(
                zip(stage.blocks, attention_sharing(stage.blocks), strict=True)
            ):
                elastic: ElasticBlock = self.stages[index][number]  # type: ignore[index]
                x, maps = (
                    elastic.forward_with_attention(x, maps, block, feature_map)
                    if shares_attention
                    else (elastic(x, block, feature_map), None)
                )
        logits: Tensor = self.ends.classify(x)
        return logits

    def compile_blocks(self) -> None:
        """Have the blocks of every path compiled by region when they first run (``regions.py``)."""
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                block.compiled = True
                block._bound_modules.clear()

    def weights(self, architecture: Architecture) -> Weights:
        """Return views of every weight of one path, named as the subnet names them.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        self._refuse_foreign(architecture)
        weights = prefixed("stem", state(self.stems[architecture.stem]))
        for index, stage in enumerate(architecture.stages):
            feature_map = architecture.feature_map(index)
            if stage.downsample is not None:
                downsample = self.downsamples[index][stage.downsample]  # type: ignore[index]
                weights |= prefixed(f"stages.{index}.downsample", state(downsample))
            for number, block in enumerate(stage.blocks):
                elastic: ElasticBlock = self.stages[index][number]  # type: ignore[index]
                weights |= prefixed(f"stages.{index}.blocks.{number}", elastic.weights(block, feature_map))
        return weights | state(self.ends)

    def extract(self, architecture: Architecture) -> Network:
        """Return the standalone network of one path, with a copy of its weights."""
        network: Network = build_on_meta(network_blueprint(architecture))
        copies = {name: value.detach().clone() for name, value in self.weights(architecture).items()}
        network.load_state_dict(copies, assign=True)
        return network.train(self.training)

    def inherit(self, network: Network, architecture: Architecture) -> None:
        """Copy the weights of a subnet into the path that coincides with it.

        Raises:
            SpaceError: If the architecture is not in the space.
        """
        own, given = self.weights(architecture), network.state_dict()
        learned = {name: value for name, value in own.items() if value.requires_grad}
        for name in own.keys() - learned.keys():
            own[name].copy_(given[name])
        # Not every slice of a parameter is a view of it (the makers of dynamic kernels); its gradient
        # says for all of them where a value comes from.
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]

        def placed(values: list[Tensor]) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(
                list(learned.values()), parameters, values, retain_graph=True, allow_unused=True
            )

        inside = placed([torch.ones_like(value) for value in learned.values()])
        values = placed([given[name] for name in learned])
        with torch.no_grad():
            for parameter, mask, value in zip(parameters, inside, values, strict=True):
                if mask is not None and value is not None:
                    parameter.copy_(torch.where(mask > 0, value, parameter))

    def _refuse_foreign(self, architecture: Architecture) -> None:
        if not self.space.contains(architecture):
            self.space.values(architecture)  # raises, and says what does not fit
