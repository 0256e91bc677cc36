"""What a report was made from, to be taken along: tables and JSON that the page holds, and files beside it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nas.report.findings import Findings
from nas.report.html import download, section, table
from nas.runtime.documents import read_json
from nas.search.ties import front_entries
from nas.study.trial_table import to_csv, trial_rows

#: Files of a study that people read, where there are any.
_FILES = {
    "study.yaml": "all settings; nas search --from-study begins with them",
    "space.yaml": "the space that was searched",
    "front.json": "the front with its designs, for programs",
    "trials.csv": "every trial, a line each",
    "provenance.json": "commit, versions, machine and command",
    "ranking.html": "how well the supernet orders designs",
    "similarity.html": "similarity of features over the depth of trained designs",
    "log.txt": "what was printed, and more",
}
#: Files of an export in the order in which they are named.
_EXPORTED = ("README.md", "model.py", "model.safetensors", "model.onnx", "model.pt2", "config.json")


def data_section(findings: Findings) -> str:
    """Return downloads of what the page was made from, exports with their verification, and files of the study.

    Args:
        findings: What was found.
    """
    name = findings.study.name
    links = [
        download(f"{name}-trials.csv", trials_csv(findings), "text/csv"),
        download(f"{name}-retrained.csv", retrained_csv(findings.results), "text/csv")
        if findings.results
        else "",
        download(f"{name}.json", json.dumps(to_json(findings), indent=1), "application/json"),
    ]
    text = f"In this page: {', '.join(link for link in links if link)}."
    text += " The links below lead to files beside it, in the folder of the study."
    return section("Data and files", text, _exports(findings), _files(findings))


def trials_csv(findings: Findings) -> str:
    """Return every trial as a line: what became of it, its scores and its design."""
    rows = trial_rows(findings.trials, {trial.architecture.digest for trial in findings.front})
    return to_csv([{"trial": number, **row} for number, row in enumerate(rows, start=1)])


def retrained_csv(results: Sequence[dict[str, Any]]) -> str:
    """Return every retrained design as a line, best validation accuracy first."""
    names = (
        "digest",
        "mode",
        "origin",
        "macs",
        "params",
        "val_top1",
        "val_images",
        "test_top1",
        "test_images",
    )
    own = own_score_names(results)
    return to_csv(
        [
            {name: result.get(name, "") for name in names}
            | {name: result.get("own_scores", {}).get(name, "") for name in own}
            for result in results
        ]
    )


def own_score_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the objectives of a program that retrained networks were scored by, in order."""
    return list(dict.fromkeys(name for result in results for name in result.get("own_scores", {})))


def to_json(findings: Findings) -> dict[str, Any]:
    """Return all that a report says as JSON.

    Args:
        findings: What was found.
    """
    goal = findings.goal
    return {
        "study": findings.study.name,
        "objectives": dict(zip(goal.objectives, goal.directions, strict=True)),
        "front": [
            {**entry, "architecture": trial.architecture.to_json()}
            for entry, trial in zip(front_entries(findings.front), findings.front, strict=True)
        ],
        "retrained": findings.results,
        "nearest_published": None if findings.nearest is None else findings.nearest.to_json(),
        "learned": [each.to_json() for each in findings.lessons],
        "good_practice": [each.to_json() for each in findings.checks],
        "spent": [each.to_json() for each in findings.spent],
        "provenance": findings.study.provenance(),
    }


def _exports(findings: Findings) -> str:
    rows = []
    for folder in sorted(findings.study.folder.glob("exports/*/")):
        if not (folder / "verification.json").is_file():
            continue
        differences = read_json(folder / "verification.json").get("max_abs_difference", {})
        files = [
            _link(f"exports/{folder.name}/{name}", name) for name in _EXPORTED if (folder / name).is_file()
        ]
        largest = f"{max(differences.values()):.1e}" if differences else "–"
        rows.append([f"<code>{html.escape(folder.name)}</code>", largest, ", ".join(files)])
    if not rows:
        return ""
    return table(["export", "largest difference to the network", "files"], rows, numbers=1)


def _files(findings: Findings) -> str:
    rows = [
        [_link(name, name), html.escape(what)]
        for name, what in _FILES.items()
        if (findings.study.folder / name).is_file()
    ]
    return table(["file", "what is in it"], rows, numbers=0)


def _link(path: str, text: str) -> str:
    return f'<a href="{html.escape(quote(path))}">{html.escape(text)}</a>'
