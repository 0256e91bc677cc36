"""Settings of a study: what ``study.yaml`` holds, complete, so that one command reruns it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from nas.latency.runtime_names import RUNTIMES
from nas.runtime.documents import format_first, type_adapter
from nas.search.objectives import OBJECTIVES, Goal, ObjectiveDeclaration, parse_objectives, parse_quantity
from nas.study.recipe import Recipe
from nas.study.setting import (
    AS_FILE,
    AS_NAMED_FILES,
    AS_TEACHER,
    DATA,
    NOT_COMPARED,
    OUTPUT,
    RUN,
    SEARCH,
    SPACE,
    TRAINING,
    declared_settings,
    setting,
)
from nas.study.teacher_spec import METAVAR, parse_teacher
from search_spaces.errors import RequestError, SpaceError, StudyError, nearest
from search_spaces.published import published
from search_spaces.yaml_reader import YamlReader

#: Workers that may wait for the end of a batch.
MOST_WAITING = 4


def _check_quantity(option: str, text: str) -> None:
    parse_quantity(option, text)


def _check_positive(option: str, value: float) -> None:
    if not value > 0:  # NaN is not
        raise RequestError(f"{option} must be a positive number, not {value}")


def _check_test_crop(option: str, value: float) -> None:
    if not 0.5 <= value <= 1:
        raise RequestError(f"{option} must be a share of the side from 0.5 to 1, not {value:g}")


def _check_risk(option: str, value: float) -> None:
    if not 0 < value < 0.5:
        raise RequestError(f"{option} must be a probability above 0 and below 0.5, not {value:g}")


def _check_checkpoints(option: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        name, _, file = text.partition("=")
        if not file:
            raise RequestError(f"{option} must be NAME=FILE, such as cswin_tiny=cswin.pth, not '{text}'")
        published(name)


def _check_teacher(option: str, text: str) -> None:
    parse_teacher(text)


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a study finds; each field says what it means.

    The order of the fields is that of ``study.yaml``.
    """

    space: str = setting("twins_cswin", "Name of a space, or a YAML file.", SPACE, compared=NOT_COMPARED)
    scale: str | None = setting(
        None,
        "Scale of the space.",
        SPACE,
        default_help="the one meant for the images' size",
        compared=NOT_COMPARED,
    )
    data: str = setting(
        "mnist5k",
        "mnist5k, folder:PATH, the URL of a folder or archive, or a name timm knows.",
        DATA,
        compared=NOT_COMPARED,
    )
    data_dir: str | None = setting(
        None,
        "Where timm's data sets lie.",
        DATA,
        is_path=True,
        default_help="the cache folder",
        compared=NOT_COMPARED,
    )
    image_size: int | None = setting(
        None,
        "Side of the images in pixels.",
        DATA,
        default_help="the data's own or 224, or the nearest that a scale is for",
        compared=NOT_COMPARED,
    )
    test_crop: float = setting(
        1.0,
        "Share of the shorter side that is shown outside training, e.g. 0.9; images are then streamed from disk.",
        DATA,
        check=_check_test_crop,
    )
    skip_broken: bool = setting(
        False, "Go on without image files that cannot be read.", DATA, compared=NOT_COMPARED
    )
    objectives: str = setting(
        "loss,macs",
        f"What to optimise, comma separated: {', '.join(OBJECTIVES)}.",
        SEARCH,
        option="--objective",
        former=("top1,macs",),
    )
    max_macs: str | None = setting(
        None,
        "Reject designs of more MACs, e.g. 600M.",
        SEARCH,
        default_help="no limit",
        check=_check_quantity,
    )
    max_params: str | None = setting(
        None,
        "Reject designs of more parameters, e.g. 25M.",
        SEARCH,
        default_help="no limit",
        check=_check_quantity,
    )
    max_latency_ms: float | None = setting(
        None,
        "Reject designs that take longer, in milliseconds.",
        SEARCH,
        default_help="no limit",
        check=_check_positive,
    )
    latency_table: str | None = setting(
        None,
        "Latencies of the space's parts: a latency.json, or a table of nas bench latency.",
        SEARCH,
        default_help="measured here where needed",
        compared=AS_FILE,
    )
    latency_runtime: str = setting(
        "torch",
        "What the latencies are of: torch, or onnxruntime or openvino, which exported models run in; on CPUs.",
        SEARCH,
        choices=RUNTIMES,
    )
    sampler: str = setting(
        "screened",
        "How designs are proposed; screened predicts scores from those so far.",
        SEARCH,
        choices=("screened", "nsga2", "tpe", "random"),
        former=("nsga2",),
    )
    batch: int = setting(32, "Designs proposed at once (NSGA-II's population).", SEARCH, minimum=1)
    ahead: int = setting(
        0,
        "Batches proposed before the one before them is evaluated, so that many workers never wait.",
        SEARCH,
        minimum=0,
        default_help="0; more for more than 4 workers",
    )
    policy: str = setting(
        "uniform",
        "How the paths of a training step are sampled.",
        TRAINING,
        choices=("uniform", "fair", "sandwich"),
    )
    paths: str = setting(
        "by-choice",
        "What the random paths of a training step are even over: choices, architectures or MACs.",
        TRAINING,
        choices=("by-choice", "by-architecture", "by-cost"),
    )
    sharing: str = setting(
        "operator",
        "What has projections of its own.",
        TRAINING,
        choices=("operator", "block"),
    )
    supernet: str | None = setting(
        None,
        "Use the weights of this file instead of training.",
        TRAINING,
        default_help="trained",
        compared=AS_FILE,
    )
    init_from: tuple[str, ...] = setting(
        (),
        "Start from a published network's checkpoint; repeatable.",
        TRAINING,
        metavar="NAME=FILE",
        default_help="random weights",
        check=_check_checkpoints,
        compared=AS_NAMED_FILES,
    )
    teacher: str | None = setting(
        None,
        "Network to learn from beside the labels; largest is the supernet's own and teaches in retraining alone.",
        TRAINING,
        metavar=METAVAR,
        default_help="none",
        check=_check_teacher,
        compared=AS_TEACHER,
    )
    validation_images: int = setting(2000, "Most images a candidate is scored on.", SEARCH, minimum=1)
    compile: bool = setting(False, "Train with blocks compiled by region; needs a C++ compiler.", TRAINING)
    seed: int = setting(0, "Seed of everything.", RUN, minimum=0, maximum=2**32 - 1)
    racing: float | None = setting(
        None,
        "Stop designs that are dominated, at this risk of being wrong, e.g. 0.05.",
        SEARCH,
        default_help="off",
        check=_check_risk,
    )
    candidates: int | None = setting(
        None,
        "Train so many designs alone, spread over the costs, and leave out the worse until --retrain are left.",
        OUTPUT,
        minimum=1,
        default_help="four times --retrain",
        compared=NOT_COMPARED,
    )
    own_objectives: tuple[ObjectiveDeclaration, ...] = setting(
        (), "Scores that a Python program computes, which may be objectives and have limits."
    )
    training_step: str | None = setting(None, "Name of a Python program's function that trainings minimise.")
    recipe: Recipe = setting(Recipe(), "How the supernet is trained.")
    retraining: Recipe = setting(Recipe(), "How designs of the front are retrained.", compared=NOT_COMPARED)

    def __post_init__(self) -> None:
        for each in declared_settings(Settings):
            each.validate(getattr(self, each.name))
        goal = self.goal
        if self.racing is not None and "top1" not in goal.objectives:
            raise RequestError(
                f"--racing stops designs by their top1, and --objective is {self.objectives}; give --objective "
                "top1,macs, or leave --racing out"
            )
        if self.racing is not None and goal.measured != ("top1",):
            others = ", ".join(name for name in goal.measured if name != "top1")
            raise RequestError(
                f"--racing stops designs by their top1 alone, and {others} is measured too; leave it out of "
                "--objective and the limits, or leave --racing out"
            )
        if self.ahead and self.sampler == "tpe":
            raise RequestError(
                "--ahead proposes before earlier designs are evaluated, and --sampler tpe counts on knowing them; take "
                "--ahead 0, or another --sampler"
            )
        if self.policy == "fair" and self.paths != "by-choice":
            raise RequestError(
                f"--policy fair gives operators their turns and cannot draw paths {self.paths}; take --policy uniform"
            )
        for name, recipe in (("recipe", self.recipe), ("retraining", self.retraining)):
            recipe.validate(name)
        if self.recipe.drop_path_by_params is not None:
            raise RequestError(
                "recipe.drop_path_by_params is by the size of one network, and a supernet holds many; give "
                "recipe.drop_path"
            )

    @property
    def needs_supernet(self) -> bool:
        """Whether designs are compared by accuracy or loss, or by what is measured; costs need no weights."""
        return bool(self.goal.measured)

    @property
    def goal(self) -> Goal:
        """Objectives and limits."""
        names = parse_objectives(self.objectives, self.own_objectives)
        return Goal(names, self.limits, self.own_objectives)

    @property
    def heeds_latency(self) -> bool:
        """Whether latencies are known or asked for."""
        return self.goal.needs_latency or self.latency_table is not None

    @property
    def trains_supernet(self) -> bool:
        """Whether a supernet is trained: one is needed, and its weights are not given."""
        return self.needs_supernet and self.supernet is None

    @property
    def limits(self) -> tuple[tuple[str, float], ...]:
        """Largest value allowed of a score, or the smallest of one's own where more is better, by name."""
        limits: list[tuple[str, float]] = []
        if self.max_macs is not None:
            limits.append(("macs", parse_quantity("--max-macs", self.max_macs)))
        if self.max_params is not None:
            limits.append(("params", parse_quantity("--max-params", self.max_params)))
        if self.max_latency_ms is not None:
            limits.append(("latency_ms", self.max_latency_ms))
        limits += [(each.name, each.limit) for each in self.own_objectives if each.limit is not None]
        return tuple(limits)

    def to_yaml(self) -> str:
        """Return the text of ``study.yaml``."""
        content = asdict(self)
        if not self.own_objectives:
            del content["own_objectives"]
        if self.training_step is None:
            del content["training_step"]
        return yaml.safe_dump(content, sort_keys=False)


