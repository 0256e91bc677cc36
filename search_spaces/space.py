"""Space: a declared set of architectures, and how to draw from it, count it and walk in it.

Every draw goes through one fixed list of named choices (``stage2.block3.operator``), inactive ones
included: NSGA-II evolves only parameters that all trials share, and TPE models them jointly. An
architecture holds active choices alone, so draws that differ only in inactive ones are equal.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from random import Random
from typing import Any, Protocol

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.cost import block_cost, costs
from search_spaces.errors import ArchitectureError, SpaceError
from search_spaces.operators import FeatureMap, KnobValue, operator
from search_spaces.skeleton import Style

Value = str | int | float

_CONVOLUTION: dict[str, KnobValue] = {"kernel_size": 3, "dynamic": "none"}


def _names(of: type, *apart: str) -> tuple[str, ...]:
    return tuple(part.name for part in fields(of) if part.name not in apart)


# What all points of a space have in common.
_OF_ALL = _names(Architecture, "stages", "stem", "style")
_OF_STAGE = _names(Stage, "blocks", "downsample")
_OF_STYLE = _names(Style)


class Trial(Protocol):
    """Anything that suggests like an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of ``choices``."""


@dataclass(frozen=True)
class Choice:
    """One named decision with its options."""

    name: str
    options: tuple[Value, ...]


@dataclass(frozen=True)
class OperatorChoices:
    """An operator that a block may choose, with the options of its knobs and its encodings.

    Args:
        name: The operator.
        knobs: ``(knob, options)`` pairs.
        pos: Positional encodings to choose from.
    """

    name: str
    knobs: tuple[tuple[str, tuple[KnobValue, ...]], ...]
    pos: tuple[str, ...]

    def settings(self) -> Iterator[tuple[dict[str, KnobValue], str]]:
        """Yield every distinct ``(active knobs, pos)``."""
        spec, seen = operator(self.name), set()
        for values in itertools.product(*(options for _, options in self.knobs)):
            drawn = dict(zip((name for name, _ in self.knobs), values, strict=True))
            for word in self.pos:
                active, pos = spec.canonical(drawn, word)
                key = (*active.items(), pos)
                if key not in seen:
                    seen.add(key)
                    yield active, pos

    def drawn_pos(self, block: Block) -> str | None:
        """Return the option that gives ``block`` its encoding, or None; one that is idle there gives none."""
        return next((w for w in self.pos if block.spec.canonical(block.settings, w)[1] == block.pos), None)


@dataclass(frozen=True)
class StageChoices:
    """What a stage may be; every block of it has the same choices.

    The first block alone has fewer where blocks may take the attention maps of the one before.

    Args:
        dim: Channels.
        num_heads: Attention heads.
        depths: Numbers of blocks to choose from.
        operators: Operators to choose from.
        mlp_ratios: Ratios to choose from.
        downsamples: Downsamplings to choose from; empty in the first stage.
    """

    dim: int
    num_heads: int
    depths: tuple[int, ...]
    operators: tuple[OperatorChoices, ...]
    mlp_ratios: tuple[float, ...]
    downsamples: tuple[str, ...] = ()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every block that may stand in this stage, those that may come first ahead of the others."""
        found = (
            Block(choice.name, tuple(knobs.items()), pos, ratio)
            for choice in self.operators
            for knobs, pos in choice.settings()
            for ratio in self.mlp_ratios
        )
        return tuple(sorted(found, key=lambda block: block.needs_previous_attention))

    @cached_property
    def first_blocks(self) -> tuple[Block, ...]:
        """Every block that may come first: it takes no maps of a block before."""
        return tuple(block for block in self.blocks if not block.needs_previous_attention)

    def num_sequences(self, depth: int) -> int:
        """Return how many different rows of ``depth`` blocks there are."""
        rest: int = len(self.blocks) ** (depth - 1)
        return len(self.first_blocks) * rest

    @cached_property
    def block_set(self) -> frozenset[Block]:
        """The same blocks, to look one up."""
        return frozenset(self.blocks)

    @cached_property
    def shared(self) -> dict[str, tuple[Value, ...]]:
        """Knobs (and ``pos``) whose options are the same for every operator that has them.

        These are drawn once a block under their own name; others are qualified by their operator.
        """
        options: dict[str, set[tuple[Value, ...]]] = {}
        for choice in self.operators:
            for name, values in (*choice.knobs, ("pos", choice.pos)):
                options.setdefault(name, set()).add(tuple(values))
        return {name: next(iter(values)) for name, values in options.items() if len(values) == 1}

    def incompatibilities(self, place: str, stage: Stage) -> Iterator[str]:
        """Yield what keeps ``stage``, which stands at ``place``, from being one of these choices."""
        for name in _OF_STAGE:
            if getattr(stage, name) != getattr(self, name):
                yield f"{place} has {name} {getattr(stage, name)}, not {getattr(self, name)}"
        if stage.downsample not in (self.downsamples or (None,)):
            yield _no_option(f"{place}.downsample", stage.downsample, self.downsamples)
        if len(stage.blocks) not in self.depths:
            yield _no_option(f"{place}.depth", len(stage.blocks), self.depths)
        for number, block in enumerate(stage.blocks, start=1):
            if block not in self.block_set:
                yield from self._block_incompatibilities(f"{place}.block{number}", block)

    def _block_incompatibilities(self, place: str, block: Block) -> Iterator[str]:
        named = {choice.name: choice for choice in self.operators}
        if block.operator not in named:
            yield _no_option(f"{place}.operator", block.operator, tuple(named))
            return
        choice = named[block.operator]
        options = dict(choice.knobs)
        for name, value in block.settings.items():
            block_set = options.get(name, (block.spec.knobs[name].default,))
            if value not in block_set:
                yield _no_option(f"{place}.{name}", value, block_set)
        if choice.drawn_pos(block) is None:
            yield _no_option(f"{place}.pos", block.pos, choice.pos)
        if block.mlp_ratio not in self.mlp_ratios:
            yield _no_option(f"{place}.mlp_ratio", f"{block.mlp_ratio:g}", self.mlp_ratios)

    def parameter(self, choice: OperatorChoices, knob: str) -> str:
        """Return the name under which a block draws ``knob`` of the operator ``choice``."""
        return knob if knob in self.shared else f"{choice.name}.{knob}"


