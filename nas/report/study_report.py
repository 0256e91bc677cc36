"""The report of a study: one HTML page that needs nothing but a browser."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nas.insight.spent_time import is_supernet_complete
from nas.report.choices import plot_operators, plot_positions, select_elite
from nas.report.cost_section import cost_section, describe_total
from nas.report.data_section import data_section
from nas.report.findings import Findings, read_findings
from nas.report.halving import halving_section
from nas.report.history import plot_history
from nas.report.html import contents, figure, page, section
from nas.report.insight_sections import insight_section, practices_section
from nas.report.learning_curves import learning_section
from nas.report.ranking_page import ranking_section
from nas.report.scores import NAMES, format_cost, format_named_score, format_score
from nas.report.study_tables import analogues_section, digest_code, front_section, retraining_section
from nas.report.tradeoff import plot_tradeoff
from nas.report.winner_section import winner_section
from nas.runtime.console import duration
from nas.runtime.files import write_text
from nas.runtime.secrets import redact_command
from nas.runtime.uncertainty import Accuracy, is_tie, largest_optimism
from nas.search.ties import find_ties
from nas.search.trial_store import TrialRecord
from nas.study.designs import describe_origin
from nas.study.folder import Study

_PACKAGES = ("torch", "optuna", "ray", "timm")  # whose versions the footer names


def write_report(study: Study) -> Findings:
    """Write ``report.html`` of a study, finished or not; return what it says.

    Args:
        study: The study.

    Raises:
        StudyError: If the study or its storage cannot be read.
    """
    findings = read_findings(study)
    write_text(study.report_file, _page(findings))
    return findings


def _page(findings: Findings) -> str:
    figures: dict[str, go.Figure] = {}
    sections = [_header(findings), _overview(findings)]
    if findings.evaluated:
        sections += [
            winner_section(findings),
            _tradeoff_section(findings, figures),
            insight_section(findings.lessons, figures),
            front_section(findings),
            "" if findings.halving is None else halving_section(findings.halving, findings.results),
            retraining_section(findings),
            "" if findings.ranking is None else ranking_section(findings.ranking, figures),
            learning_section(findings.study, findings.results, figures),
            _history_section(findings, figures),
            _choices_section(findings, figures),
            analogues_section(findings),
            _cost_section(findings),
            practices_section(findings.checks),
            data_section(findings),
        ]
    sections.insert(2, contents(sections))
    sections.append(_footer(findings))
    return page(f"{findings.study.name}: architecture search", sections, figures)


def _header(findings: Findings) -> str:
    goal = findings.goal
    objectives = ", ".join(
        f"{'highest' if direction == 'maximize' else 'lowest'} {NAMES[name]}"
        for name, direction in zip(goal.objectives, goal.directions, strict=True)
    )
    limits = "".join(
        f", {NAMES[name]} {goal.relation(name)} {format_cost(name, limit)}"
        for name, limit in goal.constraints
    )
    return (
        f"<header><h1>{html.escape(findings.study.name)}</h1>"
        f'<p class="lead">Architecture search for {objectives}{limits}.</p>'
        f"{_unfinished_note(findings)}{_summary(findings)}</header>"
    )


def _unfinished_note(findings: Findings) -> str:
    if findings.finished:
        return ""
    count = len(findings.evaluated)
    done = f"{count} designs so far" if count else "no design was evaluated yet"
    return f'<p class="state">The search has not finished: {done}. Run its command again and it goes on.</p>'


def _summary(findings: Findings) -> str:
    """Return the result in words: what retraining gave, the best by the supernet, the cheapest that ties with it."""
    if not findings.front:
        return ""
    best, first = findings.front[0], findings.goal.objectives[0]
    known = [name for name in NAMES if name in best.scores and name != first]
    rest = ", ".join(format_named_score(name, best) for name in known)
    if first == "top1" and best.accuracy is not None:
        sentences = [
            f"The best supernet validation accuracy, of {digest_code(best)}, is "
            f"<b>{best.accuracy}</b> ({rest}); {_describe_optimism(best.accuracy, findings.measured)}."
        ]
        sentences += _cheaper_design(findings, findings.goal.costs[0]) if findings.goal.costs else []
    else:
        sentences = [
            f"The best of the search, {digest_code(best)}, has {NAMES[first]} "
            f"<b>{format_score(first, best)}</b> ({rest})."
        ]
    return f'<p class="summary">{" ".join([*_describe_retrained(findings), *sentences, *_describe_ties(findings)])}</p>'


def _describe_retrained(findings: Findings) -> list[str]:
    """Return what the winner reaches when it is trained alone, and the baseline that is better, if one is."""
    if findings.winner is None or not findings.results:
        return []
    first, digest = findings.results[0], findings.winner.digest
    best = next(result for result in findings.results if result["digest"] == digest)
    sentences = [
        f"{_describe_mode(best)}, <code>{html.escape(digest)}</code> reaches "
        f"<b>{Accuracy.from_result(best, 'test')}</b> top-1 on the test images, which nothing was selected by."
    ]
    if first["digest"] != digest:
        sentences.append(
            f"{html.escape(describe_origin(first))}, which was trained to be compared with, does better on validation "
            f"images and reaches <b>{Accuracy.from_result(first, 'test')}</b> on those of the test."
        )
    return sentences


def _describe_mode(result: Mapping[str, Any]) -> str:
    return (
        f"Retrained {'from scratch' if result['mode'] == 'scratch' else 'from the weights of the supernet'}"
    )


def _describe_ties(findings: Findings) -> list[str]:
    """Return how many designs of a front by loss are as accurate as its most accurate one, as far as can be told."""
    if "top1" in findings.goal.objectives or len(findings.front) < 2:
        return []
    if not (known := [trial for trial in findings.front if trial.accuracy is not None]):
        return []
    top = max(known, key=lambda trial: trial.scores["top1"])
    ties = len(find_ties(known)[top.architecture.digest])
    return [
        f"In accuracy {ties} of the {len(known)} designs of the front are within noise of its most accurate one "
        f"({top.accuracy}, {format_cost('macs', top.scores['macs'])} MACs)."
    ]


def _describe_optimism(best: Accuracy, measured: Sequence[TrialRecord]) -> str:
    """Return what the best of noisy accuracies is worth."""
    others = [trial.accuracy for trial in measured if trial.accuracy is not None]
    tied = sum(is_tie(best, accuracy) for accuracy in others) - 1  # itself is one of them
    optimism = largest_optimism(best, len(others))
    amount = f", by up to {optimism:.1f} points" if optimism else ""
    return f"selected from {len(others)} designs, {tied} of which tie with it, it is optimistic{amount}"


def _cheaper_design(findings: Findings, cost: str) -> list[str]:
    """Return a sentence on the cheapest design within noise of the best, if it is much cheaper."""
    best = findings.front[0]
    ties = find_ties(findings.front).get(best.architecture.digest, [])
    near = [best, *(trial for trial in findings.front if trial.architecture.digest in ties)]
    cheapest = min(near, key=lambda trial: trial.scores[cost])
    factor = best.scores[cost] / cheapest.scores[cost] if cheapest.scores[cost] else 1
    if factor < 1.2:
        return []
    return [
        f"Within noise of it, {digest_code(cheapest)} reaches <b>{cheapest.accuracy}</b> "
        f"at {format_named_score(cost, cheapest)}, {factor:.1f} times lower."
    ]


def _overview(findings: Findings) -> str:
    study = findings.study
    settings, dataset = study.settings(), study.dataset()
    supernet = (
        f"read from {settings.supernet}"
        if settings.supernet
        else f"{settings.recipe.epochs} epochs, policy {settings.policy}, paths {settings.paths}, "
        f"projections per {settings.sharing}"
    )
    size = f"{dataset.in_channels} × {dataset.image_size} × {dataset.image_size}"
    items = {
        "Space": str(study.space()),
        "Images": f"{dataset.data}: {len(dataset.class_names)} classes, {size}",
        "Supernet": supernet,
        "Search": f"{settings.sampler}, batches of {settings.batch}, seed {settings.seed}",
        "Designs": _count_designs(findings),
        "Time": _describe_time(findings),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{html.escape(text)}</dd></div>" for name, text in items.items())
    cells = re.sub(r"10\^([0-9]+)", r"10<sup>\1</sup>", cells)
    return f'<dl class="overview">{cells}</dl>'


def _count_designs(findings: Findings) -> str:
    rejected = sum(trial.rejected is not None and not trial.repeat for trial in findings.trials)
    repeats = sum(trial.repeat for trial in findings.trials)
    stopped = len(findings.evaluated) - len(findings.measured)
    proposed = f"{len(findings.trials)} proposed" + (f", {rejected} over a limit" if rejected else "")
    failed = sum(trial.failed is not None and not trial.repeat for trial in findings.trials)
    proposed += f", {failed} failed" if failed else ""
    proposed += f", {repeats} proposed again" if repeats else ""
    proposed += f", {stopped} stopped early" if stopped else ""
    return f"{len(findings.evaluated)} evaluated ({proposed})"


def _describe_time(findings: Findings) -> str:
    if not findings.times:
        return "not begun"
    seconds = [trial.scores["seconds"] for trial in findings.evaluated if "seconds" in trial.scores]
    each = f", {sum(seconds) / len(seconds):.2g} s a design on one worker" if seconds else ""
    running = duration(findings.running_time.total_seconds())
    whole = (
        f"{describe_total(findings.spent)} in all, " if any(s.device_hours for s in findings.spent) else ""
    )
    return f"{whole}{running} of searching{each}; last trial {findings.times[-1]:%Y-%m-%d %H:%M}"


def _tradeoff_section(findings: Findings, figures: dict[str, go.Figure]) -> str:
    first, *others = findings.goal.objectives
    parts = []
    has_top1 = any("top1" in trial.scores for trial in findings.measured)
    for cost in others or (["macs"] if first != "macs" else ["top1" if has_top1 else "params"]):
        name = f"tradeoff-{cost}"
        figures[name] = plot_tradeoff(findings.trials, findings.goal, cost, findings.results)
        parts.append(figure(name, figures))
        if first == "loss" and findings.results:  # whose accuracies compare with accuracies alone
            name = f"accuracy-{cost}"
            figures[name] = plot_tradeoff(findings.trials, findings.goal, cost, findings.results, "top1")
            parts.append(figure(name, figures))
    what = "Losses and accuracies" if first == "loss" else "Accuracies"
    text = f"{what} are those of paths of the supernet on validation images; bars are one standard error. "
    if any(trace.name == "within noise of the best" for figure in figures.values() for trace in figure.data):
        text += "Filled designs of the front are within noise of its most accurate one. "
    if findings.results:
        text += "Dotted lines lead from there to the same design retrained by itself. "
    if any("range" in figures[f"tradeoff-{cost}"].layout.yaxis.to_plotly_json() for cost in others):
        text += "Designs that failed lie below the picture: double-click it to see them."
    return section("Trade-off", text, *parts)


def _history_section(findings: Findings, figures: dict[str, go.Figure]) -> str:
    figures["history"] = plot_history(findings.trials, findings.goal)
    text = "Does searching on still pay? Flat lines say no."
    if len(findings.goal.objectives) > 1:
        text += " The hypervolume is the share of the box around all designs that the front dominates."
    return section("History", text, figure("history", figures))


def _choices_section(findings: Findings, figures: dict[str, go.Figure]) -> str:
    elite = select_elite(findings.trials, findings.goal)
    figures["operators"] = plot_operators(findings.trials, elite)
    figures["positions"] = plot_positions(findings.trials, elite)
    first = NAMES[findings.goal.objectives[0]]
    best = f"the {len(elite)} designs on the front or among the best tenth in {first}"
    return section(
        "Which operator was chosen where",
        f"All evaluated designs against {best}: what grows from left to right is what works in that block.",
        figure("operators", figures),
    ) + section(
        "Which positional encoding was chosen where", "The same for encodings.", figure("positions", figures)
    )


def _cost_section(findings: Findings) -> str:
    study = findings.study
    unknown = study.settings().trains_supernet and not is_supernet_complete(study)
    return cost_section(findings.spent, supernet_unknown=unknown)


def _footer(findings: Findings) -> str:
    origin = findings.study.provenance()
    commit = str(origin.get("commit") or "unknown")[:12] + (" with changes" if origin.get("dirty") else "")
    packages = origin.get("packages", {})
    versions = ", ".join(f"{name} {packages[name]}" for name in _PACKAGES if name in packages)
    devices = ", ".join(origin.get("devices", [])) or f"{origin.get('cpu_count', '?')} CPU cores"
    command = " ".join(redact_command(origin.get("command", [])))  # earlier versions stored passwords
    return (
        f"<footer><p>Begun {html.escape(str(origin.get('time', '?')))} on {html.escape(devices)} "
        f"({html.escape(str(origin.get('platform', '?')))}), commit {html.escape(commit)}, "
        f"{html.escape(versions)}.</p><p><code>{html.escape(command)}</code></p></footer>"
    )