def keep_former_defaults(settings: Settings, given: Collection[str], stored: Settings) -> Settings:
    """Return settings in which a study keeps the defaults of an earlier version that it began with.

    Args:
        settings: What is asked for now.
        given: Names of the settings that the user gave.
        stored: The study's.
    """
    kept = {
        each.name: getattr(stored, each.name)
        for each in declared_settings(Settings)
        if each.name not in given and getattr(stored, each.name) in each.former
    }
    return replace(settings, **kept)


def choose_ahead(
    settings: Settings, given: Collection[str], workers: int, stored: Settings | None
) -> Settings:
    """Return settings that propose so far ahead that so many workers are kept busy, unless the user chose.

    With more than four workers three times as many designs are under way as there are workers: where a batch is waited
    for to its end, most of them have nothing to do meanwhile. Larger batches would do too, and know less of earlier
    designs. A study keeps what it began with.

    Args:
        settings: What is asked for.
        given: Names of the settings that the user gave.
        workers: The workers.
        stored: The settings of a study that has begun, or None.
    """
    if "ahead" in given:
        return settings
    if stored is not None:
        return replace(settings, ahead=stored.ahead)
    waits = workers <= MOST_WAITING or settings.sampler == "tpe"
    return replace(settings, ahead=0 if waits else -(-3 * workers // settings.batch))


def read_settings(path: Path) -> Settings:
    """Read a ``study.yaml``.

    Raises:
        StudyError: If it cannot be read, or has unknown keys or values of the wrong kind.
    """
    try:
        content = YamlReader(str(path)).parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SpaceError) as error:
        raise StudyError(f"cannot read the settings {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path} must be a mapping of settings such as 'space: twins_cswin'")
    _check_keys(path, content)
    from pydantic import ValidationError  # a machine that only measures may lack it

    try:
        # Lists become tuples only where JSON is read.
        settings: Settings = type_adapter(Settings).validate_json(
            json.dumps(content, default=str), strict=True
        )
        return settings
    except ValidationError as error:
        raise StudyError(f"{path}: setting {format_first(error)}") from None
    except (RequestError, TypeError) as error:  # a mapping's key may be no word
        raise StudyError(f"{path}: {error}") from None


def _check_keys(path: Path, content: dict[str, Any]) -> None:
    """Refuse keys that name no setting.

    Raises:
        StudyError: If there is one; the sentence names the nearest setting.
    """
    for prefix, kind, part in (
        ("", Settings, content),
        ("recipe.", Recipe, content.get("recipe")),
        ("retraining.", Recipe, content.get("retraining")),
    ):
        known = [each.name for each in declared_settings(kind)]
        for name in part if isinstance(part, dict) else ():
            if name not in known:
                raise StudyError(f"{path}: unknown setting '{prefix}{name}' ({nearest(str(name), known)})")