@dataclass(frozen=True)
class Space:
    """A declared set of architectures at one scale.

    Args:
        name: The declaration's name.
        scale: Which skeleton of the declaration.
        stages: What every stage may be.
        stems: Stems to choose from.
        image_size: Height and width in pixels.
        in_channels: Channels of the images.
        num_classes: Outputs of the classifier.
        style: How blocks are put together.

    Raises:
        SpaceError: If some choice cannot fit the map of its stage, naming stage and knob.
    """

    name: str
    scale: str
    stages: tuple[StageChoices, ...]
    stems: tuple[str, ...]
    image_size: tuple[int, int]
    in_channels: int = 3
    num_classes: int = 1000
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages, start=1):
            self._check_maps_are_handed(number, stage)
        for skeleton in self._skeletons():
            for index, stage in enumerate(self.stages):
                feature_map = skeleton.feature_map(index)
                for block in stage.blocks:
                    if why := block.incompatibility(feature_map):
                        raise SpaceError(
                            f"space '{self.name}', scale '{self.scale}', stage {index + 1}, operator "
                            f"'{block.operator}': {why} (images of {self.image_size[0]}x{self.image_size[1]} px, "
                            f"stem {skeleton.stem})"
                        )

    def _check_maps_are_handed(self, number: int, stage: StageChoices) -> None:
        """Refuse blocks that take the maps of the block before where that one may not have any."""
        if len(stage.first_blocks) == len(stage.blocks):
            return
        place = f"space '{self.name}', scale '{self.scale}', stage {number}: {stage.blocks[-1]}"
        if silent := [
            choice.name for choice in stage.operators if not operator(choice.name).returns_attention
        ]:
            raise SpaceError(
                f"{place} takes the attention maps of the block before, which may be '{silent[0]}' and hand none on"
            )
        if len(
            {choice.name for choice in stage.operators} - {block.operator for block in stage.first_blocks}
        ):
            raise SpaceError(
                f"{place} takes the attention maps of the block before, but no option suits the first block, "
                "which has none before it; offer maps refined or plain too"
            )

    def _skeletons(self) -> Iterator[Architecture]:
        """Yield one carrier architecture for every combination of stem and downsamplings."""
        for stem, *downsamples in itertools.product(self.stems, *(s.downsamples for s in self.stages[1:])):
            # The carrier only measures the maps; these fit any map, and any sequence with a class token.
            fits = ("gsa", {"sr_ratio": 1}) if self.style.class_token else ("dwconv", _CONVOLUTION)
            carrier = (Block(fits[0], tuple(fits[1].items())),)
            try:
                yield Architecture(
                    tuple(
                        Stage(stage.dim, stage.num_heads, carrier, downsample)
                        for stage, downsample in zip(self.stages, (None, *downsamples), strict=True)
                    ),
                    self.image_size,
                    self.in_channels,
                    self.num_classes,
                    stem,
                    self.style,
                )
            except ArchitectureError as error:
                raise SpaceError(f"space '{self.name}', scale '{self.scale}': {error}") from None

    def feature_maps(self, stem: str | None = None) -> tuple[FeatureMap, ...]:
        """Return for every stage the largest map that any combination of stem and downsamplings gives.

        Args:
            stem: The only stem to look at; all where it is left out.
        """
        skeletons = [skeleton for skeleton in self._skeletons() if stem in (None, skeleton.stem)]
        feature_maps = []
        for index in range(len(self.stages)):
            found = [skeleton.feature_map(index) for skeleton in skeletons]
            height, width = max(s.height for s in found), max(s.width for s in found)
            feature_maps.append(replace(found[0], height=height, width=width))
        return tuple(feature_maps)

    # -- choices ---------------------------------------------------------------------------------

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The fixed list of decisions with more than one option."""
        return tuple(choice for choice in self._all_choices if len(choice.options) > 1)

    @cached_property
    def _all_choices(self) -> tuple[Choice, ...]:
        return tuple(self._decisions())

    def _decisions(self) -> Iterator[Choice]:
        yield Choice("stem", self.stems)
        for index, stage in enumerate(self.stages, start=1):
            if stage.downsamples:
                yield Choice(f"stage{index}.downsample", stage.downsamples)
            yield Choice(f"stage{index}.depth", stage.depths)
            for block in range(1, max(stage.depths) + 1):
                place = f"stage{index}.block{block}"
                yield Choice(f"{place}.operator", tuple(choice.name for choice in stage.operators))
                named: dict[str, tuple[Value, ...]] = {}
                for choice in stage.operators:
                    spec = operator(choice.name)
                    for knob, options in (*choice.knobs, ("pos", choice.pos)):
                        barred = spec.knobs[knob].needs_predecessor if block == 1 and knob != "pos" else ()
                        kept = tuple(option for option in options if option not in barred)
                        named[stage.parameter(choice, knob)] = kept
                for name, values in named.items():
                    yield Choice(f"{place}.{name}", values)
                yield Choice(f"{place}.mlp_ratio", stage.mlp_ratios)

    def suggest(self, trial: Trial) -> Architecture:
        """Draw every choice from ``trial`` and return the architecture they make."""
        return self.assemble({c.name: trial.suggest_categorical(c.name, c.options) for c in self.choices})

    def assemble(self, values: Mapping[str, Value]) -> Architecture:
        """Return the architecture that the choices ``values`` make; inactive ones have no effect.

        Choices with one option may be left out.

        Raises:
            SpaceError: If a value is missing or is no option of its choice.
        """
        taken: dict[str, Any] = {}
        for choice in self._all_choices:
            value = values.get(choice.name, choice.options[0] if len(choice.options) == 1 else None)
            if value not in choice.options:
                raise SpaceError(
                    f"choice '{choice.name}' must be one of {', '.join(map(str, choice.options))}, not {value!r}"
                )
            taken[choice.name] = value
        stages = []
        for index, stage in enumerate(self.stages, start=1):
            blocks = []
            for number in range(1, taken[f"stage{index}.depth"] + 1):
                place = f"stage{index}.block{number}"
                chosen = next(c for c in stage.operators if c.name == taken[f"{place}.operator"])
                drawn = {knob: taken[f"{place}.{stage.parameter(chosen, knob)}"] for knob, _ in chosen.knobs}
                spec = operator(chosen.name)
                active, pos = spec.canonical(drawn, taken[f"{place}.{stage.parameter(chosen, 'pos')}"])
                blocks.append(Block(chosen.name, tuple(active.items()), pos, taken[f"{place}.mlp_ratio"]))
            stages.append(
                Stage(stage.dim, stage.num_heads, tuple(blocks), taken.get(f"stage{index}.downsample"))
            )
        return self._architecture(tuple(stages), taken["stem"])

    def _architecture(self, stages: tuple[Stage, ...], stem: str) -> Architecture:
        return Architecture(stages, self.image_size, self.in_channels, self.num_classes, stem, self.style)

    def values(self, architecture: Architecture, rng: Random | None = None) -> dict[str, Value]:
        """Return choices that make ``architecture``.

        Args:
            architecture: A point of this space.
            rng: Draws the inactive choices; they take their first option where it is left out.

        Raises:
            SpaceError: If the architecture is not in this space.
        """
        if why := self.incompatibility(architecture):
            raise SpaceError(
                f"architecture {architecture.digest} is not in space '{self.name}' ({self.scale}): {why}"
            )
        values: dict[str, Value] = {
            choice.name: choice.options[0] if rng is None else rng.choice(choice.options)
            for choice in self.choices
        }

        def settle(name: str, value: Value) -> None:
            if name in values:
                values[name] = value

        settle("stem", architecture.stem)
        for index, (stage, chosen) in enumerate(zip(self.stages, architecture.stages, strict=False), start=1):
            settle(f"stage{index}.downsample", chosen.downsample or "")
            settle(f"stage{index}.depth", len(chosen.blocks))
            for number, block in enumerate(chosen.blocks, start=1):
                place = f"stage{index}.block{number}"
                settle(f"{place}.operator", block.operator)
                settle(f"{place}.mlp_ratio", block.mlp_ratio)
                for choice in stage.operators:
                    if choice.name == block.operator:
                        pos = choice.drawn_pos(block) or block.pos
                        for knob, value in (*block.settings.items(), ("pos", pos)):
                            settle(f"{place}.{stage.parameter(choice, knob)}", value)
        return values

    def contains(self, architecture: Architecture) -> bool:
        """Return whether ``architecture`` is a point of this space; cheap enough to ask at every step."""
        return self.incompatibility(architecture) is None

    def incompatibility(self, architecture: Architecture) -> str | None:
        """Return the first thing that keeps ``architecture`` out of this space, in words, or None."""
        return next(self._misfits(architecture), None)

    def _misfits(self, architecture: Architecture) -> Iterator[str]:
        for name in _OF_ALL:
            if getattr(architecture, name) != getattr(self, name):
                yield f"{name} is {getattr(architecture, name)}, not {getattr(self, name)}"
        for name in _OF_STYLE if architecture.style != self.style else ():
            own, given = getattr(self.style, name), getattr(architecture.style, name)
            if own != given:
                yield f"style {name} is {given}, not {own}"
        if architecture.stem not in self.stems:
            yield _no_option("stem", architecture.stem, self.stems)
        if len(architecture.stages) != len(self.stages):
            yield f"it has {len(architecture.stages)} stages, not {len(self.stages)}"
        for index, (stage, chosen) in enumerate(zip(self.stages, architecture.stages, strict=False), start=1):
            yield from stage.incompatibilities(f"stage{index}", chosen)

    # -- counting and drawing --------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        total = len(self.stems)
        for stage in self.stages:
            total *= max(1, len(stage.downsamples)) * sum(
                stage.num_sequences(depth) for depth in stage.depths
            )
        return total

    def sample(self, rng: Random, uniform_over: str = "choices") -> Architecture:
        """Draw an architecture.

        Args:
            rng: Source of randomness.
            uniform_over: ``choices`` draws each decision evenly (as a random sampler would);
                ``architectures`` makes every distinct architecture equally likely.
        """
        if uniform_over == "choices":
            return self.assemble({choice.name: rng.choice(choice.options) for choice in self.choices})
        if uniform_over != "architectures":
            raise SpaceError(f"uniform_over must be 'choices' or 'architectures', not '{uniform_over}'")
        stages = []
        for stage in self.stages:
            num_sequences = [stage.num_sequences(depth) for depth in stage.depths]
            # Python integers: the number of ways can exceed what a float can weigh exactly.
            ticket = rng.randrange(sum(num_sequences))
            depth = next(
                d
                for d, end in zip(stage.depths, itertools.accumulate(num_sequences), strict=True)
                if ticket < end
            )
            blocks = tuple(rng.choice(stage.blocks if n else stage.first_blocks) for n in range(depth))
            downsample = rng.choice(stage.downsamples) if stage.downsamples else None
            stages.append(Stage(stage.dim, stage.num_heads, blocks, downsample))
        return self._architecture(tuple(stages), rng.choice(self.stems))

    def mutate(self, architecture: Architecture, rng: Random, rate: float = 0.1) -> Architecture:
        """Return a different architecture in which each choice was redrawn with probability ``rate``.

        Raises:
            SpaceError: If the architecture is not in this space, or the space has no other.
        """
        if self.size == 1:
            raise SpaceError(f"space '{self.name}' holds a single architecture: nothing to mutate to")
        # Inactive choices are drawn, so that a block which becomes active is not always the first option.
        values = self.values(architecture, rng)
        while True:
            child = dict(values)
            for choice in self.choices:
                if rng.random() < rate:
                    child[choice.name] = rng.choice(choice.options)
            forced = rng.choice(self.choices)  # at least one redraw, so that small rates end too
            child[forced.name] = rng.choice(forced.options)
            mutant = self.assemble(child)
            if mutant != architecture:
                return mutant

    def crossover(self, one: Architecture, other: Architecture, rng: Random) -> Architecture:
        """Return a child that takes each choice from either parent with equal probability."""
        first, second = self.values(one, rng), self.values(other, rng)
        return self.assemble({name: (first if rng.random() < 0.5 else second)[name] for name in first})

    def neighbours(self, architecture: Architecture) -> tuple[Architecture, ...]:
        """Return every other architecture that differs in a single choice."""
        values = self.values(architecture)
        found = {
            neighbour.digest: neighbour
            for choice in self.choices
            for option in choice.options
            if option != values[choice.name]
            and (neighbour := self.assemble({**values, choice.name: option})) != architecture
        }
        return tuple(found.values())

    @cached_property
    def smallest(self) -> Architecture:
        """The architecture of fewest MACs (then parameters)."""
        return self._extreme(min)

    @cached_property
    def largest(self) -> Architecture:
        """The architecture of most MACs (then parameters)."""
        return self._extreme(max)

    def _extreme(self, pick: Any) -> Architecture:
        # Costs add up over blocks, so the extreme network has the extreme block everywhere it may stand.
        candidates = []
        for skeleton in self._skeletons():
            stages = []
            for index, stage in enumerate(self.stages):
                feature_map = skeleton.feature_map(index)
                first, other = (
                    pick(blocks, key=lambda b, s=feature_map: _weight(block_cost(b, s, self.style)))
                    for blocks in (stage.first_blocks, stage.blocks)
                )
                blocks = (first, *(other,) * (pick(stage.depths) - 1))
                downsample = skeleton.stages[index].downsample
                stages.append(Stage(stage.dim, stage.num_heads, blocks, downsample))
            candidates.append(self._architecture(tuple(stages), skeleton.stem))
        extreme: Architecture = pick(candidates, key=lambda a: _weight(costs(a)))
        return extreme

    # -- identity --------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """Identity of the choices and the skeleton; studies of different spaces do not mix."""
        content = {
            "choices": [[choice.name, list(choice.options)] for choice in self._all_choices],
            "skeleton": [skeleton.to_json() for skeleton in self._skeletons()],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        magnitude = f"{self.size:,}" if self.size < 10**6 else f"about 10^{math.log10(self.size):.0f}"
        return (
            f"{self.name}/{self.scale}: {magnitude} architectures, {len(self.choices)} choices, "
            f"{len(self.stages)} stages, {self.image_size[0]}x{self.image_size[1]} px"
        )


def _no_option(choice: str, value: object, options: Iterable[object]) -> str:
    """Return that a value is no option of a choice, in words."""
    return f"{choice} is {value}, not one of {', '.join(map(str, options))}"


def _weight(cost: Any) -> tuple[int, int]:
    return cost.macs, cost.params
