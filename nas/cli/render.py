"""What commands print: tables, JSON, and what to type next."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from nas.search.trial_store import TrialRecord
    from nas.study.folder import Study


class _Results(Console):
    """Standard output; that nobody reads it any more is for the command line to answer, not for rich."""

    def on_broken_pipe(self) -> None:
        """Let the exception pass that is being handled."""
        raise BrokenPipeError


output = _Results(highlight=False)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def front_table(front: Sequence[TrialRecord], results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the Pareto front as a table.

    Args:
        front: Its trials, best first.
        results: Results of retraining, of any design.
    """
    from nas.runtime.console import quantity

    table = Table("digest", "val top-1", "MACs", "params", title="Pareto front", box=SIMPLE)
    # Latencies are known of all designs or of none: an objective, a limit or a given table asks for them.
    has_latency = any("latency_ms" in trial.scores for trial in front)
    if has_latency:
        table.add_column("latency")
    table.add_column("retrained, test top-1")
    table.add_column("from")
    for trial in front:
        scores, digest = trial.scores, trial.architecture.digest
        retrained = [f"{r['test_top1']:.2f}% {r['mode']}" for r in results if r["digest"] == digest]
        table.add_row(
            digest,
            f"{scores['top1']:.2f}%",
            quantity(scores["macs"]),
            quantity(scores["params"]),
            *([f"{scores['latency_ms']:.3g} ms"] if has_latency else []),
            "\n".join(retrained),
            trial.origin,
        )
    return table


def results_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the results of retraining as a table."""
    table = Table("digest", "trained from", "validation top-1", "test top-1")
    for result in results:
        table.add_row(
            result["digest"], result["mode"], f"{result['val_top1']:.2f}%", f"{result['test_top1']:.2f}%"
        )
    return table


def scores_table(scores: Mapping[str, Any]) -> Table:
    """Return the scores of one model as a table."""
    table = Table("score", "value")
    for name, value in scores.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
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


def next_steps(study: Study, results: Sequence[Mapping[str, Any]], exported: Path | None) -> str:
    """Return what to type after a search, depending on what it was followed by."""
    if not results:
        first = f"nas retrain {study.folder} --top 1"
    elif exported is None:
        first = f"nas export {study.folder}"
    else:
        first = f"nas evaluate {exported} --data {study.settings().data}"
    return "next: " + "\n      ".join([first, f"nas report {study.folder}", f"nas dashboard {study.folder}"])


def summary(
    study: Study,
    front: Sequence[TrialRecord],
    results: Sequence[Mapping[str, Any]],
    exported: Path | None,
) -> dict[str, Any]:
    """Return what a search found as a value for JSON."""
    return {
        "study": str(study.folder),
        "front": [
            {
                "digest": trial.architecture.digest,
                "origin": trial.origin,
                "scores": dict(trial.scores),
                "design": str(trial.architecture),
            }
            for trial in front
        ],
        "retrained": list(results),
        "exported": None if exported is None else str(exported),
    }
