"""Architecture: one point of a space, a frozen value with canonical JSON and a digest.

Values are checked when they are constructed: an architecture that exists can be built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from search_spaces.block import Block
from search_spaces.checks import is_int
from search_spaces.drawing import design_to_html, summarize_design
from search_spaces.errors import ArchitectureError, SpaceError, nearest
from search_spaces.geometry import downsample_geometry, downsampled_size, stem_geometry, stem_size
from search_spaces.limits import CHANNELS, DEPTH, SIDE, STAGES, Limit
from search_spaces.operators import FeatureMap, import_operator, is_operator, operator_reference
from search_spaces.skeleton import Style
from search_spaces.walk import walk_blocks

__all__ = ["Architecture", "Block", "Stage"]

FORMAT = 1


@dataclass(frozen=True)
class Stage:
    """Blocks that work on maps of one size and width.

    Args:
        dim: Channels C.
        num_heads: Attention heads.
        blocks: The blocks, first to last.
        downsample: What shrinks the previous stage's map; None in the first stage.
    """

    dim: int
    num_heads: int
    blocks: tuple[Block, ...]
    downsample: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        for name in ("dim", "num_heads"):
            value = getattr(self, name)
            if not is_int(value) or value < 1:
                raise ArchitectureError(f"a stage's {name} must be a positive integer, not {value!r}")
        if not self.blocks:
            raise ArchitectureError("a stage needs at least one block")
        if self.downsample is not None:
            downsample_geometry(self.downsample)


@dataclass(frozen=True, repr=False)
class Architecture:
    """One network of a space, complete: it can be priced, built, trained and exported from this alone.

    Args:
        stages: The stages, first to last.
        image_size: Height and width in pixels that it is declared for.
        in_channels: Channels of the images.
        num_classes: Outputs of the classifier.
        stem: What turns the image into the first map.
        style: How its blocks are put together.

    Raises:
        ArchitectureError: If a part is unknown or does not fit the map that it works on.
    """

    stages: tuple[Stage, ...]
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    stem: str = "patch4x4"
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "image_size", tuple(self.image_size))
        self._check_skeleton()
        self._check_blocks()

    def _check_skeleton(self) -> None:
        stem_geometry(self.stem)
        height, width = self.image_size
        counts = {"image height": height, "image width": width}
        counts |= {"in_channels": self.in_channels, "num_classes": self.num_classes}
        for name, value in counts.items():
            if not is_int(value) or value < 1:
                raise ArchitectureError(f"{name} must be a positive integer, not {value!r}")
        if not self.stages:
            raise ArchitectureError("an architecture needs at least one stage")
        for index, stage in enumerate(self.stages):
            if (stage.downsample is None) != (index == 0):
                raise ArchitectureError(
                    f"stage {index + 1} {'may not' if index == 0 else 'must'} name a downsample"
                )
        if self.style.class_token and len(self.stages) > 1:
            raise ArchitectureError(
                f"a class token (style head '{self.style.head}') asks for a single stage, not {len(self.stages)}"
            )

    def _check_blocks(self) -> None:
        parts = walk_blocks(self)
        for part in parts:
            if min(part.feature_map.height, part.feature_map.width) < 1:
                raise ArchitectureError(
                    f"{part.name} stands on an empty map; use larger images or fewer stages"
                )
            if why := part.block.incompatibility(part.feature_map):
                raise ArchitectureError(f"{part.name}: {why}")
        for previous, part in zip((None, *parts), parts, strict=False):
            before = None if previous is None or part.index == 0 else previous.block
            if part.needs_attention and (before is None or not before.spec.returns_attention):
                lack = "there is none" if before is None else f"{before} hands none on"
                raise ArchitectureError(
                    f"{part.name}: {part.block} takes the attention maps of the block before, and {lack}"
                )

    def maps(self) -> tuple[tuple[int, int], ...]:
        """Return the height and width of every stage's map."""
        size = stem_size(self.stem, self.image_size)
        maps = []
        for stage in self.stages:
            if stage.downsample is not None:
                size = downsampled_size(stage.downsample, size)
            maps.append(size)
        return tuple(maps)

    def strides(self) -> tuple[tuple[int, int], ...]:
        """Return the rows and columns of pixels from one position of every stage's map to the next."""
        strides = [stem_geometry(self.stem).stride]
        for stage in self.stages[1:]:
            down, across = downsample_geometry(stage.downsample).stride
            strides.append((strides[-1][0] * down, strides[-1][1] * across))
        return tuple(strides)

    def feature_map(self, stage: int) -> FeatureMap:
        """Return the map that the blocks of the stage with index ``stage`` work on."""
        return self._feature_maps[stage]

    @cached_property
    def _feature_maps(self) -> tuple[FeatureMap, ...]:
        style = self.style
        return tuple(
            FeatureMap(stage.dim, stage.num_heads, *size, style.qkv_bias, style.class_token)
            for stage, size in zip(self.stages, self.maps(), strict=True)
        )

    def to_json(self) -> dict[str, object]:
        """Return a plain object that ``from_json`` reads back to an equal architecture.

        ``operators`` gives the ``module:NAME`` of each operator that another process cannot find by its name.
        """
        names = sorted({block.operator for stage in self.stages for block in stage.blocks})
        references = {name: reference for name in names if (reference := operator_reference(name))}
        return {
            "format": FORMAT,
            "image_size": list(self.image_size),
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
            "stem": self.stem,
            "style": self.style.to_json(),
            "stages": [
                {
                    "dim": stage.dim,
                    "num_heads": stage.num_heads,
                    **({} if stage.downsample is None else {"downsample": stage.downsample}),
                    "blocks": [block.to_json() for block in stage.blocks],
                }
                for stage in self.stages
            ],
            **({"operators": references} if references else {}),
        }

    @classmethod
    def from_json(cls, value: object, *, trusted: bool = True) -> Architecture:
        """Read what ``to_json`` wrote.

        Args:
            value: The plain object.
            trusted: Whether modules that it names may be imported, which runs their code; else operators must be
                known already.

        Raises:
            ArchitectureError: If a key is missing or unknown, a value is wrong or larger than a limit allows, an
                operator cannot be imported, or the format is newer.
        """
        if not isinstance(value, Mapping):
            raise ArchitectureError(f"an architecture must be a JSON object, not {type(value).__name__}")
        if value.get("format") != FORMAT:
            raise ArchitectureError(
                f"architecture format {value.get('format')!r} is not the format {FORMAT} that this version reads"
            )
        known = ("format", "image_size", "in_channels", "num_classes", "stem", "style", "stages")
        for name in value:
            if name not in (*known, "operators"):
                raise ArchitectureError(
                    f"unknown key '{name}' in an architecture ({nearest(str(name), known)})"
                )
        for name in known:
            if name not in value:
                raise ArchitectureError(f"an architecture needs the key '{name}'")
        _import_operators(value.get("operators", {}), trusted=trusted)
        size, stages = value["image_size"], value["stages"]
        if not isinstance(size, list | tuple) or len(size) != 2:
            raise ArchitectureError(f"image_size must be [height, width], not {size!r}")
        if not isinstance(stages, list | tuple):
            raise ArchitectureError(f"stages must be a list, not {stages!r}")
        _require_sizes(value)
        return cls(
            stages=tuple(_stage(number, stage) for number, stage in enumerate(stages, start=1)),
            image_size=(size[0], size[1]),
            in_channels=value["in_channels"],
            num_classes=value["num_classes"],
            stem=value["stem"],
            style=Style.from_json(value["style"]),
        )

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        # Where an operator is imported from is no part of the design.
        content = {key: value for key, value in self.to_json().items() if key != "operators"}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return " | ".join(" ".join(str(block) for block in stage.blocks) for stage in self.stages)

    def __repr__(self) -> str:
        return f"<Architecture {summarize_design(self)}>"

    _repr_html_ = design_to_html


