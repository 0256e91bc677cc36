"""A path of a trained supernet as a row of steps: paths that begin alike can share what they begin with.

A step is a stem, a downsampling or a part of a block at its place: the half with the token mixer, that with the
MLP, and PEG after both, so that blocks which differ in the MLP alone have the mixer in common. Two paths with the
same first n steps compute the same first n activations, down to the last bit, and the same BatchNorm statistics
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture, Block
from search_spaces.operators import FeatureMap
from supernet.blueprint import Call, call
from supernet.elastic import FunctionalModule, Weights, state
from supernet.pos import PositionalEncodingGenerator
from supernet.subnet import (
    attention_sharing,
    block_blueprint,
    build_on_meta,
    downsample_blueprint,
    stem_blueprint,
)
from supernet.supernet import ElasticBlock, Supernet

#: Layers whose statistics a path does not share with others.
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
#: A map ``(B, H, W, C)`` (images ``(B, C, H, W)`` before the stem) and the attention maps handed with it.
Flow = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class StemStep:
    """The stem of this name.

    Args:
        name: The stem.
        site: The first stage's map.
    """

    name: str
    feature_map: FeatureMap


@dataclass(frozen=True)
class DownsampleStep:
    """The downsampling of this name before a stage.

    Args:
        stage: Index of the stage.
        name: The downsampling.
    """

    stage: int
    name: str


@dataclass(frozen=True)
class MixerStep:
    """The first half of a block at its place, up to its token mixer.

    Args:
        stage: Index of the stage.
        number: Index of the block in it.
        block: The design, without what the first half does not depend on: the MLP and PEG.
        site: Where it stands.
        hands: Whether it is given and hands on attention maps.
    """

    stage: int
    number: int
    block: Block
    feature_map: FeatureMap
    shares_attention: bool


@dataclass(frozen=True)
class MlpStep:
    """The second half of a block at its place, the MLP.

    Args:
        stage: Index of the stage.
        number: Index of the block in it.
        hidden_dim: Hidden width of the MLP.
        site: Where it stands.
        block: A design with this MLP; which, makes no difference.
    """

    stage: int
    number: int
    hidden_dim: int
    feature_map: FeatureMap
    block: Block = field(compare=False, repr=False)


@dataclass(frozen=True)
class EncodingStep:
    """The positional encoding of a block's output (PEG).

    Args:
        stage: Index of the stage.
        number: Index of the block in it.
        dim: Channels.
    """

    stage: int
    number: int
    dim: int


Step = StemStep | DownsampleStep | MixerStep | MlpStep | EncodingStep

#: The submodules of a block that each half applies, by the method that does.
_HALVES = {"apply_mixer": ("before", "norm1", "mixer"), "apply_mlp": ("norm2", "mlp")}


def steps(architecture: Architecture) -> tuple[Step, ...]:
    """Return the steps of a path, first to last; the classifier is not one."""
    row: list[Step] = [StemStep(architecture.stem, architecture.feature_map(0))]
    for index, stage in enumerate(architecture.stages):
        if stage.downsample is not None:
            row.append(DownsampleStep(index, stage.downsample))
        feature_map = architecture.feature_map(index)
        for number, (block, shares_attention) in enumerate(
            zip(stage.blocks, attention_sharing(stage.blocks), strict=True)
        ):
            encoded = block.pos == "cpe"
            mixer = replace(block, pos="none" if encoded else block.pos, mlp_ratio=1.0)
            row.append(MixerStep(index, number, mixer, feature_map, shares_attention))
            row.append(MlpStep(index, number, block.hidden_dim(feature_map.dim), feature_map, block))
            if encoded:
                row.append(EncodingStep(index, number, feature_map.dim))
    return tuple(row)


class StepRunner:
    """Runs steps with the weights of a supernet that is no longer trained.

    Args:
        supernet: The trained supernet.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._templates: dict[Step, FunctionalModule] = {}
        self._weights: dict[Step, Weights] = {}
        self._norms: dict[Step, list[str]] = {}

    def forget(self) -> None:
        """Let go of the weights kept for the steps that were run."""
        self._weights.clear()

    def run(self, step: Step, flow: Flow, statistics: Weights) -> Flow:
        """Apply a step, its BatchNorms using ``statistics``, which are those that ``calibrate`` returned."""
        return self._run(step, flow, statistics, training=False)

    def normalises(self, step: Step) -> bool:
        """Return whether a step holds BatchNorms, whose statistics have to be calibrated."""
        return bool(self._batch_norms(step))

    def calibrate(self, step: Step, flows: Sequence[Flow]) -> tuple[list[Flow], Weights]:
        """Apply a step to batches of training images and take the BatchNorm statistics of them.

        Returns:
            What it made of the batches, each normalised by its own statistics, and the statistics' average
            over the batches.
        """
        statistics: Weights = {}
        for name in self._batch_norms(step):
            mean = self._fitting(step)[f"{name}.running_mean"]
            statistics[f"{name}.running_mean"] = torch.zeros_like(mean)
            statistics[f"{name}.running_var"] = torch.ones_like(mean)
            statistics[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.long, device=mean.device)
        return [self._run(step, flow, statistics, training=True) for flow in flows], statistics

    def _run(self, step: Step, flow: Flow, statistics: Weights, training: bool) -> Flow:
        weights = {**self._fitting(step), **statistics}
        x, maps = flow
        if isinstance(step, MixerStep) and step.shares_attention:
            outputs: Flow = self._template(step).run(weights, training, x, maps)
            return outputs
        inside = isinstance(step, MlpStep | EncodingStep)  # a block, whose maps pass by
        return self._template(step).run(weights, training, x), maps if inside else None

    def classify(self, flow: Flow) -> Tensor:
        """Return logits ``(B, num_classes)`` of the last step's map."""
        return self.supernet.ends.classify(flow[0])

    def _batch_norms(self, step: Step) -> list[str]:
        if step not in self._norms:
            parts = self._template(step).module.named_modules()
            self._norms[step] = [name for name, part in parts if isinstance(part, BATCH_NORMS)]
        return self._norms[step]

    def _template(self, step: Step) -> FunctionalModule:
        if step not in self._templates:
            method = (
                "apply_mixer"
                if isinstance(step, MixerStep)
                else "apply_mlp"
                if isinstance(step, MlpStep)
                else None
            )
            module: nn.Module = build_on_meta(self._plan(step))
            if method is not None:
                for name, _ in list(module.named_children()):
                    if name not in _HALVES[method]:
                        delattr(module, name)
            for part in module.modules():
                if isinstance(part, BATCH_NORMS):
                    part.momentum = None  # statistics are a plain average over batches
            self._templates[step] = FunctionalModule(module.eval(), method)
        return self._templates[step]

    def _plan(self, step: Step) -> Call:
        """Return what makes a step's module; of half a block, the block."""
        space = self.supernet.space
        match step:
            case StemStep():
                return stem_blueprint(step.name, space.in_channels, step.feature_map, space.style)
            case DownsampleStep():
                dims = space.stages[step.stage - 1].dim, space.stages[step.stage].dim
                return downsample_blueprint(step.name, *dims)
            case EncodingStep():
                return call(PositionalEncodingGenerator, step.dim)
            case MixerStep():
                return block_blueprint(step.block, step.feature_map, space.style, step.shares_attention)
            case MlpStep():
                return block_blueprint(step.block, step.feature_map, space.style)

    def _fitting(self, step: Step) -> Weights:
        """Return the step's weights, laid out as those of an extracted subnet are."""
        if step not in self._weights:
            weights, own = self._shared(step), self._template(step).slots
            self._weights[step] = {name: weights[name].detach().contiguous() for name in own}
        return self._weights[step]

    def _shared(self, step: Step) -> Weights:
        """Return views of the supernet's weights for a step; of half a block, for the block."""
        if isinstance(step, StemStep):
            return state(self.supernet.stems[step.name])
        if isinstance(step, DownsampleStep):
            return state(self.supernet.downsamples[step.stage][step.name])  # type: ignore[index]
        elastic: ElasticBlock = self.supernet.stages[step.stage][step.number]  # type: ignore[index]
        if isinstance(step, EncodingStep):
            assert elastic.peg is not None, "a path with PEG is of a space with PEG"
            return state(elastic.peg)
        return elastic.weights(step.block, step.feature_map)
