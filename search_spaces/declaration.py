"""YAML declarations of spaces: reading them, and saying exactly what is wrong with them.

A declaration gives the choices of a block once (``blocks``) and one or more ``scales`` of the
skeleton; a stage may replace a list of options or leave an operator out (``null``).

An operator of another package is named as ``module:NAME``, which imports that module: reading a declaration
that does so runs the module's code. Only dotted names of installed modules are accepted, never paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from search_spaces.choices import OperatorChoices, StageChoices
from search_spaces.errors import ArchitectureError, SpaceError, nearest
from search_spaces.geometry import downsample_geometry, stem_geometry
from search_spaces.limits import CHANNELS, DEPTH, SIDE, STAGES
from search_spaces.operators import Knob, OperatorSpec, import_operator, is_operator, operator, operator_names
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.widths import CombinedWidths, ListedWidths, WidthChoices
from search_spaces.yaml_reader import YamlReader

_TOP = ("name", "summary", "blocks", "scales")
_BLOCKS = ("operators", "mlp_ratio")
_SCALE = ("images", "image_size", "stem", "style", "stages")
_WIDTH = ("dim", "num_heads", "head_dim")
_STAGE = (*_WIDTH, "width", "depth", "downsample", "operators", "mlp_ratio")


@dataclass(frozen=True)
class Declaration:
    """A space's declaration as read: raw content, checked as scales are asked for.

    Args:
        source: Where it came from, for messages.
        text: The YAML itself, kept with every study.
        content: The parsed mapping.
    """

    source: str
    text: str
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The declared name."""
        return str(self.content["name"])

    @property
    def summary(self) -> str:
        """One line for people."""
        return str(self.content.get("summary", ""))

    @property
    def scales(self) -> dict[str, tuple[int, int]]:
        """Smallest and largest image side in pixels that each scale is meant for."""
        return {name: self._images(name) for name in self.content["scales"]}

    def scale_for(self, image_size: int) -> str:
        """Return the scale meant for images of side ``image_size``.

        Raises:
            SpaceError: If no scale is.
        """
        for name, (low, high) in self.scales.items():
            if low <= image_size <= high:
                return name
        ranges = ", ".join(f"{name} {low}-{high} px" for name, (low, high) in self.scales.items())
        raise SpaceError(
            f"{self.source}: no scale is meant for images of {image_size} px ({ranges}); name one with --scale, "
            "or other images with --image-size"
        )

    def nearest_side(self, side: int) -> int:
        """Return ``side``, or the side nearest to it that a scale is meant for (of the earlier of two as near)."""
        ends = (min(max(side, low), high) for low, high in self.scales.values())
        return min(ends, key=lambda end: abs(end - side))

    def space(
        self,
        scale: str | None = None,
        image_size: int | None = None,
        in_channels: int = 3,
        num_classes: int = 1000,
    ) -> Space:
        """Return the space at one scale, for images of a given kind.

        Args:
            scale: Name of the scale; chosen by ``image_size`` where it is left out.
            image_size: Side of the images in pixels; the scale's smallest where it is left out. Of the sizes that a
                scale lets a design choose, those above it are left out: images are made smaller, never larger.
            in_channels: Channels of the images.
            num_classes: Outputs of the classifier.

        Raises:
            SpaceError: If the declaration is wrong or a choice cannot fit its stage's map.
        """
        if scale is None:
            scale = next(iter(self.content["scales"])) if image_size is None else self.scale_for(image_size)
        if scale not in self.content["scales"]:
            raise SpaceError(
                f"{self.source}: unknown scale '{scale}' ({nearest(scale, self.content['scales'])})"
            )
        key = f"scales.{scale}"
        node = self._reader.mapping(self.content["scales"][scale], key, _SCALE, ("images", "stem", "stages"))
        stems = self._reader.words(node["stem"], f"{key}.stem", stem_geometry)
        try:
            style = Style.from_json(node.get("style", {}))
        except ArchitectureError as error:
            raise self._reader.error(f"{key}.style", str(error)) from None
        if not isinstance(node["stages"], list) or not node["stages"]:
            raise self._reader.error(f"{key}.stages", "must be a list of at least one stage")
        if why := STAGES.refusal(len(node["stages"])):
            raise self._reader.error(f"{key}.stages", f"is too long: {why}")
        stages = tuple(
            self._stage(stage, f"{key}.stages[{number}]", number == 1)
            for number, stage in enumerate(node["stages"], start=1)
        )
        sizes = tuple((side, side) for side in self._sides(node, key, image_size))
        try:
            return Space(self.name, scale, stages, stems, sizes, in_channels, num_classes, style)
        except SpaceError as error:
            raise SpaceError(f"{self.source}: {error}") from None

    def check(self) -> Declaration:
        """Return this declaration after building every scale at its smallest and largest image.

        Raises:
            SpaceError: If anything in it is wrong.
        """
        self._reader.mapping(self.content, "the file", _TOP, ("name", "blocks", "scales"))
        if not isinstance(self.content["name"], str):
            raise self._reader.error("name", f"must be a word, not {self.content['name']!r}")
        if not isinstance(self.content["scales"], dict) or not self.content["scales"]:
            raise self._reader.error("scales", "must map at least one scale's name to its skeleton")
        if why := STAGES.refusal(len(self.content["scales"])):
            raise self._reader.error("scales", f"are too many: {why}")
        for scale in self.content["scales"]:
            if not isinstance(scale, str):
                raise self._reader.error(
                    "scales", f"must name its scales with words, not {scale!r}; quote it"
                )
        blocks = self._reader.mapping(self.content["blocks"], "blocks", _BLOCKS, _BLOCKS)
        self._operators(blocks["operators"], "blocks.operators")
        for scale in self.content["scales"]:
            for side in self._images(scale):
                self.space(scale, side)
        return self

    # -- reading parts -----------------------------------------------------------------------------

    @property
    def _reader(self) -> YamlReader:
        return YamlReader(self.source)

    def _images(self, scale: str) -> tuple[int, int]:
        key = f"scales.{scale}"
        node = self._reader.mapping(self.content["scales"][scale], key, _SCALE, ("images",))
        return self._images_of(node, key)

    def _images_of(self, node: Mapping[str, Any], key: str) -> tuple[int, int]:
        return self._reader.side_range(node["images"], f"{key}.images", SIDE)

    def _sides(self, node: Mapping[str, Any], key: str, given: int | None) -> tuple[int, ...]:
        """Return the sides in pixels that a design may be for, where images of side ``given`` are there."""
        if "image_size" not in node:
            return (self._images_of(node, key)[0] if given is None else given,)
        declared = self._reader.counts(node["image_size"], f"{key}.image_size", SIDE)
        sides = tuple(side for side in declared if given is None or side <= given)
        if not sides:
            raise self._reader.error(
                f"{key}.image_size",
                f"offers no size that images of {given} px have pixels for; use larger ones",
            )
        return sides

    def _operators(self, value: Any, key: str) -> dict[str, dict[str, Any] | None]:
        """Return the options of every operator by its own name, imported where it is given as ``module:NAME``."""
        if not isinstance(value, dict) or not value:
            raise self._reader.error(key, "must map at least one operator to its options")
        operators: dict[str, dict[str, Any] | None] = {}
        for name, options in value.items():
            spec = self._spec(name, key)
            if spec.name in operators:
                raise self._reader.error(key, f"names the operator '{spec.name}' twice")
            if options is not None:
                self._reader.mapping(options, f"{key}.{name}", (*spec.knobs, "pos"))
            operators[spec.name] = options
        return operators

    def _spec(self, name: Any, key: str) -> OperatorSpec:
        if not isinstance(name, str) or not (":" in name or is_operator(name)):
            raise self._reader.error(
                key, f"names an unknown operator '{name}' ({nearest(str(name), operator_names())})"
            )
        try:
            return import_operator(name) if ":" in name else operator(name)
        except SpaceError as error:
            raise SpaceError(f"{self.source}: {key}: {error}") from None

    def _stage(self, value: Any, key: str, first: bool) -> StageChoices:
        has_width = isinstance(value, dict) and "width" in value
        required = ("width" if has_width else "dim", "depth", *(() if first else ("downsample",)))
        node = self._reader.mapping(value, key, _STAGE, required)
        if first and "downsample" in node:
            raise self._reader.error(
                key, "is the first stage and may not have a downsample (the stem makes its map)"
            )
        base = self._reader.mapping(self.content["blocks"], "blocks", _BLOCKS, _BLOCKS)
        operators = self._operators(base["operators"], "blocks.operators")
        merged = {name: dict(options or {}) for name, options in operators.items()}
        if "operators" in node:
            for name, options in self._operators(node["operators"], f"{key}.operators").items():
                if options is None:
                    merged.pop(name, None)
                else:
                    merged[name] = {**merged.get(name, {}), **options}
        if not merged:
            raise self._reader.error(f"{key}.operators", "leaves no operator to choose")
        return StageChoices(
            widths=self._widths(node, key),
            depths=self._reader.counts(node["depth"], f"{key}.depth", DEPTH),
            operators=tuple(
                self._operator(name, options, f"{key}.operators.{name}") for name, options in merged.items()
            ),
            mlp_ratios=self._reader.ratios(node.get("mlp_ratio", base["mlp_ratio"]), f"{key}.mlp_ratio"),
            downsamples=()
            if first
            else self._reader.words(node["downsample"], f"{key}.downsample", downsample_geometry),
        )

    def _widths(self, node: Mapping[str, Any], key: str) -> WidthChoices:
        if "width" in node:
            return self._listed_widths(node, key)
        dims = self._reader.counts(node["dim"], f"{key}.dim", CHANNELS)
        knob = self._head_knob(node, key)
        heads = self._reader.counts(node[knob], f"{key}.{knob}", CHANNELS)
        try:
            return CombinedWidths(dims, **{"num_heads" if knob == "num_heads" else "head_dims": heads})
        except SpaceError as error:
            raise self._reader.error(f"{key}.{knob}", f"does not fit: {error}") from None

    def _listed_widths(self, node: Mapping[str, Any], key: str) -> WidthChoices:
        if both := [name for name in _WIDTH if name in node]:
            raise self._reader.error(key, f"has both width and {both[0]}; {both[0]} belongs into each width")
        combinations = []
        for number, value in enumerate(self._reader.options(node["width"], f"{key}.width"), start=1):
            place = f"{key}.width[{number}]"
            width = self._reader.mapping(value, place, _WIDTH, ("dim",))
            knob = self._head_knob(width, place)
            dim, count = (
                self._reader.count(width[name], f"{place}.{name}", CHANNELS) for name in ("dim", knob)
            )
            if dim % count:
                heads = f"{count} heads" if knob == "num_heads" else f"heads of {count} channels"
                raise self._reader.error(
                    f"{place}.{knob}", f"does not fit: dim {dim} cannot be divided into {heads}"
                )
            combinations.append((dim, count if knob == "num_heads" else dim // count))
        try:
            return ListedWidths(tuple(combinations))
        except SpaceError as error:
            raise self._reader.error(f"{key}.width", str(error)) from None

    def _head_knob(self, node: Mapping[str, Any], key: str) -> str:
        """Return which of the two knobs that decide on heads is given."""
        given = [name for name in ("num_heads", "head_dim") if name in node]
        if len(given) == 2:
            raise self._reader.error(
                key, "has both num_heads and head_dim, of which one follows from the other"
            )
        if not given:
            raise self._reader.error(key, "lacks the key 'num_heads' (or 'head_dim', the channels of a head)")
        return given[0]

    def _operator(self, name: str, options: Mapping[str, Any], key: str) -> OperatorChoices:
        spec, knobs = operator(name), []
        for knob, declared in spec.knobs.items():
            if knob not in options:
                if declared.default is None and self._needed(spec, declared, options, key):
                    raise self._reader.error(key, f"lacks the knob '{knob}'")
                continue
            values = self._reader.options(options[knob], f"{key}.{knob}")
            for value in values:
                if why := declared.validation_error(value):
                    raise self._reader.error(f"{key}.{knob}", why)
            knobs.append((knob, tuple(values)))
        pos = self._reader.options(options.get("pos", spec.pos[0]), f"{key}.pos")
        for word in pos:
            if word not in spec.pos:
                raise self._reader.error(
                    f"{key}.pos",
                    f"offers '{word}', which '{name}' does not admit ({nearest(str(word), spec.pos)})",
                )
        return OperatorChoices(name, tuple(knobs), tuple(pos))

    def _needed(self, spec: OperatorSpec, knob: Knob, options: Mapping[str, Any], key: str) -> bool:
        """Return whether ``knob`` has a meaning with any of the options of the knob that it depends on."""
        if knob.when is None:
            return True
        name, *values = knob.when
        others = self._reader.options(options.get(str(name), spec.knobs[str(name)].default), f"{key}.{name}")
        return any(value in others for value in values)


def known_spaces() -> tuple[str, ...]:
    """Return the names of the spaces that come with the project."""
    folder = resources.files("search_spaces") / "spaces"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_declaration(name_or_path: str | Path) -> Declaration:
    """Read a space's declaration by its name or from a YAML file, and check all of it.

    Raises:
        SpaceError: If there is no such space or file, or anything in it is wrong; the message gives
            file, key, value, what is allowed and the nearest valid spelling.
    """
    text = str(name_or_path)
    if text in known_spaces():
        content = (resources.files("search_spaces") / "spaces" / f"{text}.yaml").read_text()
        return parse_declaration(content, f"space '{text}'")
    path = Path(text)
    if not path.is_file():
        raise SpaceError(
            f"unknown space '{text}': neither a file nor one of the named spaces ({nearest(text, known_spaces())})"
        )
    try:
        return parse_declaration(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"cannot read the space file {path}: {' '.join(str(error).split())}") from None


def parse_declaration(text: str, source: str) -> Declaration:
    """Parse and check the text of a declaration.

    Raises:
        SpaceError: If it is not YAML or anything in it is wrong.
    """
    content = YamlReader(source).parse(text)
    if not isinstance(content, dict):
        raise SpaceError(f"{source}: must be a mapping with {', '.join(_TOP)}")
    return Declaration(source, text, content).check()
