"""What commands print: tables, JSON, and what to type next."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from nas.data.summary import DataSummary
    from nas.export.predict import Prediction
    from nas.pipeline.study_doctor import StudyHealth
    from nas.report.study_list import StudySummary
    from nas.search.trial_store import TrialRecord
    from nas.study.folder import Study
    from nas.study.named_recipes.reader import NamedRecipe


class OutputClosed(Exception):
    """Nobody reads standard output any more."""


class _Results(Console):
    """Standard output; that nobody reads it any more is for the command line to answer, not for rich."""

    def on_broken_pipe(self) -> None:
        """Say that it is closed."""
        raise OutputClosed


output = _Results(highlight=False)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print_text(json.dumps(value, indent=2) + "\n")


def print_text(text: str) -> None:
    """Print a text as it is on standard output.

    Raises:
        OutputClosed: If nobody reads it any more.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None


def front_table(front: Sequence[TrialRecord], results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the Pareto front as a table, with the errors of accuracies and what they are within noise of.

    Args:
        front: Its trials, best first.
        results: Results of retraining, of any design.
    """
    from nas.runtime.console import quantity
    from nas.runtime.uncertainty import Accuracy
    from nas.search.ties import tie_marks

    table = _narrow_table("Pareto front")
    for column in ("digest", "val top-1", "tie with", "MACs", "params"):
        table.add_column(column, no_wrap=column != "tie with")
    marks = tie_marks(front)
    # Latencies are known of all designs or of none: an objective, a limit or a given table asks for them.
    has_latency = any("latency_ms" in trial.scores for trial in front)
    if has_latency:
        table.add_column("latency")
    table.add_column("retrained, test", no_wrap=True)
    table.add_column("from")
    for trial in front:
        scores, digest = trial.scores, trial.architecture.digest
        retrained = [
            f"{Accuracy.from_result(r, 'test')} {r['mode']}" for r in results if r["digest"] == digest
        ]
        table.add_row(
            digest,
            "" if trial.accuracy is None else str(trial.accuracy),
            marks.get(digest, ""),
            quantity(scores["macs"]),
            quantity(scores["params"]),
            *([f"{scores['latency_ms']:.3g} ms"] if has_latency else []),
            "\n".join(retrained),
            trial.origin,
        )
    return table


def _narrow_table(title: str) -> Table:
    """Return a table for 80 columns, which it has where there is no terminal: no digest may lose its end there."""
    return Table(title=title, box=SIMPLE, pad_edge=False, collapse_padding=True)


def front_notes(front: Sequence[TrialRecord], evaluated: int) -> str:
    """Return what the accuracies of a front are and are not, to be read below its table."""
    from nas.runtime.uncertainty import largest_optimism

    accuracies = [trial.accuracy for trial in front if trial.accuracy is not None]
    if not accuracies:
        return ""
    best = max(accuracies, key=lambda accuracy: accuracy.top1)
    optimism = largest_optimism(best, evaluated)
    amount = f" by up to {optimism:.1f} points" if optimism else ""
    return (
        f"val top-1 is that of supernet weights on {best.images or 'the'} validation images, ± one standard error; "
        f"its best is selected from {evaluated} designs and so optimistic{amount}.\n"
        "tie with: within noise of the best, the next lower one, or both (McNemar's test on the same images, 95%)."
    )


def results_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the results of retraining as a table, with those marked whose test accuracy ties with the first one's."""
    from nas.report.data_section import own_score_names
    from nas.report.scores import format_cost
    from nas.runtime.uncertainty import Accuracy, is_tie
    from nas.study.designs import describe_origin

    table = _narrow_table("Retrained designs")
    table.caption = "± one standard error; ties are of test accuracies"
    own = own_score_names(results)
    for column in ("digest", "design", "weights", "val top-1", "test top-1", "tie with", *own):
        table.add_column(column, no_wrap=column in ("digest", "val top-1", "test top-1"))
    for rank, result in enumerate(results):
        test, scores = Accuracy.from_result(result, "test"), result.get("own_scores", {})
        tie = rank and is_tie(Accuracy.from_result(results[0], "test"), test)
        table.add_row(
            result["digest"],
            describe_origin(result),
            result["mode"],
            str(Accuracy.from_result(result, "val")),
            str(test),
            "first" if tie else "",
            *(format_cost(name, scores[name]) if name in scores else "" for name in own),
        )
    return table


def halving_table(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Table:
    """Return what became of the candidates that were trained alone, with what that says of the supernet below."""
    from nas.report.halving import TITLE, candidate_heads, candidate_rows, describe_fronts

    table = _narrow_table(TITLE)
    sentences = ["S: on the supernet's front, R: on the retrained one.", *describe_fronts(record, results)]
    table.caption = escape(" ".join(sentences))
    table.caption_justify = "left"
    for head in candidate_heads(record, short=True):
        table.add_column(head, no_wrap=head == "digest")
    for row in candidate_rows(record, results, short=True):
        table.add_row(*map(escape, row))
    return table


def results_json(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of retraining for JSON: without the bits of images, but with the ties they show."""
    from nas.runtime.uncertainty import Accuracy, is_tie

    tests = [Accuracy.from_result(result, "test") for result in results]
    return [
        {
            **{name: value for name, value in result.items() if name != "test_correct"},
            "test_ties": [
                {"digest": other["digest"], "mode": other["mode"]}
                for other, theirs in zip(results, tests, strict=True)
                if other is not result and is_tie(own, theirs)
            ],
        }
        for result, own in zip(results, tests, strict=True)
    ]


def scores_table(scores: Mapping[str, Any]) -> Table:
    """Return the scores of one model as a table, with errors beside accuracies."""
    from nas.runtime.uncertainty import format_accuracy

    table = Table("score", "value")
    for name, value in scores.items():
        if name.endswith(("_se", "_interval")):
            continue
        if name in ("top1", "top5"):
            table.add_row(name, format_accuracy(value, scores.get("images")))
            continue
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    return table


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """Return the most probable classes of every image, a row for each."""
    table = Table("image", "class", Column("probability", justify="right"))
    for prediction in predictions:
        for rank, each in enumerate(prediction.classes):
            file = escape(str(prediction.file)) if rank == 0 else ""
            table.add_row(file, escape(each.name), f"{100 * each.probability:.1f}%")
    return table


def findings_table(findings: Mapping[str, str]) -> Table:
    """Return what was found of this machine as a table."""
    table = Table("what", "finding")
    for name, finding in findings.items():
        table.add_row(name, escape(finding))
    return table


def similarities_table(designs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a column of similarities for every design, a row for every block that one of them has."""

    def format_similarity(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    table = Table("block", *(design["label"] for design in designs), title="CKA with the last block")
    columns = [{block["place"]: block["similarity"] for block in design["blocks"]} for design in designs]
    blocks = {name for column in columns for name in column}
    for name in sorted(blocks, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        table.add_row(
            name, *("" if name not in column else format_similarity(column[name]) for column in columns)
        )
    table.add_section()
    table.add_row("mean, but the last", *(format_similarity(design["mean"]) for design in designs))
    return table


def data_lines(summary: DataSummary) -> list[str]:
    """Return all that was read of a set of images: what the plan says, every class and every broken file."""
    from nas.runtime.uncertainty import describe_resolution, warn_of_small_set

    shortest, longest = summary.sides or (0, 0)
    sides = f", files of {shortest}{'' if shortest == longest else f' to {longest}'} px" if longest else ""
    modes = ", ".join(f"{count} {mode}" for mode, count in (summary.modes or {}).items())
    return [
        f"images    {summary.name}: {summary.splits['train']} to train, {summary.splits['val']} to validate, "
        f"{len(summary.classes)} classes, {summary.in_channels}x{summary.image_size}x{summary.image_size}"
        f"{sides}{f' ({modes})' if modes else ''}",
        *summary.lines(),
        f"noise     {describe_resolution(summary.splits['val'])}",
        *[f"warning   {warning}" for warning in warn_of_small_set(summary.splits["val"])],
        f"digest    {summary.digest}",
        *[f"class     {name}: {count} images" for name, count in summary.classes.items()],
        *[f"unreadable {path}: {reason}" for path, reason in summary.broken],
    ]


def health_lines(health: StudyHealth) -> list[str]:
    """Return what was found of a study, one thing a line."""
    lines = [f"{health.study}: {health.checked} files and databases read"]
    if health.in_use is not None:
        lines.append(f"nothing was mended, since the study is worked on: {health.in_use}")
    for fault in health.faults:
        lines.append(f"{'mended' if fault.mended else 'WRONG'}  {fault.file}: {fault.problem}")
        if fault.mended:
            lines[-1] += f" -> {fault.mended}"
    wrong = sum(fault.mended is None for fault in health.faults)
    lines.append(
        "all is well" if not wrong else f"{wrong} {'thing stays' if wrong == 1 else 'things stay'} wrong"
    )
    return lines


def format_studies(studies: Sequence[StudySummary]) -> str:
    """Return studies as text, two lines each."""
    return "\n".join(line for each in studies for line in _format_study(each))


def _format_study(each: StudySummary) -> Iterator[str]:
    yield f"{each.study}: {each.state}" + ("" if each.holder is None else f"; worked on by {each.holder}")
    details = [] if each.id is None else [f"id {each.id[:8]}"]
    details += [text for text in (each.space, each.images) if text]
    if each.front:
        best = "" if each.best is None else f", best {each.objective} {each.best_text}"
        details.append(f"front of {each.front}{best}")
    details += [text for text in (each.storage, f"changed {each.changed}", each.problem) if text]
    yield f"    {', '.join(details)}"


def next_steps(study: Study, results: Sequence[Mapping[str, Any]], exported: Path | None) -> str:
    """Return what to type after a search, depending on what it was followed by."""
    folder = str(study.folder)
    if not results:
        first = ["retrain", folder, "--top", "1"]
    elif exported is None:
        first = ["export", folder]
    else:
        first = ["evaluate", str(exported), "--data", study.settings().data]
    commands = (first, ["report", folder], ["dashboard", folder])
    return "next: " + "\n      ".join(shlex.join(["nas", *command]) for command in commands)


def summary(
    study: Study,
    front: Sequence[TrialRecord],
    results: Sequence[Mapping[str, Any]],
    exported: Path | None,
) -> dict[str, Any]:
    """Return what a search found as a value for JSON."""
    from nas.search.ties import front_entries

    return {
        "study": str(study.folder),
        "front": front_entries(front),
        "halving": study.halving() if results else None,
        "retrained": results_json(results),
        "exported": None if exported is None else str(exported),
    }


def recipes_table(recipes: Sequence[NamedRecipe]) -> Table:
    """Return recipes with what they are for, cost and reach."""
    from nas.study.named_recipes.table import describe_cost, describe_result

    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for column in ("recipe", "for", "costs", "reached by its authors, top-1"):
        table.add_column(column)
    for named in recipes:
        table.add_row(
            named.name,
            escape(named.summary),
            describe_cost(named),
            escape(describe_result(named)),
            end_section=True,
        )
    return table


def recipe_table(named: NamedRecipe) -> Iterator[str | Table]:
    """Yield a recipe: what it is for, costs and reaches, its numbers with their sources, and what these are."""
    from nas.study.named_recipes.table import (
        describe_cost,
        describe_result,
        describe_result_sources,
        number_rows,
    )

    yield f"[bold]{escape(named.name)}[/]  {escape(named.summary)}"
    yield f"costs: {describe_cost(named)}"
    if named.results:
        yield escape(f"reached: {describe_result(named)} ({describe_result_sources(named)})")
    if named.note:
        yield escape(named.note)
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)
    for column in ("number", "retraining", "supernet", "source"):
        table.add_column(column, overflow="fold")
    for row in number_rows(named):
        table.add_row(*map(escape, row))
    yield table
    for name, meaning in (named.sources or {}).items():
        yield f"{escape(name)}: {escape(meaning)}"
