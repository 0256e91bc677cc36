"""Finding a design by what a user types: alone, or as a study's images would have it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.runtime.documents import read_json
from nas.search.objectives import parse_quantity
from nas.study.folder import Study
from search_spaces.architecture import Architecture
from search_spaces.errors import ArchitectureError, nearest
from search_spaces.named_designs import is_plain
from search_spaces.published import PUBLISHED, published
from search_spaces.refit import refit
from search_spaces.scaling import scale_to_macs

#: The environment variable by which files that are opened alone may name modules, which are then imported.
TRUST = "NAS_TRUST"
#: The origin of a design that a search proposed by itself.
SAMPLED = "sampled"


@dataclass(frozen=True)
class Design:
    """A design of a study, or one that was made to fit its images.

    Args:
        architecture: The design.
        origin: `SAMPLED`, the published design that it is an analogue of, or the name or file that it was given by.
        published: Whether it is not of the study's search but was given by a name or a file.
    """

    architecture: Architecture
    origin: str = SAMPLED
    published: bool = False


def describe_origin(result: Mapping[str, Any]) -> str:
    """Return where the design of a result of retraining is from: nothing where the search proposed it by itself."""
    origin = result.get("origin", SAMPLED)
    if origin == SAMPLED:
        return ""
    return f"{origin}, published" if result.get("published") else str(origin)


def is_baseline(result: Mapping[str, Any]) -> bool:
    """Return whether a result of retraining is of a design that papers or the user proposed, not the search."""
    origin = str(result.get("origin", SAMPLED))
    return bool(result.get("published")) or (origin != SAMPLED and not is_plain(origin))


def best_of_search(study: Study, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first of results, best first, that is of no published design; the first where there is none.

    Baselines are trained to be compared with: one of them is exported where it is named, or alone, or where a halving
    chose it.
    """
    halving = study.halving() or {"candidates": []}
    kept = {each["digest"] for each in halving["candidates"] if each["out_after"] is None}
    return next(
        (result for result in results if result["digest"] in kept or not is_baseline(result)), results[0]
    )


def find_architecture(text: str) -> Architecture:
    """Return the architecture that ``text`` names: path of a JSON file or an export folder, or a published name.

    ``NAME@4M`` is that architecture scaled in width and depth to 4M MACs on its own images.

    Raises:
        ArchitectureError: If there is no such architecture, or it cannot be scaled to that.
        RequestError: If what is behind the ``@`` is no number.
    """
    name, macs = split_budget(text)
    architecture = _read_architecture(name)
    return architecture if macs is None else scaled(architecture, macs, name)


def split_budget(text: str) -> tuple[str, float | None]:
    """Return the name and the MACs of ``NAME@MACS``; without an ``@``, or where it is of a file's name, no MACs.

    Raises:
        RequestError: If what is behind the ``@`` is no number.
    """
    name, at, budget = text.rpartition("@")
    return (
        (text, None) if not at or Path(text).exists() else (name, parse_quantity("the MACs behind @", budget))
    )


def scaled(architecture: Architecture, macs: float, name: str) -> Architecture:
    """Return an architecture, called ``name``, at another number of MACs.

    Raises:
        ArchitectureError: If it cannot be scaled to that.
    """
    try:
        return scale_to_macs(architecture, macs)
    except ArchitectureError as error:
        raise ArchitectureError(f"{name}: {error}") from None


def _read_architecture(text: str) -> Architecture:
    path = Path(text)
    if (path / "config.json").is_file():
        path = path / "config.json"
    if not path.is_file():
        return published(text)
    try:
        return Architecture.from_json(
            architecture_json(read_json(path)), trusted=os.environ.get(TRUST) == "1"
        )
    except (ArchitectureError, RecursionError) as error:
        raise ArchitectureError(f"{path}: {error}") from None


def architecture_json(content: object) -> object:
    """Return the JSON of the design in a JSON file: all of it, or what is called ``architecture`` in it.

    In the ``config.json`` of an export this is the name that timm knows the network by, and the design is among what it
    is called with. Earlier exports hold the design in its place.
    """
    if not isinstance(content, dict) or "architecture" not in content:
        return content
    arguments = content.get("model_args")
    if (
        isinstance(content["architecture"], str)
        and isinstance(arguments, dict)
        and "architecture" in arguments
    ):
        return arguments["architecture"]
    return content["architecture"]


def find_design(named: str | Architecture, study: Study) -> Design:
    """Return the design that is named in a study: one of its own, else what `find_architecture` finds.

    The latter, and an architecture that is not of the study, take the channels, classes and size of its images.

    Raises:
        ArchitectureError: If there is no such design, or it cannot take those images.
        StudyError: If there is no such study.
    """
    text = named.digest if isinstance(named, Architecture) else named
    for trial in study.records():
        if trial.architecture.digest == text:
            return Design(trial.architecture, trial.origin)
    for result in study.results():
        if result["digest"] == text:
            architecture = Architecture.from_json(result["architecture"])
            return Design(architecture, result.get("origin", SAMPLED), result.get("published", False))
    if isinstance(named, Architecture):
        return refit_to_study(named, text, study)
    name, macs = split_budget(text)
    if not Path(name).exists() and name not in PUBLISHED:
        raise ArchitectureError(
            f"study {study.folder} has no design '{name}'; give a digest from its front, a file, or a published name "
            f"({nearest(name, PUBLISHED)})"
        )
    design = refit_to_study(_read_architecture(name), text, study)
    if macs is None:
        return design
    return replace(design, architecture=scaled(design.architecture, macs, name), origin=text)


def refit_to_study(architecture: Architecture, name: str, study: Study) -> Design:
    """Return a design, called ``name``, for the images of a study.

    Raises:
        ArchitectureError: If it cannot take them.
    """
    space = study.space()
    try:
        fitting = refit(architecture, space.image_size, space.in_channels, space.num_classes)
    except ArchitectureError as error:
        raise ArchitectureError(f"{name}: {error}; search such images with --image-size") from None
    return Design(fitting, name, published=True)
