"""What a study holds, for programs: its front, what was retrained of it, its trials, its report."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.data.sources.source import Source
from nas.report.study_report import write_report
from nas.runtime.console import quantity
from nas.runtime.uncertainty import Accuracy
from nas.search.objectives import OBJECTIVES
from nas.study.designs import SAMPLED
from nas.study.find import find_study
from nas.study.folder import Study
from nas.training.own_functions import NO_FUNCTIONS, OwnFunctions
from nas.training.retraining_result import trained_network
from search_spaces.architecture import Architecture
from search_spaces.drawing import design_to_html
from search_spaces.errors import StudyError

if TYPE_CHECKING:
    import optuna

    from supernet.network import Network


@dataclass(frozen=True)
class FrontDesign:
    """A design of a Pareto front.

    Args:
        architecture: The design.
        scores: What was found of it: ``top1`` in percent, ``loss``, ``macs``, ``params``, ... by name.
        origin: ``sampled``, or the name of the design with which the search began.
        ties: Digests of the designs of the front whose accuracy is within noise of its own.
    """

    architecture: Architecture
    scores: dict[str, float]
    origin: str = SAMPLED
    ties: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What identifies the design."""
        return self.architecture.digest

    def __str__(self) -> str:
        return f"{self.digest} ({_format_scores(self.scores)})"

    def __repr__(self) -> str:
        return f"<FrontDesign {self}>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>{design_to_html(self.architecture)}"


@dataclass(frozen=True, repr=False)
class Retrained:
    """A design that was trained by itself.

    Args:
        study: The study's folder.
        result: What ``result.json`` holds of it.
    """

    study: Path
    result: dict[str, Any]

    @property
    def architecture(self) -> Architecture:
        """The design."""
        return Architecture.from_json(self.result["architecture"])

    @property
    def digest(self) -> str:
        """What identifies the design."""
        return str(self.result["digest"])

    @property
    def mode(self) -> str:
        """What it started from: ``scratch``, or ``inherit`` for the supernet's weights."""
        return str(self.result["mode"])

    @property
    def validation(self) -> Accuracy:
        """Its accuracy on the validation images, on which designs are compared."""
        return Accuracy.from_result(self.result, "val")

    @property
    def test(self) -> Accuracy:
        """Its accuracy on the test images, which nothing was selected by."""
        return Accuracy.from_result(self.result, "test")

    @property
    def own_scores(self) -> dict[str, float]:
        """What objectives of a program say of the trained network on validation images; empty without any."""
        return dict(self.result.get("own_scores", {}))

    def network(self) -> Network:
        """Return the trained network, which maps normalised images ``(B, C, H, W)`` to logits ``(B, classes)``."""
        return trained_network(Study(self.study), self.result)

    def __repr__(self) -> str:
        return (
            f"<Retrained {self.digest} ({self.mode}): {self.validation} validation, {self.test} test top-1>"
        )


class SearchResult:
    """What a study holds, read from its folder whenever it is asked for.

    Args:
        folder: The study.
        images: Its images where they were given as data sets, for what follows; None where it knows where they are.
        own: Functions of the program that searched it, for what follows.
    """

    def __init__(self, folder: Study, images: Source | None = None, own: OwnFunctions = NO_FUNCTIONS) -> None:
        self._study, self.images, self.own = folder, images, own

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self._study.folder

    @property
    def front(self) -> list[FrontDesign]:
        """The Pareto front, best in the first objective first.

        Raises:
            StudyError: If the search has not found one yet.
        """
        return [
            FrontDesign(
                Architecture.from_json(entry["architecture"]),
                dict(entry["scores"]),
                entry.get("origin", SAMPLED),
                tuple(entry.get("ties", ())),
            )
            for entry in self._study.front()
        ]

    @property
    def best(self) -> FrontDesign:
        """The design of the front that is best in the first objective.

        With a supernet's weights that is a noisy choice: `retrained` says what designs reach by themselves.
        """
        return self.front[0]

    @property
    def retrained(self) -> list[Retrained]:
        """What was trained alone, best on the validation images first."""
        return [Retrained(self.path, result) for result in self._study.results()]

    @property
    def exports(self) -> list[Path]:
        """Folders of the designs that were exported into the study."""
        return sorted(path.parent for path in self.path.glob("exports/*/verification.json"))

    @property
    def report(self) -> Path:
        """The report, one HTML page, written anew."""
        self._study.require()
        write_report(self._study)
        return self._study.report_file

    @property
    def study(self) -> optuna.Study:
        """The Optuna study with all trials, opened for reading.

        Raises:
            StudyError: If the search has not begun.
        """
        store = self._study.find_store()
        if store is None:
            raise StudyError(f"study {self.path} has no trials yet; let its search begin first")
        return store.study

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return every evaluated design as a flat mapping: digest, origin, whether it is on the front, and scores."""
        front = {design.digest for design in self.front}
        return [
            {
                "digest": trial.architecture.digest,
                "origin": trial.origin,
                "on_front": trial.architecture.digest in front,
                **trial.scores,
                "design": str(trial.architecture),
            }
            for trial in self._study.records()
            if trial.measured
        ]

    def to_dataframe(self) -> Any:
        """Return what `to_dicts` does as a pandas ``DataFrame``; as it is where pandas is not installed."""
        rows = self.to_dicts()
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def __repr__(self) -> str:
        if not self._study.front_file.exists():
            return f"<SearchResult {self.path}: no front yet>"
        front, evaluated = self.front, self._study.count_evaluated()
        return (
            f"<SearchResult {self.path}: {len(front)} of {evaluated} designs on the front, best {front[0]}>"
        )

    def _repr_html_(self) -> str:
        if not self._study.front_file.exists():
            return f"<p>{html.escape(repr(self))}</p>"
        return _to_html(self.path, self.front, self._study.count_evaluated(), self.retrained)


def load_study(study: str | os.PathLike[str]) -> SearchResult:
    """Return what a study holds, finished or not.

    Args:
        study: Its folder, or its name under ``studies/``.

    Raises:
        StudyError: If there is none.
    """
    found = find_study(os.fspath(study))
    found.require()
    return SearchResult(found)


def _shown(scores: Mapping[str, float]) -> list[str]:
    """Return the names of the scores that people are shown: objectives of a program's own too."""
    hidden = ("top5", "seconds", "activation_bytes")
    first = [name for name in OBJECTIVES if name in scores]
    return [*first, *(name for name in scores if name not in (*first, *hidden))]


def _format_scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_format_score(name, scores[name])}" for name in _shown(scores))


def _format_score(name: str, value: float) -> str:
    return quantity(value) if name in ("macs", "params") else f"{value:.4g}"


def _to_html(path: Path, front: Sequence[FrontDesign], evaluated: int, retrained: Sequence[Retrained]) -> str:
    """Return a front as a table, with what its designs reached alone."""
    names = _shown(front[0].scores)
    alone: dict[str, list[str]] = {}
    for each in retrained:
        alone.setdefault(each.digest, []).append(f"{each.test} {each.mode}")
    heads = ["digest", *names, *(["retrained, test"] if alone else []), "from"]
    rows = [
        [
            f"<code>{each.digest}</code>",
            *(_format_score(name, each.scores[name]) for name in names),
            *(["<br>".join(map(html.escape, alone.get(each.digest, [])))] if alone else []),
            html.escape(each.origin),
        ]
        for each in front
    ]
    head = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<p><b>{html.escape(str(path))}</b>: {len(front)} of {evaluated} designs on the front</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