def _require_sizes(value: Mapping[str, Any]) -> None:
    """Refuse numbers and lists of an architecture's JSON that no network has; their kinds are checked elsewhere.

    Raises:
        ArchitectureError: If there is one.
    """
    stages = [stage for stage in value["stages"] if isinstance(stage, Mapping)]
    blocks = [stage.get("blocks") for stage in stages]
    sizes: list[tuple[Limit, str, object]] = [
        (STAGES, "stages", len(value["stages"])),
        *((DEPTH, "blocks", len(each)) for each in blocks if isinstance(each, list | tuple)),
        *((CHANNELS, name, stage.get(name)) for stage in stages for name in ("dim", "num_heads")),
        *((CHANNELS, name, value[name]) for name in ("in_channels", "num_classes")),
        *((SIDE, "image_size", side) for side in value["image_size"]),
    ]
    for limit, name, size in sizes:
        if isinstance(size, int) and (why := limit.refusal(size)):
            raise ArchitectureError(f"'{name}' is too large: {why}")


def _import_operators(value: object, *, trusted: bool) -> None:
    """Import the operators that an architecture's JSON names by ``module:NAME``."""
    if not isinstance(value, Mapping):
        raise ArchitectureError(f"operators must map names to module:NAME, not {value!r}")
    for name, reference in value.items():
        if not trusted and not is_operator(str(name)):
            raise ArchitectureError(
                f"its operator '{name}' lies in the module of '{reference}', and a file alone has none imported; "
                "install the package with its entry point, or set NAS_TRUST=1 if you trust the file"
            )
        if not trusted:
            continue
        try:
            spec = import_operator(str(reference))
        except SpaceError as error:
            raise ArchitectureError(str(error)) from None
        if spec.name != name:
            raise ArchitectureError(f"operator '{reference}' is called '{spec.name}', not '{name}'")


def _stage(number: int, value: object) -> Stage:
    known = ("dim", "num_heads", "downsample", "blocks")
    if not isinstance(value, Mapping) or not isinstance(value.get("blocks"), list | tuple):
        raise ArchitectureError(f"stage {number} must be an object with a list of 'blocks', not {value!r}")
    for name in value:
        if name not in known:
            raise ArchitectureError(f"unknown key '{name}' in stage {number} ({nearest(str(name), known)})")
    for name in ("dim", "num_heads"):
        if name not in value:
            raise ArchitectureError(f"stage {number} needs the key '{name}'")
    blocks = []
    for position, block in enumerate(value["blocks"], start=1):
        try:
            blocks.append(Block.from_json(block))
        except ArchitectureError as error:
            raise ArchitectureError(f"stage{number}.block{position}: {error}") from None
    return Stage(value["dim"], value["num_heads"], tuple(blocks), value.get("downsample"))
