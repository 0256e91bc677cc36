"""A study as Optuna's dashboard is to show it: only what is active, with a note, its attributes, figures and drawings.

A search gives every trial the same list of parameters, since samplers of several objectives need that; most of them are
of blocks and operators that a design does not have. Here is a copy in memory in which a trial has the parameters alone
that make its design, so that importances and plots speak of choices. Nothing is written to the study, and what is
deleted in the dashboard is deleted in the copy.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from nas.insight.importance import Importance
from nas.insight.sentences import describe_effects, describe_importances, name_choice
from nas.report.data_section import trials_csv
from nas.report.description import describe
from nas.report.drawing import draw_svg
from nas.report.figure_style import BLUE
from nas.report.findings import Findings, read_findings
from nas.report.insight_sections import plot_effects
from nas.report.scores import NAMES, format_cost, format_named_score
from nas.report.tradeoff import plot_tradeoff
from nas.runtime.files import write_text
from nas.runtime.uncertainty import Accuracy
from nas.search.proposers import to_distributions
from nas.search.trial_store import TrialRecord
from nas.study.attributes import study_attributes
from nas.study.folder import Study
from search_spaces.active import active_values
from search_spaces.architecture import Architecture
from search_spaces.errors import SpaceError

_MOST_DRAWN = 24  # designs with a drawing and a summary
_MOST_SENTENCES = 8
_MOST_EFFECTS, _MOST_IMPORTANT = 8, 12
_CARD_PIXELS = 440


class DashboardStudy:
    """The copy of a study.

    Args:
        source: The study.
        artifacts: Folder for drawings and summaries; it may be removed when the copy is no longer shown.

    Raises:
        StudyError: If the study cannot be read.
    """

    def __init__(self, source: Study, artifacts: Path) -> None:
        self.source = source
        self.storage = optuna.storages.InMemoryStorage()
        self.artifact_store = FileSystemArtifactStore(artifacts)
        self._files, self._copied = artifacts, set[tuple[int, int]]()
        self._space, findings = source.space(), read_findings(source)
        self._distributions: dict[str, BaseDistribution] = dict(to_distributions(self._space.choices))
        self.copy = optuna.create_study(
            storage=self.storage, study_name=source.name, directions=findings.goal.directions
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.copy.set_metric_names(list(findings.goal.objectives))
        for name, value in study_attributes(source).items():
            self.copy.set_user_attr(name, value)
        self._show(findings)

    def refresh(self) -> int:
        """Copy trials that were finished since, and bring note and figures up to date; return how many there were.

        Raises:
            StudyError: If the study cannot be read.
        """
        before, findings = len(self._copied), read_findings(self.source)
        if len(findings.trials) > before:
            self._show(findings)
        return len(self._copied) - before

    def _show(self, findings: Findings) -> None:
        # They bring scikit-learn, which sets environment variables when it is imported.
        from optuna_dashboard import save_note, save_plotly_graph_object

        self.copy.add_trials(list(self._new_trials(findings)))
        save_note(self.copy, to_note(findings))
        for name, figure in _figures(findings).items():
            save_plotly_graph_object(self.copy, figure, graph_object_id=name)
        self._add_artifacts(findings)

    def _new_trials(self, findings: Findings) -> Iterator[FrozenTrial]:
        store = self.source.find_store()
        if store is None:
            return
        limits = dict(findings.goal.constraints)
        times = iter(findings.times)
        for record in findings.trials:
            ended = next(times, None)
            if (place := (record.batch, record.index_in_batch)) in self._copied:
                continue
            self._copied.add(place)
            trial = store.to_frozen_trial(record)
            trial.params = self._active_params(record)
            trial.distributions = {name: self._distributions[name] for name in trial.params}
            if ended is not None and trial.datetime_complete and trial.datetime_start:
                trial.datetime_start += ended - trial.datetime_complete
                trial.datetime_complete = ended
            over = findings.goal.violations(record.scores) if limits else {}
            for name, share in over.items():
                trial.set_user_attr(f"over {NAMES[name]} of {format_cost(name, limits[name])}", share)
            yield trial

    def _active_params(self, record: TrialRecord) -> dict[str, Any]:
        try:
            return dict(active_values(self._space, record.architecture))
        except SpaceError:  # of an earlier version whose operators had other knobs
            return dict(record.params)

    def _add_artifacts(self, findings: Findings) -> None:
        known = {each.filename for each in optuna.artifacts.get_all_artifact_meta(self.copy)}
        for name, text in _artifact_texts(findings):
            if name not in known:
                write_text(self._files / "sources" / name, text)
                upload_artifact(
                    artifact_store=self.artifact_store,
                    file_path=str(self._files / "sources" / name),
                    study_or_trial=self.copy,
                )


def _artifact_texts(findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield the name and text of drawings and summaries of retrained designs and the front, and the table of trials."""
    designs: dict[str, tuple[Architecture, dict[str, Any]]] = {}
    for result in findings.results:
        design = Architecture.from_json(result["architecture"])
        designs.setdefault(design.digest, (design, {}))[1][f"retrained, {result['mode']}"] = {
            "validation": str(Accuracy.from_result(result, "val")),
            "test": str(Accuracy.from_result(result, "test")),
        }
    for trial in findings.front:
        digest = trial.architecture.digest
        designs.setdefault(digest, (trial.architecture, {}))[1]["supernet"] = dict(trial.scores)
    for rank, (digest, (design, scores)) in enumerate(list(designs.items())[:_MOST_DRAWN], start=1):
        yield f"{rank:02}-{digest}.svg", draw_svg(describe(design))
        yield f"{rank:02}-{digest}.json", json.dumps({**scores, **describe(design)}, indent=1)
    if findings.finished:
        yield "trials.csv", trials_csv(findings)


