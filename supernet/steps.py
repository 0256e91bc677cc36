"""A path of a trained supernet as a row of steps: paths that begin alike can share what they begin with.

A step is a stem, a downsampling or a block at its place. Two paths with the same first n steps compute the
same first n activations, down to the last bit, and the same BatchNorm statistics there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture, Block
from search_spaces.operators import Site
from supernet.elastic import Template, Weights, state
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
class Placed:
    """A block at its place.

    Args:
        stage: Index of the stage.
        number: Index of the block in it.
        block: The design.
        site: Where it stands.
        hands: Whether it is given and hands on attention maps.
    """

    stage: int
    number: int
    block: Block
    site: Site
    hands: bool


Step = Stem | Downsample | Placed


def steps(architecture: Architecture) -> tuple[Step, ...]:
    """Return the steps of a path, first to last; the classifier is not one."""
    row: list[Step] = [Stem(architecture.stem, architecture.site(0))]
    for index, stage in enumerate(architecture.stages):
        if stage.downsample is not None:
            row.append(Downsample(index, stage.downsample))
        site = architecture.site(index)
        for number, (block, hands) in enumerate(zip(stage.blocks, handing(stage.blocks), strict=True)):
            row.append(Placed(index, number, block, site, hands))
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
        if isinstance(step, Placed) and step.hands:
            handed: Flow = self._template(step).run(weights, training, x, maps)
            return handed
        return self._template(step).run(weights, training, x), None

    def classify(self, flow: Flow) -> Tensor:
        """Return logits ``(B, num_classes)`` of the last step's map."""
        return self.supernet.ends.classify(flow[0])

    def _batch_norms(self, step: Step) -> list[str]:
        parts = self._template(step).module.named_modules()
        return [name for name, part in parts if isinstance(part, BATCH_NORMS)]

    def _template(self, step: Step) -> Template:
        if step not in self._templates:
            space = self.supernet.space
            if isinstance(step, Stem):
                plan = plan_stem(step.name, space.in_channels, step.site, space.style)
            elif isinstance(step, Downsample):
                dims = space.stages[step.stage - 1].dim, space.stages[step.stage].dim
                plan = plan_downsample(step.name, *dims)
            else:
                plan = plan_block(step.block, step.site, space.style, step.hands)
            module: nn.Module = template(plan)
            for part in module.modules():
                if isinstance(part, BATCH_NORMS):
                    part.momentum = None  # statistics are a plain average over batches
            self._templates[step] = Template(module.eval())
        return self._templates[step]

    def _fitting(self, step: Step) -> Weights:
        """Return the step's weights, laid out as those of an extracted subnet are."""
        if step not in self._weights:
            if isinstance(step, Stem):
                weights = state(self.supernet.stems[step.name])
            elif isinstance(step, Downsample):
                weights = state(self.supernet.downsamples[step.stage][step.name])  # type: ignore[index]
            else:
                elastic: ElasticBlock = self.supernet.stages[step.stage][step.number]  # type: ignore[index]
                weights = elastic.weights(step.block, step.site)
            self._weights[step] = {name: value.detach().contiguous() for name, value in weights.items()}
        return self._weights[step]
