"""The tables of a study's report: the front, the retrained designs, the published ones."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from nas.report.findings import Findings
from nas.report.html import section, table
from nas.report.scores import NAMES, format_named_score, format_score
from nas.runtime.console import quantity
from nas.search.pareto import dominates
from nas.search.trial_store import TrialRecord

_NONE = "–"


def front_section(findings: Findings) -> str:
    """Return the designs of the Pareto front with their scores, and how they did when retrained."""
    names = [*findings.goal.objectives]
    known = findings.front[0].scores
    names += [name for name in ("top1", "macs", "params") if name not in names and name in known]
    test_top1: dict[str, float] = {}
    for result in findings.results:
        test_top1.setdefault(result["digest"], result["test_top1"])  # of the mode that validated best
    heads = ["digest", *(NAMES[name] for name in names)]
    heads += ["retrained, test"] if test_top1 else []
    rows = []
    for trial in findings.front:
        numbers = [format_score(name, trial.scores[name]) for name in names]
        if test_top1:
            top1 = test_top1.get(trial.architecture.digest)
            numbers.append("" if top1 is None else f"{top1:.2f}%")
        rows.append([digest_code(trial), *numbers, _stage_boxes(trial)])
    title = "The Pareto front" if len(findings.goal.objectives) > 1 else "The best design"
    folder = html.escape(str(findings.study.folder))
    text = (
        f"See one with <code>nas show DIGEST --study {folder}</code>, train it by itself with "
        f"<code>nas retrain {folder} --arch DIGEST</code>."
    )
    return section(title, text, table([*heads, "design, stage by stage"], rows, numbers=len(heads) - 1))


def retraining_section(findings: Findings) -> str:
    """Return what retrained designs reach, from scratch and from the supernet's weights; empty without any."""
    if not findings.results:
        return ""
    supernet_top1 = {trial.architecture.digest: trial.scores.get("top1") for trial in findings.measured}
    by_digest: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in findings.results:
        by_digest.setdefault(result["digest"], {})[result["mode"]] = result
    rows = [_retrained_row(digest, modes, supernet_top1.get(digest)) for digest, modes in by_digest.items()]
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


def _retrained_row(
    digest: str, modes: Mapping[str, Mapping[str, Any]], supernet_top1: float | None
) -> list[str]:
    macs = next(iter(modes.values()))["macs"]
    cells = [f"<code>{html.escape(digest)}</code>", quantity(macs)]
    cells.append(_NONE if supernet_top1 is None else f"{supernet_top1:.2f}%")
    for mode in ("scratch", "inherit"):
        for score in ("val_top1", "test_top1"):
            cells.append(f"{modes[mode][score]:.2f}%" if mode in modes else _NONE)
    if {"scratch", "inherit"} <= modes.keys():
        gain = modes["inherit"]["test_top1"] - modes["scratch"]["test_top1"]
        return [*cells, f"{gain:+.2f}".replace("-", "−")]
    return [*cells, _NONE]


def analogues_section(findings: Findings) -> str:
    """Return the analogues of published designs beside what the search found; empty where it had none."""
    analogues = [trial for trial in findings.measured if trial.is_analogue]
    if not analogues:
        return ""
    names = [name for name in NAMES if name in analogues[0].scores]
    rows = [
        [
            html.escape(trial.origin),
            digest_code(trial),
            *(format_score(name, trial.scores[name]) for name in names),
            _better_design(findings, trial),
        ]
        for trial in analogues
    ]
    heads = ["like", "digest", *(NAMES[name] for name in names), "found: as good or better in all"]
    text = (
        "What people would have picked, as closely as this space can express it; the search starts with them."
    )
    return section("Published designs", text, table(heads, rows, numbers=len(names), first=2))


def _better_design(findings: Findings, trial: TrialRecord) -> str:
    goal = findings.goal
    values = goal.values(trial.scores)
    for other in findings.front:  # best in the first objective first
        if dominates(goal.values(other.scores), values, goal.directions):
            scores = ", ".join(format_named_score(name, other.scores[name]) for name in goal.objectives)
            return f"{digest_code(other)} {scores}"
    return "none: it is on the front"


def digest_code(trial: TrialRecord) -> str:
    """Return the digest of a trial's design as HTML."""
    return f"<code>{trial.architecture.digest}</code>"


def _stage_boxes(trial: TrialRecord) -> str:
    stages = str(trial.architecture).split(" | ")
    spans = "".join(f"<span>{html.escape(stage)}</span>" for stage in stages)
    return f'<div class="design">{spans}</div>'