def _figures(findings: Findings) -> dict[str, go.Figure]:
    """Return the figures that Optuna's own do not have: errors, and what choices are worth at equal MACs."""
    figures: dict[str, go.Figure] = {}
    if findings.measured:
        first, *others = findings.goal.objectives
        costs = others or ["params" if first == "macs" else "macs"]
        plot = plot_tradeoff(findings.trials, findings.goal, costs[0], findings.results)
        figures["tradeoff"] = _titled(plot, "Trade-off, with errors")
    for number, lesson in enumerate(findings.lessons):
        clear = sorted(
            (each for each in lesson.effects if each.clear), key=lambda each: -abs(each.points.value or 0)
        )
        if shown := set(clear[:_MOST_EFFECTS]):
            plot = plot_effects([each for each in lesson.effects if each in shown])
            title = f"Largest clear effects at equal MACs, by {lesson.source}"
            figures[f"effects-{number}"] = _titled(plot, title)
        if lesson.importances:
            plot = _plot_importances(lesson.importances[:_MOST_IMPORTANT])
            figures[f"importances-{number}"] = _titled(
                plot, f"Choices that matter at equal MACs, by {lesson.source}"
            )
    return figures


def _plot_importances(importances: Sequence[Importance]) -> go.Figure:
    """Plot how much choices matter, the most important one at the top."""
    names = [f"{each.choice.place}, {name_choice(each.choice)}" for each in importances]
    plot = go.Figure(
        go.Bar(x=[100 * each.share for each in importances], y=names, orientation="h", marker={"color": BLUE})
    )
    plot.update_xaxes(title="share of explained variance (%)")
    plot.update_yaxes(autorange="reversed", automargin=True)
    return plot


def _titled(plot: go.Figure, title: str) -> go.Figure:
    """Return a figure that fits a card of the dashboard, which cuts off what is higher."""
    plot.update_layout(title={"text": title, "font": {"size": 15}, "y": 0.97}, height=_CARD_PIXELS)
    plot.update_layout(margin={"l": 70, "r": 20, "t": 90, "b": 50}, template="plotly_white")
    return plot


def to_note(findings: Findings) -> str:
    """Return the note of a study in Markdown: what it is, what it found and learned, and where more is."""
    lines = [f"# {findings.study.name}", ""]
    lines += [f"- **{name}** `{value}`" for name, value in study_attributes(findings.study).items()]
    lines += [
        "",
        "A copy in memory: trials have the parameters alone that are active in their designs, and nothing that is "
        "changed here changes the study. `nas dashboard --stored` shows its stored trials as they are.",
        "",
        f"Report: `nas report {findings.study.folder}`. Drawings of the best designs are under *Artifacts*.",
        "",
        *_front_lines(findings),
    ]
    for lesson in findings.lessons:
        sentences = [
            *describe_effects(lesson.effects)[:_MOST_SENTENCES],
            describe_importances(lesson.importances),
        ]
        lines += ["", f"## What was learned by {lesson.source}", ""]
        lines += [f"- {sentence}" for sentence in sentences if sentence]
    return "\n".join(lines) + "\n"


def _front_lines(findings: Findings) -> Sequence[str]:
    if not findings.front:
        return ["No design was evaluated yet."]
    lines = ["## The front", "", "| digest | scores | design |", "|---|---|---|"]
    for trial in findings.front[:_MOST_DRAWN]:
        names = dict.fromkeys([*findings.goal.objectives, *NAMES])
        scores = ", ".join(format_named_score(name, trial) for name in names if name in trial.scores)
        design = str(trial.architecture).replace("|", "\\|")
        lines.append(f"| `{trial.architecture.digest}` | {scores} | `{design}` |")
    return lines
