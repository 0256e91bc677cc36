"""The tables of a study's report: the front, the retrained designs, the published ones."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from nas.report.data_section import own_score_names
from nas.report.findings import Findings
from nas.report.html import section, table
from nas.report.legend import describe_block
from nas.report.scores import NAMES, axis_title, format_cost, format_named_score, format_score
from nas.runtime.console import quantity
from nas.runtime.uncertainty import Accuracy, is_tie, num_decimals
from nas.search.objectives import OBJECTIVES
from nas.search.ties import relate, tie_marks
from nas.search.trial_store import TrialRecord
from nas.study.designs import describe_origin
from search_spaces.architecture import Block

_NONE = "–"


def front_section(findings: Findings) -> str:
    """Return the designs of the Pareto front with their scores, and how they did when retrained."""
    names = [*findings.goal.objectives]
    known = findings.front[0].scores
    limited = [name for name in dict(findings.goal.constraints) if name not in OBJECTIVES]
    names += [name for name in ("top1", "macs", "params", *limited) if name not in names and name in known]
    tests: dict[str, Accuracy] = {}
    for result in findings.results:  # the mode that validated best comes first
        tests.setdefault(result["digest"], Accuracy.from_result(result, "test"))
    marks = tie_marks(findings.front)
    heads = ["digest", *(NAMES[name] for name in names), "tie with"]
    heads += ["retrained, test"] if tests else []
    rows = []
    for trial in findings.front:
        digest = trial.architecture.digest
        numbers = [*(format_score(name, trial) for name in names), marks.get(digest, "")]
        if tests:
            numbers.append(str(tests[digest]) if digest in tests else "")
        rows.append([digest_code(trial), *numbers, _stage_boxes(trial)])
    title = "The Pareto front" if len(findings.goal.objectives) > 1 else "The best design"
    folder = html.escape(str(findings.study.folder))
    text = (
        "Accuracies are those of supernet weights on validation images, ± one standard error. A tie is within noise "
        "of the best, of the next lower one, or of both: no difference is shown at 95% on the same images (McNemar's "
        "test). "
        f"See one with <code>nas show DIGEST --study {folder}</code>, train it by itself with "
        f"<code>nas retrain {folder} --arch DIGEST</code>."
    )
    return section(title, text, table([*heads, "design, stage by stage"], rows, numbers=len(heads) - 1))


def retraining_section(findings: Findings) -> str:
    """Return what retrained designs reach, baselines among them, from both kinds of weights; empty without any."""
    if not findings.results:
        return ""
    supernet = {trial.architecture.digest: trial.accuracy for trial in findings.measured}
    by_digest: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in findings.results:
        by_digest.setdefault(result["digest"], {})[result["mode"]] = result
    first = findings.results[0]
    own = own_score_names(findings.results)
    rows = [
        _retrained_row(digest, modes, supernet.get(digest), first) + [_own_score(name, modes) for name in own]
        for digest, modes in by_digest.items()
    ]
    heads = [
        "digest",
        "design",
        "MACs",
        "supernet, val",
        "scratch, val",
        "scratch, test",
        "inherit, val",
        "inherit, test",
    ]
    text = (
        "The same designs trained by themselves: from random weights (scratch) and from those of the "
        "supernet (inherit), ± one standard error, best validation accuracy first. Test accuracies marked ≈ are "
        "within noise of that of the first by validation; the last column is what inheriting gains on the test "
        "images, in points of top-1. A tie is within noise on these images, and another seed may differ by more."
    )
    titles = [html.escape(axis_title(name, findings.goal)) for name in own]
    if own:
        text += (
            f" {', '.join(map(html.escape, own))} {'is' if len(own) == 1 else 'are'} of the trained networks, on the "
            "validation images that the search compared designs on."
        )
    heads += ["gain", *titles]
    return section("Retrained designs", text, table(heads, rows, numbers=len(heads) - 2, first=2))


def _own_score(name: str, modes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what a program's objective says of a design's networks: once where it says the same of both."""
    known = {
        mode: result["own_scores"][name]
        for mode, result in modes.items()
        if name in result.get("own_scores", {})
    }
    values = {format_cost(name, value) for value in known.values()}
    if len(values) < 2:
        return next(iter(values), _NONE)
    return ", ".join(f"{format_cost(name, value)} {mode}" for mode, value in known.items())


def _retrained_row(
    digest: str,
    modes: Mapping[str, Mapping[str, Any]],
    supernet: Accuracy | None,
    first: Mapping[str, Any],
) -> list[str]:
    one = next(iter(modes.values()))
    cells = [f"<code>{html.escape(digest)}</code>", html.escape(describe_origin(one)), quantity(one["macs"])]
    cells.append(_NONE if supernet is None else str(supernet))
    for mode in ("scratch", "inherit"):
        if mode not in modes:
            cells += [_NONE, _NONE]
            continue
        test = Accuracy.from_result(modes[mode], "test")
        tie = modes[mode] is not first and is_tie(Accuracy.from_result(first, "test"), test)
        cells += [str(Accuracy.from_result(modes[mode], "val")), f"≈ {test}" if tie else str(test)]
    if {"scratch", "inherit"} <= modes.keys():
        inherit, scratch = (Accuracy.from_result(modes[mode], "test") for mode in ("inherit", "scratch"))
        gain = f"{inherit.top1 - scratch.top1:+.{num_decimals(inherit.images)}f}".replace("-", "−")
        return [*cells, gain + (", a tie" if is_tie(inherit, scratch) else "")]
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
            *(format_score(name, trial) for name in names),
            _better_design(findings, trial),
        ]
        for trial in analogues
    ]
    heads = ["like", "digest", *(NAMES[name] for name in names), "found: as good or better in all"]
    text = (
        "What people would have picked, as closely as this space can express it; the search starts with them. "
        "A tie is a design of the front whose top-1 is within noise of theirs and which is as good or better in all "
        "else; better ones are shown to be more accurate. Both by supernet weights, not retrained."
    )
    return section("Published designs", text, table(heads, rows, numbers=len(names), first=2))


def _better_design(findings: Findings, trial: TrialRecord) -> str:
    goal = findings.goal
    found: dict[str, TrialRecord] = {}
    for other in findings.front:  # best in the first objective first
        if other.architecture.digest != trial.architecture.digest and (how := relate(other, trial, goal)):
            found.setdefault(how, other)
    for how, other in sorted(found.items()):  # better ones before ties
        scores = ", ".join(format_named_score(name, other) for name in goal.objectives)
        return f"{how}: {digest_code(other)} {scores}"
    return "none"


def digest_code(trial: TrialRecord) -> str:
    """Return the digest of a trial's design as HTML."""
    return f"<code>{trial.architecture.digest}</code>"


def _stage_boxes(trial: TrialRecord) -> str:
    spans = "".join(
        f"<span>{' '.join(_signs(block) for block in stage.blocks)}</span>"
        for stage in trial.architecture.stages
    )
    return f'<div class="design">{spans}</div>'


def _signs(block: Block) -> str:
    """Return a block as it is written in one line, which a pointer on it takes apart."""
    return f'<abbr title="{html.escape(describe_block(block))}">{html.escape(str(block))}</abbr>'
