"""Settings of a study: what ``study.yaml`` holds, complete, so that one command reruns it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from nas.search.objectives import parse_objectives, parse_quantity
from nas.search.samplers import SAMPLERS
from nas.study.recipe import Recipe
from search_spaces.errors import RequestError, StudyError, nearest
from search_spaces.published import published
from supernet.sampling import POLICIES
from supernet.supernet import SHARINGS


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a study finds.

    Args:
        space: Name of a space or path of its YAML.
        scale: Scale of the space; None lets the images' size decide.
        data: What ``load_data`` understands.
        data_dir: Where timm's data sets lie.
        image_size: Side in pixels; None for the data's own.
        objectives: Score names, comma separated.
        max_macs: Limit such as ``600M``, or None.
        max_params: Limit such as ``25M``, or None.
        max_latency_ms: Limit in milliseconds, or None.
        latency_table: File that tells latencies of the space's parts; None measures where they are needed.
        sampler: How designs are proposed.
        batch: Proposals made at once.
        policy: How paths are sampled while the supernet trains.
        sharing: What the operators of a block share.
        supernet: Weights to use instead of training, or None.
        init_from: Published networks whose weights the supernet starts from, each ``NAME=FILE``.
        validation_images: Most validation images a candidate is scored on.
        compile: Whether training runs blocks compiled by region.
        seed: Seed of everything.
        racing: Largest probability of stopping a design that nothing dominates; None stops none.
        recipe: How the supernet is trained.
        retraining: How found designs are retrained.
    """

    space: str = "twins_cswin"
    scale: str | None = None
    data: str = "mnist5k"
    data_dir: str | None = None
    image_size: int | None = None
    objectives: str = "top1,macs"
    max_macs: str | None = None
    max_params: str | None = None
    max_latency_ms: float | None = None
    latency_table: str | None = None
    sampler: str = "nsga2"
    batch: int = 32
    policy: str = "uniform"
    sharing: str = "operator"
    supernet: str | None = None
    init_from: tuple[str, ...] = ()
    validation_images: int = 2000
    compile: bool = False
    seed: int = 0
    racing: float | None = None
    recipe: Recipe = field(default_factory=Recipe)
    retraining: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        parse_objectives(self.objectives)
        for option, value in (("--max-macs", self.max_macs), ("--max-params", self.max_params)):
            if value is not None:
                parse_quantity(option, value)
        if self.max_latency_ms is not None and not self.max_latency_ms > 0:
            raise RequestError(f"--max-latency-ms must be a positive number, not {self.max_latency_ms}")
        for option, value, known in (
            ("--sampler", self.sampler, SAMPLERS),
            ("--policy", self.policy, POLICIES),
            ("--sharing", self.sharing, SHARINGS),
        ):
            if value not in known:
                raise RequestError(f"{option}: unknown value '{value}' ({nearest(value, known)})")
        for text in self.init_from:
            name, _, file = text.partition("=")
            if not file:
                raise RequestError(
                    f"--init-from must be NAME=FILE, such as cswin_tiny=cswin.pth, not '{text}'"
                )
            published(name)
        for option, number in (("--batch", self.batch), ("--validation-images", self.validation_images)):
            if number < 1:
                raise RequestError(f"{option} must be at least 1, not {number}")
        if not 0 <= self.seed < 2**32:
            raise RequestError(f"--seed must be between 0 and {2**32 - 1}, not {self.seed}")
        if self.racing is not None:
            if not 0 < self.racing < 0.5:
                raise RequestError(
                    f"--racing must be a probability above 0 and below 0.5, not {self.racing:g}"
                )
            if "top1" not in parse_objectives(self.objectives):
                raise RequestError("--racing stops designs by their top1; name it in --objective")
        for name, recipe in (("recipe", self.recipe), ("retraining", self.retraining)):
            if recipe.epochs < 1 or recipe.batch_size < 2 or not recipe.lr > 0:
                raise RequestError(
                    f"{name}: epochs must be at least 1, batch_size at least 2 and lr positive, not "
                    f"{recipe.epochs}, {recipe.batch_size} and {recipe.lr:g}"
                )
            if not 1 <= recipe.shards <= recipe.batch_size // 2:
                raise RequestError(
                    f"{name}: shards must be from 1 to half of batch_size ({recipe.batch_size}), not {recipe.shards}"
                )

    @property
    def limits(self) -> tuple[tuple[str, float], ...]:
        """Largest value allowed of a score, by name."""
        limits: list[tuple[str, float]] = []
        if self.max_macs is not None:
            limits.append(("macs", parse_quantity("--max-macs", self.max_macs)))
        if self.max_params is not None:
            limits.append(("params", parse_quantity("--max-params", self.max_params)))
        if self.max_latency_ms is not None:
            limits.append(("latency_ms", self.max_latency_ms))
        return tuple(limits)

    def to_yaml(self) -> str:
        """Return the text of ``study.yaml``."""
        return yaml.safe_dump(asdict(self), sort_keys=False)


def read_settings(path: Path) -> Settings:
    """Read a ``study.yaml``.

    Raises:
        StudyError: If it cannot be read, or has unknown keys or values of the wrong kind.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StudyError(f"cannot read the settings {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path} must be a mapping of settings such as 'space: twins_cswin'")
    for where, kind, part in (
        ("", Settings, content),
        ("recipe.", Recipe, content.get("recipe", {})),
        ("retraining.", Recipe, content.get("retraining", {})),
    ):
        known = [f.name for f in fields(kind)]
        for name in part if isinstance(part, dict) else ():
            if name not in known:
                raise StudyError(f"{path}: unknown setting '{where}{name}' ({nearest(str(name), known)})")
    try:
        return TypeAdapter(Settings).validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        raise StudyError(f"{path}: setting '{setting}': {first['msg']}, not {first['input']!r}") from None


def difference(old: Settings, new: Settings) -> str | None:
    """Return the first setting in which two studies differ, in words, or None."""
    before, after = asdict(old), asdict(new)
    for name in before:
        # How found designs are retrained does not change what the search finds.
        if name != "retraining" and before[name] != after[name]:
            if isinstance(before[name], dict):
                inner = next(key for key in before[name] if before[name][key] != after[name].get(key))
                return f"{name}.{inner}={before[name][inner]}, not {after[name].get(inner)}"
            return f"{name}={before[name]}, not {after[name]}"
    return None
