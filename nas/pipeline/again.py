"""Another search of a supernet that is trained: other limits, objectives, sampler or seed, in a study of its own."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas.study.fingerprint import DifferentStudyError
from nas.study.folder import Study
from nas.study.recipes import RecipeOverrides, override_settings
from nas.study.setting import Setting, declared_settings
from nas.study.settings import Settings
from nas.training.supernet_checkpoint import read_progress
from search_spaces.errors import RequestError, StudyError

#: Settings that decide what is searched for and how, and nothing of the supernet.
ANEW = (
    *("objectives", "max_macs", "max_params", "max_latency_ms", "latency_table", "latency_runtime"),
    *("sampler", "batch", "ahead", "validation_images", "seed", "racing", "own_objectives"),
)
#: What Python programs declare, which has no option.
_BY_PROGRAMS = ("own_objectives", "training_step")
#: Options that count beside ``--from-study``.
_COUNTING = (*ANEW, "retrain_epochs", "training_step")


class AnotherSearchError(StudyError):
    """A study is not resumed; the sentence ends with a command to copy, so that no page is named behind it."""

    page = ""


def settings_from_study(source: Study, given: Mapping[str, Any]) -> Settings:
    """Return the settings of another search of a study's supernet.

    Space, images, supernet and recipes are those of the study; of the rest, the options that were given count, and
    their defaults.

    Args:
        source: The study.
        given: Values of the options that were given, by the name of the setting or of the recipe's override.

    Raises:
        RequestError: If an option is to change what is taken from the study, or its supernet is not trained.
    """
    stored = source.settings()
    for name in given:
        if name not in _COUNTING:
            flag = next(each.flag for each in _all_options() if each.name == name)
            raise RequestError(
                f"--from-study takes space, images, supernet and recipes of {source.folder}; leave {flag} out, or "
                "search without --from-study"
            )
    defaults = {each.name: each.default for each in declared_settings(Settings) if each.name in ANEW}
    anew = {**defaults, **{name: value for name, value in given.items() if name in ANEW}}
    base = replace(stored, **anew, space=str(source.space_file), init_from=(), supernet=None)
    base = replace(base, training_step=given.get("training_step", stored.training_step))
    settings = override_settings(base, {}, RecipeOverrides(retrain_epochs=given.get("retrain_epochs")))
    if not settings.needs_supernet:
        return settings
    weights = Path(stored.supernet) if stored.supernet else source.supernet_file
    if not stored.supernet:
        require_trained(source)
    # Latencies of the same space are measured once.
    measured = source.latency_file.exists() and stored.latency_runtime == settings.latency_runtime
    table = anew["latency_table"] or (str(source.latency_file) if measured else None)
    return replace(settings, supernet=str(weights), latency_table=table)


def require_trained(study: Study) -> None:
    """Check that a study's supernet is trained to its end.

    Raises:
        StudyError: If it is not.
    """
    if not _is_trained(study):
        raise StudyError(
            f"the supernet of study {study.folder} is not trained yet; let its search train it first"
        )


def name_another_search(source: Study, given: Mapping[str, Any]) -> Path:
    """Return the folder of another search of a study: named after what was given, so that it is found again."""
    flags = {each.name: each.flag for each in _all_options()}
    words = [f"{flags[name]}-{value}" for name, value in given.items() if name not in _BY_PROGRAMS]
    suffix = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-") or "again"
    return source.folder.parent / f"{source.folder.resolve().name}-{suffix}"


@contextlib.contextmanager
def offering_another_search(study: Study, settings: Settings, budget: str) -> Iterator[None]:
    """Where the block refuses to resume a study, add the command that searches its supernet again, if one does.

    Args:
        study: The study.
        settings: What was asked for.
        budget: The budget that was asked for.

    Raises:
        StudyError: If the block does.
    """
    try:
        yield
    except DifferentStudyError as error:
        command = _command_of_another_search(study, settings, budget, error.differences)
        if command is None:
            raise
        raise AnotherSearchError(f"{error}, or search its supernet again: {command}") from None


def _command_of_another_search(
    study: Study, settings: Settings, budget: str, different: Iterable[str]
) -> str | None:
    """Return the command, or None where more differs than it can set or no supernet is trained."""
    wanted = asdict(settings)
    if settings.own_objectives or not set(different) <= {*ANEW, "recipe.seed"}:
        return None
    if settings.supernet is None and settings.needs_supernet and not _is_trained(study):
        return None
    words = ["nas", "search", "--from-study", str(study.folder)]
    for each in declared_settings(Settings):
        if each.name in ANEW and wanted[each.name] != each.default:
            words += [each.flag, str(wanted[each.name])]
    if budget != "auto":
        words += ["--budget", budget]
    return shlex.join(words)


def _is_trained(study: Study) -> bool:
    done, total = read_progress(study.supernet_file)
    return 0 < total <= done


def _all_options() -> list[Setting]:
    return [*declared_settings(Settings), *declared_settings(RecipeOverrides)]
