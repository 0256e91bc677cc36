"""The design that a study recommends: drawn, in words, and beside the published one that is nearest to it."""

from __future__ import annotations

import html

from nas.insight.comparison import Comparison
from nas.report.description import describe
from nas.report.drawing import draw_svg
from nas.report.findings import Findings
from nas.report.html import details, section, table
from nas.report.legend import legend
from nas.report.scores import NAMES, format_named_score
from nas.runtime.console import quantity
from nas.runtime.uncertainty import Accuracy
from nas.search.trial_store import TrialRecord
from search_spaces.architecture import Architecture

_MOST_DRAWINGS = 12  # beside the winner's


def winner_section(findings: Findings) -> str:
    """Return the design that retraining found best, or else the front's first; empty where there is neither."""
    chosen, comparison = findings.winner, findings.nearest
    if chosen is None:
        return ""
    text = (
        "From the image at the top to its class at the bottom; a bar is the block's share of the multiply-adds, the "
        "largest share as wide as can be."
    )
    sentences = (_choice_in_words(findings, chosen), _compare(comparison))
    words = "".join(f"<p>{sentence}</p>" for sentence in sentences if sentence)
    differing = "" if comparison is None else _differences(comparison)
    drawing = f'<div class="drawing">{draw_svg(describe(chosen))}</div>'
    return section(
        f"The design: <code>{chosen.digest}</code>",
        text,
        f'<div class="beside">{drawing}<div>{words}{differing}{_commands(findings, chosen)}</div></div>',
        legend(findings.study.space(), chosen),
        _other_drawings(findings, chosen),
    )


def _choice_in_words(findings: Findings, chosen: Architecture) -> str:
    result = next((each for each in findings.results if each["digest"] == chosen.digest), None)
    trial = next((each for each in findings.measured if each.architecture.digest == chosen.digest), None)
    scores = "" if trial is None else _known_scores(findings, trial)
    if result is None:
        first = NAMES[findings.goal.objectives[0]]
        return f"It is the best of the front in {first} ({scores}); no design was trained alone yet."
    others = len({each["digest"] for each in findings.results}) - 1
    among = f"the best on validation images of {others + 1} designs" if others else "the only design"
    beside = f" By the supernet's weights: {scores}." if scores else ""
    return (
        f"It is {among} that were trained alone: <b>{Accuracy.from_result(result, 'val')}</b> on them, "
        f"<b>{Accuracy.from_result(result, 'test')}</b> on the test images.{beside}"
    ).replace("the only design that were", "the only design that was")


def _known_scores(findings: Findings, trial: TrialRecord) -> str:
    names = dict.fromkeys([*findings.goal.objectives, *NAMES])
    return ", ".join(format_named_score(name, trial) for name in names if name in trial.scores)


def _compare(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    differing, total = len(comparison.differences), len(comparison.choices)
    name = html.escape(comparison.name)
    if not differing:
        return f"It is what this space has of a published design: <b>{name}</b>."
    return (
        f"Of the published designs that this space can express, <b>{name}</b> is nearest: {total - differing} of "
        f"{total} choices are equal, {differing} differ."
    )


def _differences(comparison: Comparison) -> str:
    rows = [
        [
            f"stage {each.stage}" if each.stage else "whole",
            html.escape(each.choice),
            html.escape(each.published),
            f"<b>{html.escape(each.found)}</b>",
        ]
        for each in comparison.differences
    ]
    heads = ["where", "choice", html.escape(comparison.name), "found"]
    return table(heads, rows, numbers=0) if rows else ""


def _commands(findings: Findings, chosen: Architecture) -> str:
    folder = html.escape(str(findings.study.folder))
    exported = findings.study.export_folder(chosen.digest) / "verification.json"
    lines = [f"nas show {chosen.digest} --study {folder}"]
    if not any(each["digest"] == chosen.digest for each in findings.results):
        lines.append(f"nas retrain {folder} --arch {chosen.digest}")
    elif not exported.exists():
        lines.append(f"nas export {folder} --arch {chosen.digest}")
    return "<p>" + "<br>".join(f"<code>{line}</code>" for line in lines) + "</p>"


def _other_drawings(findings: Findings, chosen: Architecture) -> str:
    """Return other retrained designs and those of the front, drawn, behind a line that opens them."""
    designs: dict[str, tuple[Architecture, str]] = {}
    for result in findings.results:
        text = f"retrained {Accuracy.from_result(result, 'test')} test, {quantity(result['macs'])} MACs"
        designs.setdefault(result["digest"], (Architecture.from_json(result["architecture"]), text))
    for trial in findings.front:
        digest = trial.architecture.digest
        designs.setdefault(digest, (trial.architecture, f"front, {_known_scores(findings, trial)}"))
    designs.pop(chosen.digest, None)
    shown = list(designs.values())[:_MOST_DRAWINGS]
    drawn = "".join(
        f"<figure>{draw_svg(describe(design))}<figcaption>{html.escape(text)}</figcaption></figure>"
        for design, text in shown
    )
    title = f"{len(shown)} other designs drawn, retrained ones first"
    return details(title, f'<div class="drawings">{drawn}</div>') if shown else ""
