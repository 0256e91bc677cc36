"""What training candidates alone made of the supernet's order: two fronts, and where they disagree."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from nas.ranking.agreement import LEAST_DESIGNS, estimate
from nas.ranking.correlation import kendall_taus
from nas.report.html import section, table
from nas.runtime.console import quantity
from nas.runtime.uncertainty import format_accuracy
from nas.search.pareto import front

TITLE = "Supernet's front and retrained front"
_NONE = "–"


def candidate_heads(record: Mapping[str, Any], *, short: bool = False) -> list[str]:
    """Return the headings of the candidates' table: digest, accuracies over the trainings, fronts, and why they are."""
    noun = "ep." if short else "epoch"
    pauses = [
        f"{noun} {epochs}" for epochs in (*(rung["epochs"] for rung in record["rungs"]), record["epochs"])
    ]
    costs = ["MACs"] if record["cost"] == "macs" else ["MACs", record["cost"]]
    return ["digest", *costs, "supernet", *pauses, "front" if short else "on front", "as"]


def candidate_rows(
    record: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, short: bool = False
) -> list[list[str]]:
    """Return a row for every candidate, those that went farthest first, as `candidate_heads` has them.

    Args:
        record: What ``halving.json`` holds.
        results: Results of retraining.
        short: Whether a terminal has to hold it: accuracies without errors, letters for the fronts.
    """
    final, images = final_accuracies(record, results), record["val_images"]

    def show(top1: float | None) -> str:
        if top1 is None:
            return _NONE
        return f"{top1:.1f}" if short else format_accuracy(top1, images)

    retrained = set(retrained_front(record, results))

    def rank(each: Mapping[str, Any]) -> tuple[float, float]:
        end = each["out_after"] or record["epochs"] + 1
        return -end, -final.get(each["digest"], each["val_top1"].get(str(end), 0.0))

    rows = []
    for each in sorted(record["candidates"], key=rank):
        digest, known = each["digest"], each["val_top1"]
        out = each["out_after"]
        rungs = [
            known.get(str(rung["epochs"])) if out is None or rung["epochs"] <= out else None
            for rung in record["rungs"]
        ]
        accuracies = [show(top1) for top1 in (*rungs, final.get(digest))]
        fronts = (("supernet's", each["on_front"]), ("retrained", digest in retrained))
        marks = [name[0].upper() if short else name for name, is_on in fronts if is_on]
        origin = "" if each["origin"] == "sampled" else f"{each['origin']}: "
        rows.append(
            [
                digest,
                quantity(each["macs"]),
                *([] if record["cost"] == "macs" else [f"{each['cost']:.4g}"]),
                f"{each['supernet_top1']:.1f}{'' if short else '%'}",
                *accuracies,
                ", ".join(marks),
                f"{origin}{each['why']}",
            ]
        )
    return rows


def final_accuracies(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return by digest the validation accuracies of the candidates that were trained from scratch to the end."""
    left = {each["digest"] for each in record["candidates"] if each["out_after"] is None}
    return {
        result["digest"]: result["val_top1"]
        for result in results
        if result["digest"] in left
        and result["mode"] == "scratch"
        and result["recipe"].get("epochs", record["epochs"]) == record["epochs"]
    }


def retrained_front(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the digests of the retrained front: accuracy at the end against the cost, most accurate first."""
    final = final_accuracies(record, results)
    costs = {each["digest"]: each["cost"] for each in record["candidates"]}
    digests = list(final)
    points = [(final[digest], costs[digest]) for digest in digests]
    return [digests[index] for index in front(points, ("maximize", "minimize"))]


def describe_fronts(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in sentences where the supernet's front and the retrained one disagree, and how alike the orders are."""
    candidates = record["candidates"]
    final, retrained = final_accuracies(record, results), retrained_front(record, results)
    sentences = [
        f"{len(candidates)} designs spread over {record['cost']} were trained alone from scratch; "
        f"{len(final)} of them to the end, of which {len(retrained)} are the retrained front."
    ]
    ours = [each for each in candidates if each["on_front"]]
    fell = [each for each in ours if each["out_after"] is not None]
    if ours:
        text = f"Of {len(ours)} candidates on the supernet's front {len(fell) or 'none'} fell out"
        listed = ", ".join(f"{each['digest']} after epoch {each['out_after']}" for each in fell)
        sentences.append(f"{text}{f': {listed}' if listed else ''}.")
    outside = [each["digest"] for each in candidates if each["digest"] in retrained and not each["on_front"]]
    inside = len(retrained) - len(outside)
    sentences.append(
        f"Of the retrained front {inside or 'none'} {'is' if inside == 1 else 'are'} on the supernet's"
        + (f", and {', '.join(outside)} {'is' if len(outside) == 1 else 'are'} not." if outside else ".")
    )
    return [*sentences, _describe_order(record, final)]


def _describe_order(record: Mapping[str, Any], final: Mapping[str, float]) -> str:
    """Return Kendall's tau between the supernet's scores and the accuracies at every pause and at the end."""
    scores = {each["digest"]: each["merit"] for each in record["candidates"]}
    columns: list[tuple[int, Mapping[str, float]]] = []
    for rung in record["rungs"]:
        known = {
            each["digest"]: each["val_top1"][str(rung["epochs"])]
            for each in record["candidates"]
            if str(rung["epochs"]) in each["val_top1"]
            and (each["out_after"] is None or rung["epochs"] <= each["out_after"])
        }
        columns.append((rung["epochs"], known))
    parts = []
    for epoch, truths in [*columns, (record["epochs"], final)]:
        if len(truths) >= LEAST_DESIGNS:
            tau = estimate(kendall_taus, [scores[digest] for digest in truths], list(truths.values()))
            parts.append(f"{tau} after epoch {epoch} (n = {len(truths)})")
    if not parts:
        return f"They are too few to say how the supernet orders them, which takes {LEAST_DESIGNS}."
    return f"Kendall's tau between the supernet's scores and the accuracies alone is {', '.join(parts)}."


def halving_section(record: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """Return both fronts and what became of every candidate."""
    heads = candidate_heads(record)
    rows = [
        [f"<code>{row[0]}</code>", *(html.escape(cell) for cell in row[1:])]
        for row in candidate_rows(record, results)
    ]
    text = (
        f"{html.escape(' '.join(describe_fronts(record, results)))} Validation accuracies, ± one standard error: after "
        "a pause the worse half falls out, in such a way that what is left spans the costs. Accuracies of one column "
        "compare; those at a pause are of trainings whose learning rate is still high. Candidates are the best of "
        "the supernet's front, its best plain start (one operator throughout, or an end of the space), the cheapest, "
        "and the best of each stratum of the other designs by cost."
    )
    return section(TITLE, text, table(heads, rows, numbers=len(heads) - 3))
