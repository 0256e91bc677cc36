"""What every operator declares about itself without torch: its knobs, the encodings it admits, its cost.

The mathematics lives in ``supernet/operators/<name>.py``; this half is what a space needs to declare,
check and price an operator before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

KnobValue = int | str
Knobs = Mapping[str, KnobValue]


@dataclass(frozen=True)
class Knob:
    """One knob of an operator.

    Args:
        kind: ``int`` or ``str``.
        allowed: The only values allowed; empty for any integer >= ``minimum``.
        minimum: Smallest integer allowed.
        odd: Whether an integer must be odd.
        when: ``(other knob, value, ...)``: the values of another knob that make this one active; None for
            always.
        default: Value where it is left out; a block does not spell it. None for a knob that must be given.
        follows: Values that take the attention maps of the block before, so that one must stand there.
    """

    kind: type[int] | type[str] = int
    allowed: tuple[KnobValue, ...] = ()
    minimum: int = 1
    odd: bool = False
    when: tuple[str, *tuple[KnobValue, ...]] | None = None
    default: KnobValue | None = None
    needs_predecessor: tuple[KnobValue, ...] = ()

    def validation_error(self, value: object) -> str | None:
        """Return why ``value`` is not one of this knob's values, or None if it is."""
        if isinstance(value, bool) or not isinstance(value, self.kind):
            return f"must be {'an integer' if self.kind is int else 'a word'}, not {value!r}"
        if self.allowed and value not in self.allowed:
            return f"must be one of {', '.join(map(str, self.allowed))}, not {value!r}"
        if isinstance(value, int):
            if value < self.minimum:
                return f"must be at least {self.minimum}, not {value}"
            if self.odd and value % 2 == 0:
                return f"must be odd, not {value}"
        return None

    def active(self, knobs: Knobs) -> bool:
        """Return whether this knob has a meaning beside the other ``knobs``."""
        return self.when is None or knobs.get(self.when[0]) in self.when[1:]


@dataclass(frozen=True)
class FeatureMap:
    """Where a block stands: what its operator is given.

    Args:
        dim: Channels C.
        num_heads: Attention heads of the stage.
        height: Rows H of the feature map.
        width: Columns W of the feature map.
        qkv_bias: Whether the query, key and value projections have a bias.
        class_token: Whether a class token goes before the positions, as a sequence.
    """

    dim: int
    num_heads: int
    height: int
    width: int
    qkv_bias: bool = True
    class_token: bool = False

    @property
    def tokens(self) -> int:
        """Number of positions H·W, the class token included."""
        return self.height * self.width + self.class_token

    def __str__(self) -> str:
        return f"a {self.height}x{self.width} map of {self.dim} channels and {self.num_heads} heads"


@dataclass(frozen=True)
class Cost:
    """What a part of a network costs for one image.

    Args:
        macs: Multiply-accumulates of matrix products and convolutions (norms, softmax, biases not
            counted, as FLOP counters of the field do).
        params: Trainable parameters.
        working: Largest number of values alive at once inside the part, its input not counted.
    """

    macs: int = 0
    params: int = 0
    working: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params, max(self.working, other.working))


@dataclass(frozen=True)
class OperatorSpec:
    """The torch-free half of an operator.

    Args:
        name: Spelling used in YAML, architectures and trials.
        summary: One line for people.
        paper: Where it comes from.
        knobs: Its knobs by name.
        pos: Positional encodings it admits.
        misfit: ``(knobs, feature_map) -> sentence`` saying why the knobs cannot work at a site, or None.
        cost: ``(knobs, pos, feature_map) -> Cost`` of the operator with the encodings that live inside it
            (RPE, LePE); those around it (APE, CPE) are priced by the block.
        letter: Short code for compact strings.
        short: Spelling of knobs in compact strings.
        idle: ``(knobs, pos) -> bool``: whether an admitted encoding has nothing to act on with these knobs.
        hands_maps: Whether its attention maps can be handed on to the next block.
        sequence: Whether it also works on a sequence with a class token, which has no place on the map.
    """

    name: str
    letter: str
    summary: str
    paper: str
    knobs: Mapping[str, Knob]
    pos: tuple[str, ...]
    incompatibility: Callable[[Knobs, FeatureMap], str | None]
    cost: Callable[[Knobs, str, FeatureMap], Cost]
    short: Mapping[str, str] = field(default_factory=dict)
    pos_has_no_effect: Callable[[Knobs, str], bool] = lambda knobs, pos: False
    returns_attention: bool = False
    sequence: bool = False

    def with_defaults(self, knobs: Mapping[str, KnobValue]) -> dict[str, KnobValue]:
        """Return ``knobs`` with the defaults of those that are left out."""
        defaults = {name: knob.default for name, knob in self.knobs.items() if knob.default is not None}
        return {**defaults, **knobs}

    def canonical(self, knobs: Mapping[str, KnobValue], pos: str) -> tuple[dict[str, KnobValue], str]:
        """Return drawn ``knobs`` and ``pos`` without those that have no meaning beside the others."""
        full = self.with_defaults(knobs)
        active = {name: value for name, value in full.items() if self.knobs[name].active(full)}
        return active, "none" if self.pos_has_no_effect(active, pos) else pos

    def needs_previous_attention(self, knobs: Knobs) -> bool:
        """Return whether it applies the attention maps of the block before."""
        return any(knobs.get(name) in knob.needs_predecessor for name, knob in self.knobs.items())

    def validation_error(self, knobs: Mapping[str, object]) -> str | None:
        """Return what is wrong with ``knobs`` (missing, unknown, inactive or bad value), or None."""
        for name in knobs:
            if name not in self.knobs:
                return f"operator '{self.name}' has no knob '{name}' (it has: {', '.join(self.knobs)})"
        for name, knob in self.knobs.items():
            active = knob.when is None or knobs.get(knob.when[0]) in knob.when[1:]
            if active and name not in knobs:
                return f"operator '{self.name}' needs the knob '{name}'"
            if not active and name in knobs:
                needed = " or ".join(map(str, knob.when[1:]))  # type: ignore[index]
                return f"knob '{name}' of '{self.name}' has a meaning only with {knob.when[0]}={needed}"  # type: ignore[index]
            if active and (why := knob.validation_error(knobs[name])):
                return f"knob '{name}' of '{self.name}' {why}"
        return None


def linear_params(inputs: int, outputs: int, bias: bool = True) -> int:
    """Parameters of a linear layer."""
    return inputs * outputs + (outputs if bias else 0)


def heads_incompatibility(feature_map: FeatureMap, parts: int = 1) -> str | None:
    """Return why the heads of ``feature_map`` cannot be dealt to ``parts`` equal branches, or None."""
    if feature_map.dim % feature_map.num_heads:
        return f"{feature_map.dim} channels cannot be divided among {feature_map.num_heads} heads"
    if feature_map.num_heads % parts:
        return f"{feature_map.num_heads} heads cannot be halved between the two stripe directions"
    return None


def fit_side(knob: str, value: KnobValue, feature_map: FeatureMap) -> str | None:
    """Return why a side length cannot fit the map of ``feature_map``, or None."""
    side = min(feature_map.height, feature_map.width)
    if int(value) > side:
        return f"{knob} {value} does not fit {feature_map}; use at most {side}"
    return None


def up(size: int, multiple: int) -> int:
    """Round ``size`` up to a multiple."""
    return -(-size // multiple) * multiple
