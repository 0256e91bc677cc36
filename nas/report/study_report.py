"""The report of a study: one HTML page that needs nothing but a browser."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go

from nas.report import plots
from nas.report.html import figure, page, section, table
from nas.report.plots import worded
from nas.runtime.console import duration, quantity
from nas.runtime.files import write_text
from nas.search.loop import pareto_records
from nas.search.objectives import Goal
from nas.search.pareto import dominates
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study, read_json

_NAMES = {"top1": "top-1", "macs": "MACs", "params": "parameters", "latency_ms": "latency"}
_PAUSE = timedelta(minutes=10)  # no trial for so long: the search did not run


@dataclass(frozen=True)
class _Findings:
    """What a report tells, read once."""

    study: Study
    goal: Goal
    rows: list[TrialRecord]
    front: list[TrialRecord]
    results: list[dict[str, Any]]
    times: list[datetime]

    @property
    def evaluated(self) -> list[TrialRecord]:
        return [row for row in self.rows if row.evaluated]

    @property
    def measured(self) -> list[TrialRecord]:
        return [row for row in self.rows if row.measured]

    @property
    def finished(self) -> bool:
        """Whether the search came to its end and nothing was found since."""
        return self.study.front_file.exists() and read_json(self.study.front_file)["trials"] == len(self.rows)


def write_report(study: Study) -> None:
    """Write ``report.html`` of a study, finished or not.

    Args:
        study: The study.

    Raises:
        StudyError: If the study or its storage cannot be read.
    """
    study.require()
    store, goal = study.store(), study.goal()
    rows = store.records()
    found = _Findings(study, goal, rows, pareto_records(rows, goal), study.results(), store.completion_times())
    write_text(study.report_file, _page(found))


# -- the page ----------------------------------------------------------------------------------------


def _page(found: _Findings) -> str:
    figures: dict[str, go.Figure] = {}
    sections = [_header(found), _facts(found)]
    if found.evaluated:
        sections += [
            _tradeoffs(found, figures),
            _front(found),
            _retraining(found),
            _history(found, figures),
            _choices(found, figures),
            _published(found),
        ]
    sections.append(_footer(found))
    return page(f"{found.study.name}: architecture search", sections, figures)


def _header(found: _Findings) -> str:
    goals = ", ".join(
        f"{'highest' if direction == 'maximize' else 'lowest'} {_NAMES[name]}"
        for name, direction in zip(found.goal.objectives, found.goal.directions, strict=True)
    )
    limits = "".join(f", {_NAMES[name]} at most {worded(name, limit)}" for name, limit in found.goal.constraints)
    state = "" if found.finished else _state(found)
    return (
        f"<header><h1>{html.escape(found.study.name)}</h1>"
        f'<p class="lead">Architecture search for {goals}{limits}.</p>{state}{_summary(found)}</header>'
    )


def _state(found: _Findings) -> str:
    done = f"{len(found.evaluated)} designs so far" if found.evaluated else "no design was evaluated yet"
    return f'<p class="state">The search has not finished: {done}. Run its command again and it goes on.</p>'


def _summary(found: _Findings) -> str:
    """Say the result in words: the best design, and the cheapest that is nearly as good."""
    if not found.front:
        return ""
    best = found.front[0]
    first, *others = found.goal.objectives
    known = [name for name in _NAMES if name in best.scores and name != first]
    rest = ", ".join(_phrase(name, best.scores[name]) for name in known)
    lines = [
        f"The best design, {_digest(best)}, has {_NAMES[first]} "
        f"<b>{worded(first, best.scores[first])}</b> ({rest})."
    ]
    if first == "top1" and others:
        cost = others[0]
        near = [row for row in found.front if row.scores["top1"] >= best.scores["top1"] - 1]
        cheapest = min(near, key=lambda row: row.scores[cost])
        factor = best.scores[cost] / cheapest.scores[cost] if cheapest.scores[cost] else 1
        if factor >= 1.2:
            lines.append(
                f"Within one point of it, {_digest(cheapest)} reaches "
                f"<b>{worded('top1', cheapest.scores['top1'])}</b> "
                f"at {_phrase(cost, cheapest.scores[cost])}, {factor:.1f} times lower."
            )
    if found.results:
        top = found.results[0]
        how = "from scratch" if top["mode"] == "scratch" else "from the supernet's weights"
        lines.append(
            f"Retrained {how}, <code>{html.escape(top['digest'])}</code> reaches "
            f"<b>{top['test_top1']:.2f}%</b> top-1 on the test images."
        )
    return f'<p class="summary">{" ".join(lines)}</p>'


def _phrase(name: str, value: float) -> str:
    text = worded(name, value)
    return f"{text} {_NAMES[name]}" if name in ("macs", "params") else f"{_NAMES[name]} {text}"


def _facts(found: _Findings) -> str:
    settings, facts, rows = found.study.settings(), found.study.facts(), found.rows
    rejected = sum(row.rejected is not None for row in rows)
    repeats = sum(row.repeat for row in rows)
    stopped = len(found.evaluated) - len(found.measured)
    proposed = f"{len(rows)} proposed" + (f", {rejected} over a limit" if rejected else "")
    proposed += f", {repeats} proposed again" if repeats else ""
    proposed += f", {stopped} stopped early" if stopped else ""
    supernet = (
        f"read from {settings.supernet}"
        if settings.supernet
        else f"{settings.recipe.epochs} epochs, policy {settings.policy}, projections per {settings.sharing}"
    )
    size = f"{facts.in_channels} × {facts.image_size} × {facts.image_size}"
    items = {
        "Space": str(found.study.space()),
        "Images": f"{facts.data}: {len(facts.class_names)} classes, {size}",
        "Supernet": supernet,
        "Search": f"{settings.sampler}, batches of {settings.batch}, seed {settings.seed}",
        "Designs": f"{len(found.evaluated)} evaluated ({proposed})",
        "Time": _time(found),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{html.escape(text)}</dd></div>" for name, text in items.items())
    cells = re.sub(r"10\^([0-9]+)", r"10<sup>\1</sup>", cells)
    return f'<dl class="facts">{cells}</dl>'


def _time(found: _Findings) -> str:
    if not found.times:
        return "not begun"
    gaps = [later - earlier for earlier, later in zip(found.times, found.times[1:], strict=False)]
    running = sum((gap for gap in gaps if gap < _PAUSE), timedelta())
    seconds = [row.scores["seconds"] for row in found.evaluated if "seconds" in row.scores]
    each = f", {sum(seconds) / len(seconds):.2g} s a design on one worker" if seconds else ""
    return (
        f"{duration(running.total_seconds())} of searching{each}; last trial {found.times[-1]:%Y-%m-%d %H:%M}"
    )


def _tradeoffs(found: _Findings, figures: dict[str, go.Figure]) -> str:
    first, *others = found.goal.objectives
    parts = []
    for cost in others or (["macs"] if first != "macs" else ["top1"]):
        name = f"tradeoff-{cost}"
        figures[name] = plots.tradeoff(found.rows, found.goal, cost, found.results)
        parts.append(figure(name, figures))
    text = "Accuracies are those of paths of the supernet on validation images. "
    if found.results:
        text += "Dotted lines lead from there to the same design retrained by itself. "
    if any("range" in figures[f"tradeoff-{cost}"].layout.yaxis.to_plotly_json() for cost in others):
        text += "Designs that failed lie below the picture: double-click it to see them."
    return section("Trade-off", text, *parts)


def _history(found: _Findings, figures: dict[str, go.Figure]) -> str:
    figures["history"] = plots.history(found.rows, found.goal)
    text = "Does searching on still pay? Flat lines say no."
    if len(found.goal.objectives) > 1:
        text += " The hypervolume is the share of the box around all designs that the front dominates."
    return section("History", text, figure("history", figures))


def _choices(found: _Findings, figures: dict[str, go.Figure]) -> str:
    chosen = plots.elite(found.rows, found.goal)
    figures["operators"] = plots.operators(found.rows, chosen)
    figures["positions"] = plots.positions(found.rows, chosen)
    first = _NAMES[found.goal.objectives[0]]
    best = f"the {len(chosen)} designs on the front or among the best tenth in {first}"
    return section(
        "Which operator was chosen where",
        f"All evaluated designs against {best}: what grows from left to right is what works at that place.",
        figure("operators", figures),
    ) + section(
        "Which positional encoding was chosen where", "The same for encodings.", figure("positions", figures)
    )


# -- tables ------------------------------------------------------------------------------------------


def _front(found: _Findings) -> str:
    names = [*found.goal.objectives]
    names += [
        name for name in ("top1", "macs", "params") if name not in names and name in found.front[0].scores
    ]
    tested: dict[str, float] = {}
    for result in found.results:
        tested.setdefault(result["digest"], result["test_top1"])  # of the way that validated best
    heads = ["digest", *(_NAMES[name] for name in names)]
    heads += ["retrained, test"] if tested else []
    rows = []
    for row in found.front:
        numbers = [worded(name, row.scores[name]) for name in names]
        if tested:
            mine = tested.get(row.architecture.digest)
            numbers.append("" if mine is None else f"{mine:.2f}%")
        rows.append([_digest(row), *numbers, _design(row)])
    title = "The Pareto front" if len(found.goal.objectives) > 1 else "The best design"
    shown = html.escape(str(found.study.folder))
    text = (
        f"See one with <code>nas show DIGEST --study {shown}</code>, train it by itself with "
        f"<code>nas retrain {shown} --arch DIGEST</code>."
    )
    return section(title, text, table([*heads, "design, stage by stage"], rows, numbers=len(heads) - 1))


def _retraining(found: _Findings) -> str:
    if not found.results:
        return ""
    supernet = {row.architecture.digest: row.scores.get("top1") for row in found.measured}
    by_digest: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in found.results:
        by_digest.setdefault(result["digest"], {})[result["mode"]] = result
    rows = []
    for digest, modes in by_digest.items():
        path = supernet.get(digest)
        cells = [
            f"<code>{html.escape(digest)}</code>",
            quantity(next(iter(modes.values()))["macs"]),
            "–" if path is None else f"{path:.2f}%",
        ]
        for mode in ("scratch", "inherit"):
            for split in ("val_top1", "test_top1"):
                cells.append(f"{modes[mode][split]:.2f}%" if mode in modes else "–")
        both = {"scratch", "inherit"} <= modes.keys()
        gain = modes["inherit"]["test_top1"] - modes["scratch"]["test_top1"] if both else 0.0
        rows.append([*cells, f"{gain:+.2f}".replace("-", "−") if both else "–"])
    heads = [
        "digest",
        "MACs",
        "supernet, val",
        "scratch, val",
        "scratch, test",
        "inherit, val",
        "inherit, test",
    ]
    text = (
        "The same designs trained by themselves: from random weights (scratch) and from those of the "
        "supernet (inherit). The last column is what inheriting gains on the test images, in points of top-1."
    )
    return section("Retrained designs", text, table([*heads, "gain"], rows, numbers=len(heads)))


def _published(found: _Findings) -> str:
    analogues = [row for row in found.measured if row.origin != "sampled"]
    if not analogues:
        return ""
    goal, rows = found.goal, []
    names = [name for name in _NAMES if name in analogues[0].scores]
    for row in analogues:
        values = goal.values(row.scores)
        better = [o for o in found.front if dominates(goal.values(o.scores), values, goal.directions)]
        rival = "none: it is on the front"
        if better:
            # The front is sorted, best in the first objective first.
            shown = ", ".join(_phrase(name, better[0].scores[name]) for name in goal.objectives)
            rival = f"{_digest(better[0])} {shown}"
        cells = [html.escape(row.origin), _digest(row), *(worded(name, row.scores[name]) for name in names)]
        rows.append([*cells, rival])
    heads = ["like", "digest", *(_NAMES[name] for name in names), "found: as good or better in all"]
    text = "What people would have picked, as far as this space can say it; the search starts with them."
    return section("Published designs", text, table(heads, rows, numbers=len(names), first=2))


def _digest(row: TrialRecord) -> str:
    return f"<code>{row.architecture.digest}</code>"


def _design(row: TrialRecord) -> str:
    stages = str(row.architecture).split(" | ")
    return (
        '<div class="design">' + "".join(f"<span>{html.escape(stage)}</span>" for stage in stages) + "</div>"
    )


def _footer(found: _Findings) -> str:
    path = found.study.folder / "provenance.json"
    origin = read_json(path) if path.exists() else {}
    commit = str(origin.get("commit") or "unknown")[:12] + (" with changes" if origin.get("dirty") else "")
    packages = origin.get("packages", {})
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("torch", "optuna", "ray", "timm") if name in packages
    )
    devices = ", ".join(origin.get("devices", [])) or f"{origin.get('cpu_count', '?')} CPU cores"
    command = " ".join(origin.get("command", []))
    return (
        f"<footer><p>Begun {html.escape(str(origin.get('time', '?')))} on {html.escape(devices)} "
        f"({html.escape(str(origin.get('platform', '?')))}), commit {html.escape(commit)}, "
        f"{html.escape(versions)}.</p><p><code>{html.escape(command)}</code></p></footer>"
    )


# -- figures in the page -----------------------------------------------------------------------------
