"""A path of a trained supernet as a sequence of steps, so that paths with the same first steps can share them.

A step is a stem, a downsampling or a part of a block: the half with the token mixer, the half with the MLP, and
PEG after both, so that blocks which differ in the MLP alone have the mixer in common. Two paths with the same
first n steps compute the same first n activations, down to the last bit, and the same BatchNorm statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture, Block
from search_spaces.operators import FeatureMap
from search_spaces.walk import BlockPart, DownsamplePart, StemPart, walk
from supernet.blueprint import Call, call
from supernet.functional_module import FunctionalModule
from supernet.pos import PositionalEncodingGenerator
from supernet.subnet import block_blueprint, build_on_meta, skeleton_blueprint
from supernet.supernet import Supernet
from supernet.weight_slices import Weights, materialize

#: Layers whose statistics belong to one path alone.
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
#: A map ``(B, H, W, C)`` (images ``(B, C, H, W)`` before the stem) and the attention maps of the block before.
Flow = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class MixerStep:
    """The first half of a block, up to its token mixer.

    Args:
        stage: Index of the stage.
        index: Index of the block in it.
        block: The design, without what the first half does not depend on: the MLP and PEG.
        feature_map: The map that it works on.
        shares_attention: Whether it is given attention maps by the block before or returns its own to the next.
    """

    stage: int
    index: int
    block: Block
    feature_map: FeatureMap
    shares_attention: bool


@dataclass(frozen=True)
class MlpStep:
    """The second half of a block, the MLP.

    Args:
        stage: Index of the stage.
        index: Index of the block in it.
        hidden_dim: Hidden width of the MLP.
        feature_map: The map that it works on.
        block: Any design with this MLP.
    """

    stage: int
    index: int
    hidden_dim: int
    feature_map: FeatureMap
    block: Block = field(compare=False, repr=False)


@dataclass(frozen=True)
class EncodingStep:
    """The positional encoding of a block's output (PEG).

    Args:
        stage: Index of the stage.
        index: Index of the block in it.
        dim: Channels.
    """

    stage: int
    index: int
    dim: int


#: Stems and downsamplings are steps as they are.
Step = StemPart | DownsamplePart | MixerStep | MlpStep | EncodingStep

#: The method of a block that runs each half.
_METHODS: dict[type, str] = {MixerStep: "apply_mixer", MlpStep: "apply_mlp"}
#: The submodules of a block that each of these methods uses.
_HALVES = {"apply_mixer": ("before", "norm1", "mixer"), "apply_mlp": ("norm2", "mlp")}


def steps(architecture: Architecture) -> tuple[Step, ...]:
    """Return the steps of a path, first to last; the classifier is not one."""
    sequence: list[Step] = []
    for part in walk(architecture):
        match part:
            case StemPart() | DownsamplePart():
                sequence.append(part)
            case BlockPart():
                sequence.extend(_block_steps(part))
    return tuple(sequence)


def _block_steps(part: BlockPart) -> Iterator[Step]:
    position, block, feature_map = (part.stage, part.index), part.block, part.feature_map
    encoded = block.pos == "cpe"
    mixer = replace(block, pos="none" if encoded else block.pos, mlp_ratio=1.0)
    yield MixerStep(*position, mixer, feature_map, part.shares_attention)
    yield MlpStep(*position, block.hidden_dim(feature_map.dim), feature_map, block)
    if encoded:
        yield EncodingStep(*position, feature_map.dim)


class StepRunner:
    """Runs steps with the weights of a supernet that is no longer trained.

    Args:
        supernet: The trained supernet.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._modules: dict[Step, FunctionalModule] = {}
        self._weights: dict[Step, Weights] = {}
        self._norms: dict[Step, list[str]] = {}

    def forget(self) -> None:
        """Release the weights that are kept of the steps that were run."""
        self._weights.clear()

    def run(self, step: Step, flow: Flow, statistics: Weights) -> Flow:
        """Apply a step with the BatchNorm ``statistics`` that ``calibrate`` returned."""
        return self._run(step, flow, statistics, training=False)

    def normalises(self, step: Step) -> bool:
        """Return whether a step has BatchNorms, whose statistics have to be calibrated."""
        return bool(self._batch_norms(step))

    def calibrate(self, step: Step, flows: Sequence[Flow]) -> tuple[list[Flow], Weights]:
        """Apply a step to batches of training images and measure their BatchNorm statistics.

        Returns:
            The outputs, each batch normalised by its own statistics, and the statistics' average over the batches.
        """
        statistics: Weights = {}
        for name in self._batch_norms(step):
            mean = self._step_weights(step)[f"{name}.running_mean"]
            statistics[f"{name}.running_mean"] = torch.zeros_like(mean)
            statistics[f"{name}.running_var"] = torch.ones_like(mean)
            statistics[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.long, device=mean.device)
        return [self._run(step, flow, statistics, training=True) for flow in flows], statistics

    def _run(self, step: Step, flow: Flow, statistics: Weights, training: bool) -> Flow:
        weights = {**self._step_weights(step), **statistics}
        x, maps = flow
        if isinstance(step, StemPart):
            x = self.supernet.resize(x, step.image_size)
        if isinstance(step, MixerStep) and step.shares_attention:
            outputs: Flow = self._module(step).run(weights, training, x, maps)
            return outputs
        keeps_maps = isinstance(
            step, MlpStep | EncodingStep
        )  # the rest of a block leaves its maps as they are
        return self._module(step).run(weights, training, x), maps if keeps_maps else None

    def classify(self, flow: Flow) -> Tensor:
        """Return logits ``(B, num_classes)`` of the last step's map."""
        return self.supernet.classify(flow[0])

    def _batch_norms(self, step: Step) -> list[str]:
        if step not in self._norms:
            modules = self._module(step).module.named_modules()
            self._norms[step] = [name for name, module in modules if isinstance(module, BATCH_NORMS)]
        return self._norms[step]

    def _module(self, step: Step) -> FunctionalModule:
        if step not in self._modules:
            method = _METHODS.get(type(step))
            module: nn.Module = build_on_meta(self._blueprint(step))
            if method is not None:
                for name, _ in list(module.named_children()):
                    if name not in _HALVES[method]:
                        delattr(module, name)
            for submodule in module.modules():
                if isinstance(submodule, BATCH_NORMS):
                    submodule.momentum = None  # statistics are a plain average over batches
            self._modules[step] = FunctionalModule(module.eval(), method)
        return self._modules[step]

    def _blueprint(self, step: Step) -> Call:
        """Return what makes a step's module; for half a block it makes the block."""
        style = self.supernet.space.style
        match step:
            case StemPart() | DownsamplePart():
                return skeleton_blueprint(step, style)
            case EncodingStep():
                return call(PositionalEncodingGenerator, step.dim)
            case MixerStep():
                return block_blueprint(step.block, step.feature_map, style, step.shares_attention)
            case MlpStep():
                return block_blueprint(step.block, step.feature_map, style)

    def _step_weights(self, step: Step) -> Weights:
        """Return the step's weights, contiguous as those of an extracted subnet are."""
        if step not in self._weights:
            shared, own = self._shared_weights(step), self._module(step).slots
            self._weights[step] = {name: shared[name].detach().contiguous() for name in own}
        return self._weights[step]

    def _shared_weights(self, step: Step) -> Weights:
        """Return views of the supernet's weights for a step; for half a block they are the block's."""
        if isinstance(step, StemPart | DownsamplePart):
            return materialize(self.supernet.part_slices(step))
        elastic = self.supernet.block(step.stage, step.index)
        if isinstance(step, EncodingStep):
            return materialize(elastic.peg_slices(step.dim))
        return elastic.weights(step.block, step.feature_map)
