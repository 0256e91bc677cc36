"""Space: a declared set of architectures, and how to draw from it, count it and walk in it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from random import Random
from typing import Any, Protocol, TypeVar

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.choices import Choice, StageChoices, Value, no_option
from search_spaces.closest import find_closest
from search_spaces.cost_tilting import CostTilting
from search_spaces.drawing import space_to_html, summarize_space
from search_spaces.draws import Draws, draw, sample_stage
from search_spaces.enumeration import Within, enumerate_designs
from search_spaces.errors import ArchitectureError, SpaceError
from search_spaces.extremes import find_extreme, macs_and_params
from search_spaces.operators import FeatureMap, operator
from search_spaces.skeleton import Style
from search_spaces.stage_maps import reachable_maps
from search_spaces.walk import Part

Option = TypeVar("Option")


class Trial(Protocol):
    """Anything that suggests like an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of ``choices``."""


@dataclass(frozen=True, repr=False)
class Space:
    """A declared set of architectures at one scale.

    Args:
        name: The declaration's name.
        scale: Which skeleton of the declaration.
        stages: What every stage may be.
        stems: Stems to choose from.
        image_sizes: Heights and widths in pixels to choose from, small ones first.
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
    image_sizes: tuple[tuple[int, int], ...]
    in_channels: int = 3
    num_classes: int = 1000
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages, start=1):
            self._check_shared_attention(number, stage)
        for _ in self._plain_skeletons():
            pass  # an architecture that exists has no empty map
        for number, (stage, maps) in enumerate(zip(self.stages, reachable_maps(self), strict=True), start=1):
            for (feature_map, entrance), block in itertools.product(maps.items(), stage.blocks):
                if why := block.incompatibility(feature_map):
                    height, width = entrance.image_size
                    raise SpaceError(
                        f"space '{self.name}', scale '{self.scale}', stage {number}, operator "
                        f"'{block.operator}': {why} (images of {height}x{width} px, stem {entrance.stem})"
                    )

    def _check_shared_attention(self, number: int, stage: StageChoices) -> None:
        """Refuse blocks that apply the attention maps of the block before where that may not have any."""
        if len(stage.first_blocks) == len(stage.blocks):
            return
        place = f"space '{self.name}', scale '{self.scale}', stage {number}: {stage.blocks[-1]}"
        names = [choice.name for choice in stage.operators]
        if silent := [name for name in names if not operator(name).returns_attention]:
            raise SpaceError(
                f"{place} takes the attention maps of the block before, which may be '{silent[0]}' and hand none on"
            )
        if set(names) - {block.operator for block in stage.first_blocks}:
            raise SpaceError(
                f"{place} takes the attention maps of the block before, but no option suits the first block, "
                "which has none before it; offer maps refined or plain too"
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """The largest height and width in pixels that a design may be for."""
        return self.image_sizes[-1]

    def at_image_size(self, image_size: tuple[int, int]) -> Space:
        """Return the part of the space whose designs are for images of one size."""
        if image_size not in self._by_size:
            self._by_size[image_size] = replace(self, image_sizes=(image_size,))
        return self._by_size[image_size]

    @cached_property
    def _by_size(self) -> dict[tuple[int, int], Space]:
        # Kept with what they know of themselves, such as their largest design, as every training step asks for one.
        return {self.image_size: self} if len(self.image_sizes) == 1 else {}

    def _plain_skeletons(self) -> Iterator[Architecture]:
        """Yield an architecture of one plain block a stage, at its first width, for every other macro choice."""
        # A block that fits any map, or any sequence with a class token.
        if self.style.class_token:
            block = Block("gsa", (("sr_ratio", 1),))
        else:
            block = Block("dwconv", (("kernel_size", 3), ("dynamic", "none")))
        downsamples = (stage.downsamples for stage in self.stages[1:])
        macros = itertools.product(self.image_sizes, self.stems, itertools.product(*downsamples))
        for image_size, stem, names in macros:
            try:
                stages = tuple(
                    Stage(*stage.widths.pairs[0], (block,), downsample)
                    for stage, downsample in zip(self.stages, (None, *names), strict=True)
                )
                yield self.with_stages(stages, stem, image_size)
            except ArchitectureError as error:
                raise SpaceError(f"space '{self.name}', scale '{self.scale}': {error}") from None

    def with_one_operator(self) -> Iterator[Space]:
        """Yield for every operator that all stages offer, and may begin with, the part of the space without others."""
        offered = [{block.operator for block in stage.first_blocks} for stage in self.stages]
        for name in sorted(set.intersection(*offered)):
            yield replace(
                self,
                stages=tuple(
                    replace(
                        stage, operators=tuple(choice for choice in stage.operators if choice.name == name)
                    )
                    for stage in self.stages
                ),
            )

    def feature_maps(self, stem: str | None = None) -> tuple[FeatureMap, ...]:
        """Return for every stage a map as high, wide and deep, and with as many heads, as any that it may have.

        Args:
            stem: The only stem to look at; all where it is left out.
        """
        largest = []
        for stage, maps in zip(self.stages, reachable_maps(self, stem), strict=True):
            dim, num_heads = stage.widths.largest
            height, width = max(m.height for m in maps), max(m.width for m in maps)
            largest.append(
                replace(next(iter(maps)), dim=dim, num_heads=num_heads, height=height, width=width)
            )
        return tuple(largest)

    def with_stages(self, stages: tuple[Stage, ...], stem: str, image_size: tuple[int, int]) -> Architecture:
        """Return an architecture of this space's style; its stages, stem and size are not checked."""
        return Architecture(stages, image_size, self.in_channels, self.num_classes, stem, self.style)

    # -- choices ---------------------------------------------------------------------------------

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The fixed list of decisions with more than one option."""
        return tuple(choice for choice in self._decisions if len(choice.options) > 1)

    @cached_property
    def _draws(self) -> Draws:
        return Draws(self.choices)

    @cached_property
    def _decisions(self) -> tuple[Choice, ...]:
        stages = (stage.decisions(name) for name, stage in self._named_stages())
        # One size is no decision: spaces without this choice keep their digest.
        sizes = (Choice("image_size", tuple(self._sizes)),) if len(self.image_sizes) > 1 else ()
        return (Choice("stem", self.stems), *sizes, *itertools.chain.from_iterable(stages))

    @cached_property
    def _forced(self) -> dict[str, Value]:
        """The decisions with one option."""
        return {choice.name: choice.options[0] for choice in self._decisions if len(choice.options) == 1}

    @cached_property
    def _sizes(self) -> dict[Value, tuple[int, int]]:
        """The sizes by their options: the side of a square, ``HxW`` of another."""
        return {h if h == w else f"{h}x{w}": (h, w) for h, w in self.image_sizes}

    def _named_stages(self) -> Iterator[tuple[str, StageChoices]]:
        return ((f"stage{number}", stage) for number, stage in enumerate(self.stages, start=1))

    def suggest(self, trial: Trial) -> Architecture:
        """Ask ``trial`` for every choice and return the architecture they make."""
        return self.assemble({c.name: trial.suggest_categorical(c.name, c.options) for c in self.choices})

    def assemble(self, values: Mapping[str, Value]) -> Architecture:
        """Return the architecture that the choices ``values`` make; inactive ones have no effect.

        Choices with one option may be left out.

        Raises:
            SpaceError: If a value is missing or is no option of its choice.
        """
        full: dict[str, Any] = dict(self._forced)
        for choice in self._decisions:
            name = choice.name
            value = full[name] = values.get(name, full.get(name))
            if value not in choice.options:
                raise SpaceError(
                    f"choice '{name}' must be one of {', '.join(map(str, choice.options))}, not {value!r}"
                )
        stages = tuple(stage.assemble(name, full) for name, stage in self._named_stages())
        image_size = self._sizes[full["image_size"]] if "image_size" in full else self.image_size
        return self.with_stages(stages, full["stem"], image_size)

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
        first = {choice.name: choice.options[0] for choice in self.choices}
        values = first if rng is None else self._draws(rng)
        sizes = {size: option for option, size in self._sizes.items()}
        active: dict[str, Value] = {"stem": architecture.stem, "image_size": sizes[architecture.image_size]}
        for (name, choices), stage in zip(self._named_stages(), architecture.stages, strict=True):
            active.update(choices.values(name, stage))
        return {name: active.get(name, value) for name, value in values.items()}

    # -- membership ------------------------------------------------------------------------------

    def contains(self, architecture: Architecture) -> bool:
        """Return whether ``architecture`` is a point of this space; cheap enough to ask at every step."""
        return self.incompatibility(architecture) is None

    def incompatibility(self, architecture: Architecture) -> str | None:
        """Return the first thing that keeps ``architecture`` out of this space, in words, or None."""
        return next(self._incompatibilities(architecture), None)

    def _incompatibilities(self, architecture: Architecture) -> Iterator[str]:
        if architecture.image_size not in self.image_sizes:
            sizes = " or ".join(map(str, self.image_sizes))
            yield f"image_size is {architecture.image_size}, not {sizes}"
        for name in ("in_channels", "num_classes"):
            if getattr(architecture, name) != getattr(self, name):
                yield f"{name} is {getattr(architecture, name)}, not {getattr(self, name)}"
        for part in fields(Style) if architecture.style != self.style else ():
            own, given = getattr(self.style, part.name), getattr(architecture.style, part.name)
            if own != given:
                yield f"style {part.name} is {given}, not {own}"
        if architecture.stem not in self.stems:
            yield no_option("stem", architecture.stem, self.stems)
        if len(architecture.stages) != len(self.stages):
            yield f"it has {len(architecture.stages)} stages, not {len(self.stages)}"
        for (name, choices), stage in zip(self._named_stages(), architecture.stages, strict=False):
            yield from choices.incompatibilities(name, stage)

    # -- counting and drawing --------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        return len(self.image_sizes) * len(self.stems) * math.prod(stage.size for stage in self.stages)

    def sample(self, rng: Random, uniform_over: str = "choices") -> Architecture:
        """Draw an architecture.

        Args:
            rng: Source of randomness.
            uniform_over: ``choices`` draws each decision evenly (as a random sampler would);
                ``architectures`` makes every distinct architecture equally likely.
        """
        if uniform_over == "choices":
            return self.assemble(self._draws(rng))
        if uniform_over == "architectures":
            stages = tuple(sample_stage(stage, rng) for stage in self.stages)
            return self.with_stages(stages, rng.choice(self.stems), draw(self.image_sizes, rng))
        raise SpaceError(f"uniform_over must be 'choices' or 'architectures', not '{uniform_over}'")

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
        distinct = {
            neighbour.digest: neighbour
            for choice in self.choices
            for option in choice.options
            if option != values[choice.name]
            and (neighbour := self.assemble({**values, choice.name: option})) != architecture
        }
        return tuple(distinct.values())

    def enumerate(self, within: Within | None = None) -> Iterator[Architecture]:
        """Yield every architecture exactly once, in a fixed order, or those within limits alone.

        Raises:
            WalkTooLong: If ``within`` allows fewer steps than it takes.
        """
        return enumerate_designs(self, within or Within())

    @cached_property
    def smallest(self) -> Architecture:
        """The architecture of fewest MACs (then parameters)."""
        return find_extreme(self, min, macs_and_params)

    @cached_property
    def largest(self) -> Architecture:
        """The architecture of most MACs (then parameters)."""
        return find_extreme(self, max, macs_and_params)

    @cached_property
    def cost_tilting(self) -> CostTilting:
        """Draws designs evenly over their MACs; kept, as training asks at every step."""
        return CostTilting(self)

    def __getstate__(self) -> dict[str, object]:
        """Leave out, when copied or sent, how designs are drawn by cost: its caches cannot be."""
        return {name: value for name, value in vars(self).items() if name != "cost_tilting"}

    def cheapest(self, part_size: Callable[[Part, Style], float]) -> Architecture:
        """Return the architecture whose parts cost least in all, exactly (then fewest MACs and parameters)."""
        return find_extreme(
            self, min, lambda part, style: (part_size(part, style), *macs_and_params(part, style))
        )

    def closest(self, macs: float, like: Architecture | None = None) -> Architecture:
        """Return a design of about so many MACs, which no single choice brings nearer.

        Args:
            macs: Multiply-accumulates for one image.
            like: A design whose operators and proportions it follows.

        Raises:
            SpaceError: If no design of this space is like that.
        """
        return find_closest(self, macs, like)

    # -- identity --------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """Identity of the choices and the skeleton; studies of different spaces do not mix."""
        content = {
            "choices": [[choice.name, list(choice.options)] for choice in self._decisions],
            "skeleton": [skeleton.to_json() for skeleton in self._plain_skeletons()],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    __str__ = summarize_space
    _repr_html_ = space_to_html

    def __repr__(self) -> str:
        return f"<Space {self}>"
