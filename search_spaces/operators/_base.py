"""What every operator declares about itself without torch: its knobs, the encodings it admits, its cost.

The mathematics lives in the module that ``OperatorSpec.implementation`` names; this half is what a space
needs to declare, check and price an operator before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from search_spaces.checks import is_int

#: Positional encodings of a block.
POSITIONS = ("none", "ape", "rpe", "cpe", "lepe")

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
        default: Value where it is left out; blocks at this value do not write it. None for a knob that must
            be given.
        needs_predecessor: Values with which a block applies the attention maps of the block before it.
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
        if not (is_int(value) if self.kind is int else isinstance(value, self.kind)):
            return f"must be {'an integer' if self.kind is int else 'a word'}, not {value!r}"
        if self.allowed and value not in self.allowed:
            return f"must be one of {', '.join(map(str, self.allowed))}, not {value!r}"
        if isinstance(value, int):
            if value < self.minimum:
                return f"must be at least {self.minimum}, not {value}"
            if self.odd and value % 2 == 0:
                return f"must be odd, not {value}"
        return None

    def active(self, knobs: Mapping[str, object]) -> bool:
        """Return whether this knob has a meaning beside the other ``knobs``."""
        return self.when is None or knobs.get(self.when[0]) in self.when[1:]


@dataclass(frozen=True)
class FeatureMap:
    """The map that a block works on: what its operator is given.

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
class AttentionTerms:
    """Where the multiply-accumulates of an operator go; those that no term counts are its projections.

    Args:
        local: Products of queries with keys and of attention maps with values, inside windows or stripes.
        globally: The same among all positions of the map, or with all of a sub-sampled one.
        convolutions: Convolutions of feature maps, of values and of attention maps.
        window_area: Positions that attend together in a window or stripe; None without windows.
        key_area: Positions that share one key of a sub-sampled map; None without sub-sampled keys.
    """

    local: int = 0
    globally: int = 0
    convolutions: int = 0
    window_area: int | None = None
    key_area: int | None = None


@dataclass(frozen=True)
class OperatorSpec:
    """The torch-free half of an operator.

    Args:
        name: Spelling used in YAML, architectures and trials.
        summary: One line for people.
        paper: Where it comes from.
        knobs: Its knobs by name.
        pos: Positional encodings it admits, of ``POSITIONS``.
        incompatibility: ``(knobs, feature_map) -> sentence`` saying why the knobs cannot work on a map, or
            None.
        cost: ``(knobs, pos, feature_map) -> Cost`` of the operator with the encodings that live inside it
            (RPE, LePE); those around it (APE, CPE) are priced by the block.
        attention_terms: ``(knobs, pos, feature_map) -> AttentionTerms``: where the MACs of ``cost`` go.
        short: Spelling of knobs in compact strings.
        pos_has_no_effect: ``(knobs, pos) -> bool``: whether an admitted encoding has nothing to act on with
            these knobs.
        returns_attention: Whether the next block can apply its attention maps.
        admits_class_token: Whether it also works on a sequence with a class token, which has no position on
            the map.
        implementation: Dotted name of the module with its torch half; ``supernet.operators.<name>`` where
            left out.

    Raises:
        ValueError: If the name is no identifier, a knob's name is taken, or an encoding is unknown.
    """

    name: str
    summary: str
    paper: str
    knobs: Mapping[str, Knob]
    pos: tuple[str, ...]
    incompatibility: Callable[[Knobs, FeatureMap], str | None]
    cost: Callable[[Knobs, str, FeatureMap], Cost]
    attention_terms: Callable[[Knobs, str, FeatureMap], AttentionTerms]
    short: Mapping[str, str] = field(default_factory=dict)
    pos_has_no_effect: Callable[[Knobs, str], bool] = lambda knobs, pos: False
    returns_attention: bool = False
    admits_class_token: bool = False
    implementation: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():  # it names modules' attributes and parameters of trials
            raise ValueError(f"an operator's name must be an identifier, not '{self.name}'")
        if taken := sorted({"operator", "pos", "mlp_ratio"} & self.knobs.keys()):
            raise ValueError(
                f"operator '{self.name}' calls a knob '{taken[0]}', which every block has already"
            )
        if unknown := [pos for pos in self.pos if pos not in POSITIONS]:
            raise ValueError(f"operator '{self.name}' admits an unknown encoding '{unknown[0]}'")
        if not self.implementation:
            object.__setattr__(self, "implementation", f"supernet.operators.{self.name}")

    def with_defaults(self, knobs: Mapping[str, KnobValue]) -> dict[str, KnobValue]:
        """Return ``knobs`` with the defaults of those that are left out."""
        defaults = {name: knob.default for name, knob in self.knobs.items() if knob.default is not None}
        return {**defaults, **knobs}

    def canonical(self, knobs: Mapping[str, KnobValue], pos: str) -> tuple[dict[str, KnobValue], str]:
        """Return ``knobs`` and ``pos`` without those that have no meaning beside the others."""
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
            if not knob.active(knobs):
                if name in knobs:
                    assert knob.when is not None, "a knob without a condition is always active"
                    other, *values = knob.when
                    needed = " or ".join(map(str, values))
                    return f"knob '{name}' of '{self.name}' has a meaning only with {other}={needed}"
            elif name not in knobs:
                return f"operator '{self.name}' needs the knob '{name}'"
            elif why := knob.validation_error(knobs[name]):
                return f"knob '{name}' of '{self.name}' {why}"
        return None


def linear_params(inputs: int, outputs: int, bias: bool = True) -> int:
    """Return the parameters of a linear layer."""
    return inputs * outputs + (outputs if bias else 0)


def heads_incompatibility(feature_map: FeatureMap) -> str | None:
    """Return why the channels of ``feature_map`` cannot be divided among its heads, or None."""
    if feature_map.dim % feature_map.num_heads:
        return f"{feature_map.dim} channels cannot be divided among {feature_map.num_heads} heads"
    return None


def side_incompatibility(knob: str, value: KnobValue, feature_map: FeatureMap) -> str | None:
    """Return why the side length ``value`` of ``knob`` is larger than the map, or None."""
    side = min(feature_map.height, feature_map.width)
    if int(value) > side:
        return f"{knob} {value} does not fit {feature_map}; use at most {side}"
    return None


def kernel_incompatibility(knob: str, value: KnobValue, feature_map: FeatureMap) -> str | None:
    """Return why the rim of a kernel of side ``value`` never lies on the map, or None; a side of 3 fits any."""
    largest = max(3, 2 * min(feature_map.height, feature_map.width) - 1)
    if int(value) > largest:
        return f"{knob} {value} reaches beyond {feature_map}; use at most {largest}"
    return None


def round_up(size: int, multiple: int) -> int:
    """Round ``size`` up to a multiple."""
    return -(-size // multiple) * multiple


def windowed_tokens(window_size: int, feature_map: FeatureMap) -> int:
    """Return the positions of all square windows on a map, with the padding that completes the last ones."""
    return round_up(feature_map.height, window_size) * round_up(feature_map.width, window_size)
