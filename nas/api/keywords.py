"""The settings of `nas search` as keywords: their names and types, and how they become a request.

`SearchSettings` is written out, for type checkers and editors read it without running anything; a test compares it with
the declarations of `nas.study.settings`, by which values are checked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, get_origin

from nas.runtime.documents import format_first, type_adapter
from nas.search.own_objectives import Objective
from nas.study.recipes import RecipeOverrides
from nas.study.setting import Setting, declared_settings
from nas.study.settings import Settings
from search_spaces.errors import RequestError, nearest

#: What may be given where a path or a name is asked for.
PathText = str | os.PathLike[str]
#: A number, or one with a metric suffix such as ``600M``.
Quantity = str | float


class SearchSettings(TypedDict, total=False):
    """Settings of a search; each is an option of `nas search`, whose help and documents say what it means."""

    scale: str | None
    data_dir: PathText | None
    image_size: int | None
    test_crop: float
    skip_broken: bool
    objective: str | Objective | Sequence[str | Objective]
    max_macs: Quantity | None
    max_params: Quantity | None
    max_latency_ms: float | None
    latency_table: PathText | None
    latency_runtime: str
    sampler: str
    batch: int
    ahead: int
    policy: str
    paths: str
    sharing: str
    supernet: PathText | None
    init_from: str | Sequence[str] | Mapping[str, PathText]
    teacher: str | None
    validation_images: int
    compile: bool
    seed: int
    racing: float | None
    candidates: int | None
    recipe: PathText | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    retrain_epochs: int | None


def keyword_of(each: Setting) -> str:
    """Return what a setting is called as a keyword: its option without the dashes before it."""
    return each.flag.removeprefix("--").replace("-", "_")


def declared_keywords() -> dict[str, Setting]:
    """Return the declarations of all settings that are options of `nas search`, by keyword."""
    declared = (*declared_settings(Settings), *declared_settings(RecipeOverrides))
    return {keyword_of(each): each for each in declared if each.panel is not None}


def read_settings(keywords: Mapping[str, Any], others: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings that were given, by the name of the setting or of the recipe's override.

    Args:
        keywords: By keyword, as they were given; those that are None count as not given.
        others: Further keywords that the caller takes, for the nearest name of an unknown one.

    Raises:
        RequestError: If a keyword is unknown, or its value is of the wrong kind.
    """
    declared, given = declared_keywords(), dict[str, Any]()
    for keyword, value in keywords.items():
        if keyword.startswith("max_") and keyword.removeprefix("max_") in _names_of_own(keywords):
            raise RequestError(
                f"{keyword} is the limit of an objective of yours; give limit= to its Objective"
            )
        if keyword not in declared:
            raise RequestError(
                f"unknown setting '{keyword}' of a search ({nearest(keyword, {*declared, *others})})"
            )
        if value is not None:
            each = declared[keyword]
            given[each.name] = _require_type(each, keyword, _to_plain(each, value))
    return given


def find_own(objective: object, constraints: Sequence[Objective] = ()) -> tuple[Objective, ...]:
    """Return the objectives of a program's own among those of a search and its constraints.

    Raises:
        RequestError: If a constraint has no limit, or two have the same name.
    """
    given = objective if isinstance(objective, Sequence) and not isinstance(objective, str) else [objective]
    for each in constraints:
        if not isinstance(each, Objective) or each.limit is None:
            raise RequestError(
                f"constraints are Objectives with a limit, not {each}; built-in ones are max_macs and its like"
            )
    own = [each for each in (*given, *constraints) if isinstance(each, Objective)]
    unique = {each.name: each for each in own}
    for each in own:
        if unique[each.name] != each:
            raise RequestError(f"two objectives are called '{each.name}'; give each a name of its own")
    return tuple(unique.values())


def _names_of_own(keywords: Mapping[str, Any]) -> set[str]:
    return {each.name for each in find_own(keywords.get("objective"))}


def _to_plain(each: Setting, value: Any) -> Any:
    """Return a value as a setting holds it: paths as text, lists as tuples, numbers with a suffix as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if get_origin(each.type) is tuple:
        if isinstance(value, Mapping):
            return tuple(f"{name}={os.fspath(path)}" for name, path in value.items())
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else value
    if each.name == "objectives":
        value = [value] if isinstance(value, Objective) else value
        if isinstance(value, Sequence) and not isinstance(value, str):
            return ",".join(one.name if isinstance(one, Objective) else str(one) for one in value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and each.name in ("max_macs", "max_params"):
        return f"{value:.15g}"
    return value


def _require_type(each: Setting, keyword: str, value: Any) -> Any:
    """Return a value of a setting's type; what it may be beyond that the settings check themselves.

    Raises:
        RequestError: If it is of another type.
    """
    from pydantic import ValidationError  # a machine that only measures may lack it

    try:
        return type_adapter(each.type).validate_python(value, strict=True)
    except ValidationError as error:
        raise RequestError(f"{keyword}: {format_first(error)}") from None
