"""YAML declarations of spaces: reading them, and saying exactly what is wrong with them.

A declaration gives the choices of a block once (``blocks``) and one or more ``scales`` of the
skeleton; a stage may replace a list of options or leave an operator out (``null``).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import ArchitectureError, SpaceError, nearest
from search_spaces.operators import OPERATORS, Knob, OperatorSpec, operator
from search_spaces.skeleton import DOWNSAMPLES, STEMS, Style
from search_spaces.space import OperatorChoices, Space, StageChoices

_TOP = ("name", "summary", "blocks", "scales")
_BLOCKS = ("operators", "mlp_ratio")
_SCALE = ("images", "stem", "style", "stages")
_STAGE = ("dim", "num_heads", "depth", "downsample", "operators", "mlp_ratio")


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
            image_size: Side of the images in pixels; the scale's smallest where it is left out.
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
        side = self._images(scale)[0] if image_size is None else image_size
        key = f"scales.{scale}"
        node = self._mapping(self.content["scales"][scale], key, _SCALE, ("images", "stem", "stages"))
        stems = self._words(node["stem"], f"{key}.stem", STEMS)
        try:
            style = Style.from_json(node.get("style", {}))
        except ArchitectureError as error:
            raise self._wrong(f"{key}.style", str(error)) from None
        if not isinstance(node["stages"], list) or not node["stages"]:
            raise self._wrong(f"{key}.stages", "must be a list of at least one stage")
        stages = tuple(
            self._stage(stage, f"{key}.stages[{number}]", number == 1)
            for number, stage in enumerate(node["stages"], start=1)
        )
        try:
            return Space(self.name, scale, stages, stems, (side, side), in_channels, num_classes, style)
        except SpaceError as error:
            raise SpaceError(f"{self.source}: {error}") from None

    def check(self) -> Declaration:
        """Return this declaration after building every scale at its smallest and largest image.

        Raises:
            SpaceError: If anything in it is wrong.
        """
        self._mapping(self.content, "the file", _TOP, ("name", "blocks", "scales"))
        if not isinstance(self.content["name"], str):
            raise self._wrong("name", f"must be a word, not {self.content['name']!r}")
        if not isinstance(self.content["scales"], dict) or not self.content["scales"]:
            raise self._wrong("scales", "must map at least one scale's name to its skeleton")
        for scale in self.content["scales"]:
            if not isinstance(scale, str):
                raise self._wrong("scales", f"must name its scales with words, not {scale!r}; quote it")
        blocks = self._mapping(self.content["blocks"], "blocks", _BLOCKS, _BLOCKS)
        self._operators(blocks["operators"], "blocks.operators")
        for scale in self.content["scales"]:
            for side in self._images(scale):
                self.space(scale, side)
        return self

    # -- reading parts -----------------------------------------------------------------------------

    def _wrong(self, key: str, what: str) -> SpaceError:
        return SpaceError(f"{self.source}: {key} {what}")

    def _mapping(
        self, value: Any, key: str, known: tuple[str, ...], needed: tuple[str, ...]
    ) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(key, f"must be a mapping with {', '.join(needed or known)}, not {value!r}")
        for name in value:
            if name not in known:
                raise self._wrong(key, f"has an unknown key '{name}' ({nearest(str(name), known)})")
        for name in needed:
            if name not in value:
                raise self._wrong(key, f"lacks the key '{name}'")
        return value

    def _images(self, scale: str) -> tuple[int, int]:
        key = f"scales.{scale}"
        node = self._mapping(self.content["scales"][scale], key, _SCALE, ("images",))
        value = node["images"]
        if isinstance(value, int):
            value = [value, value]
        ok = isinstance(value, list) and len(value) == 2 and all(type(v) is int and v > 0 for v in value)
        if not ok or value[0] > value[1]:
            raise self._wrong(f"{key}.images", f"must be [smallest, largest] side in pixels, not {value!r}")
        return value[0], value[1]

    def _options(self, value: Any, key: str) -> list[Any]:
        options = value if isinstance(value, list) else [value]
        if not options:
            raise self._wrong(key, "must offer at least one option")
        for number, option in enumerate(options):
            if option in options[:number]:
                raise self._wrong(key, f"offers {option!r} twice")
        return options

    def _words(self, value: Any, key: str, known: Mapping[str, Any]) -> tuple[str, ...]:
        for option in (options := self._options(value, key)):
            if option not in tuple(known):
                raise self._wrong(key, f"names an unknown '{option}' ({nearest(str(option), known)})")
        return tuple(options)

    def _count(self, value: Any, key: str) -> int:
        if type(value) is not int or value < 1:
            raise self._wrong(key, f"must be one positive integer, not {value!r}")
        return value

    def _counts(self, value: Any, key: str) -> tuple[int, ...]:
        for option in (options := self._options(value, key)):
            if type(option) is not int or option < 1:
                raise self._wrong(key, f"must be positive integers, not {option!r}")
        return tuple(sorted(options))

    def _ratios(self, value: Any, key: str) -> tuple[float, ...]:
        for option in (options := self._options(value, key)):
            if isinstance(option, bool) or not isinstance(option, int | float) or not 0 < option <= 16:
                raise self._wrong(key, f"must be numbers above 0 and at most 16, not {option!r}")
        return tuple(sorted(float(option) for option in options))

    def _operators(self, value: Any, key: str) -> dict[str, dict[str, Any] | None]:
        if not isinstance(value, dict) or not value:
            raise self._wrong(key, "must map at least one operator to its options")
        for name, options in value.items():
            if name not in OPERATORS:
                raise self._wrong(
                    key, f"names an unknown operator '{name}' ({nearest(str(name), OPERATORS)})"
                )
            known = (*OPERATORS[name].knobs, "pos")
            if options is not None:
                self._mapping(options, f"{key}.{name}", known, ())
        return value

    def _stage(self, value: Any, key: str, first: bool) -> StageChoices:
        needed = ("dim", "num_heads", "depth") if first else ("dim", "num_heads", "depth", "downsample")
        node = self._mapping(value, key, _STAGE, needed)
        if first and "downsample" in node:
            raise self._wrong(
                key, "is the first stage and may not have a downsample (the stem makes its map)"
            )
        base = self._mapping(self.content["blocks"], "blocks", _BLOCKS, _BLOCKS)
        merged = {name: dict(options or {}) for name, options in base["operators"].items()}
        for name, options in self._operators(node.get("operators", {"lsa": {}}), f"{key}.operators").items():
            if options is None:
                merged.pop(name, None)
            elif name in merged or "operators" in node:
                merged[name] = {**merged.get(name, {}), **options}
        if not merged:
            raise self._wrong(f"{key}.operators", "leaves no operator to choose")
        return StageChoices(
            dim=self._count(node["dim"], f"{key}.dim"),
            num_heads=self._count(node["num_heads"], f"{key}.num_heads"),
            depths=self._counts(node["depth"], f"{key}.depth"),
            operators=tuple(
                self._operator(name, options, f"{key}.operators.{name}") for name, options in merged.items()
            ),
            mlp_ratios=self._ratios(node.get("mlp_ratio", base["mlp_ratio"]), f"{key}.mlp_ratio"),
            downsamples=() if first else self._words(node["downsample"], f"{key}.downsample", DOWNSAMPLES),
        )

    def _operator(self, name: str, options: Mapping[str, Any], key: str) -> OperatorChoices:
        spec, knobs = operator(name), []
        for knob, declared in spec.knobs.items():
            if knob not in options:
                if declared.default is None and self._needed(spec, declared, options, key):
                    raise self._wrong(key, f"lacks the knob '{knob}'")
                continue
            values = self._options(options[knob], f"{key}.{knob}")
            for value in values:
                if why := declared.validation_error(value):
                    raise self._wrong(f"{key}.{knob}", why)
            knobs.append((knob, tuple(values)))
        pos = self._options(options.get("pos", spec.pos[0]), f"{key}.pos")
        for word in pos:
            if word not in spec.pos:
                raise self._wrong(
                    f"{key}.pos",
                    f"offers '{word}', which '{name}' does not admit ({nearest(str(word), spec.pos)})",
                )
        return OperatorChoices(name, tuple(knobs), tuple(pos))

    def _needed(self, spec: OperatorSpec, knob: Knob, options: Mapping[str, Any], key: str) -> bool:
        """Return whether ``knob`` has a meaning with any of the options of the knob that it hangs on."""
        if knob.when is None:
            return True
        name, *values = knob.when
        offered = self._options(options.get(str(name), spec.knobs[str(name)].default), f"{key}.{name}")
        return any(value in offered for value in values)


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, which YAML would silently let win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a word, not {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


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
        return parse_declaration(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"cannot read the space file {path}: {error}") from None


def parse_declaration(text: str, source: str) -> Declaration:
    """Parse and check the text of a declaration.

    Raises:
        SpaceError: If it is not YAML or anything in it is wrong.
    """
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader: builds plain values only
    except yaml.YAMLError as error:
        raise SpaceError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SpaceError(f"{source}: must be a mapping with {', '.join(_TOP)}")
    return Declaration(source, text, content).check()
