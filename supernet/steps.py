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
from search_spaces.operators import Site
from supernet.blueprint import Call, call
from supernet.elastic import Template, Weights, state
from supernet.pos import PositionalEncodingGenerator
from supernet.subnet import handing, plan_block, plan_downsample, plan_stem, template
from supernet.supernet import ElasticBlock, Supernet

#: Layers whose statistics a path does not share with others.
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
#: A map ``(B, H, W, C)`` (images ``(B, C, H, W)`` before the stem) and the attention maps handed with it.
Flow = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Stem:
    """The stem of this name.

    Args:
        name: The stem.
        site: The first stage's map.
    """

    name: str
    site: Site


@dataclass(frozen=True)
class Downsample:
    """The downsampling of this name before a stage.

    Args:
        stage: Index of the stage.
        name: The downsampling.
    """

    stage: int
    name: str


@dataclass(frozen=True)
class Mixing:
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
    site: Site
    hands: bool


@dataclass(frozen=True)
class Feeding:
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
    site: Site
    block: Block = field(compare=False, repr=False)


@dataclass(frozen=True)
class Encoding:
    """The positional encoding of a block's output (PEG).

    Args:
        stage: Index of the stage.
        number: Index of the block in it.
        dim: Channels.
    """

    stage: int
    number: int
    dim: int


Step = Stem | Downsample | Mixing | Feeding | Encoding

#: The submodules of a block that each half applies, by the method that does.
_HALVES = {"mix": ("before", "norm1", "mixer"), "feed": ("norm2", "mlp")}


def steps(architecture: Architecture) -> tuple[Step, ...]:
    """Return the steps of a path, first to last; the classifier is not one."""
    row: list[Step] = [Stem(architecture.stem, architecture.site(0))]
    for index, stage in enumerate(architecture.stages):
        if stage.downsample is not None:
            row.append(Downsample(index, stage.downsample))
        site = architecture.site(index)
        for number, (block, hands) in enumerate(zip(stage.blocks, handing(stage.blocks), strict=True)):
            encoded = block.pos == "cpe"
            mixer = replace(block, pos="none" if encoded else block.pos, mlp_ratio=1.0)
            row.append(Mixing(index, number, mixer, site, hands))
            row.append(Feeding(index, number, block.hidden_dim(site.dim), site, block))
            if encoded:
                row.append(Encoding(index, number, site.dim))
    return tuple(row)


class Runner:
    """Runs steps with the weights of a supernet that is no longer trained.

    Args:
        supernet: The trained supernet.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self._templates: dict[Step, Template] = {}
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
        if isinstance(step, Mixing) and step.hands:
            handed: Flow = self._template(step).run(weights, training, x, maps)
            return handed
        inside = isinstance(step, Feeding | Encoding)  # a block, whose maps pass by
        return self._template(step).run(weights, training, x), maps if inside else None

    def classify(self, flow: Flow) -> Tensor:
        """Return logits ``(B, num_classes)`` of the last step's map."""
        return self.supernet.ends.classify(flow[0])

    def _batch_norms(self, step: Step) -> list[str]:
        if step not in self._norms:
            parts = self._template(step).module.named_modules()
            self._norms[step] = [name for name, part in parts if isinstance(part, BATCH_NORMS)]
        return self._norms[step]

    def _template(self, step: Step) -> Template:
        if step not in self._templates:
            method = "mix" if isinstance(step, Mixing) else "feed" if isinstance(step, Feeding) else None
            module: nn.Module = template(self._plan(step))
            if method is not None:
                for name, _ in list(module.named_children()):
                    if name not in _HALVES[method]:
                        delattr(module, name)
            for part in module.modules():
                if isinstance(part, BATCH_NORMS):
                    part.momentum = None  # statistics are a plain average over batches
            self._templates[step] = Template(module.eval(), method)
        return self._templates[step]

    def _plan(self, step: Step) -> Call:
        """Return what makes a step's module; of half a block, the block."""
        space = self.supernet.space
        match step:
            case Stem():
                return plan_stem(step.name, space.in_channels, step.site, space.style)
            case Downsample():
                dims = space.stages[step.stage - 1].dim, space.stages[step.stage].dim
                return plan_downsample(step.name, *dims)
            case Encoding():
                return call(PositionalEncodingGenerator, step.dim)
            case Mixing():
                return plan_block(step.block, step.site, space.style, step.hands)
            case Feeding():
                return plan_block(step.block, step.site, space.style)

    def _fitting(self, step: Step) -> Weights:
        """Return the step's weights, laid out as those of an extracted subnet are."""
        if step not in self._weights:
            weights, own = self._shared(step), self._template(step).slots
            self._weights[step] = {name: weights[name].detach().contiguous() for name in own}
        return self._weights[step]

    def _shared(self, step: Step) -> Weights:
        """Return views of the supernet's weights for a step; of half a block, for the block."""
        if isinstance(step, Stem):
            return state(self.supernet.stems[step.name])
        if isinstance(step, Downsample):
            return state(self.supernet.downsamples[step.stage][step.name])  # type: ignore[index]
        elastic: ElasticBlock = self.supernet.stages[step.stage][step.number]  # type: ignore[index]
        if isinstance(step, Encoding):
            assert elastic.peg is not None, "a path with PEG is of a space with PEG"
            return state(elastic.peg)
        return elastic.weights(step.block, step.site)
