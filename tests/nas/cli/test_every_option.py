"""Every option of every command is honoured, which is seen in what the command does, or refused by name.

An option without an entry here fails the first test.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from dataclasses import fields, is_dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import save_file

from nas.bench import command as benches
from nas.cli.main import app
from nas.pipeline.images import load_study_data
from nas.pipeline.plan import plan_search
from nas.pipeline.ranking import rank
from nas.pipeline.request import SearchRequest
from nas.ranking.stratified import sample_evenly
from nas.ranking.trained_designs import TrainingRun, TrainingTable
from nas.runtime.files import write_json
from nas.search.loop import analytic_costs
from nas.search.trial_store import TrialRecord
from nas.study.designs import Design
from nas.study.folder import Study
from search_spaces.architecture import Architecture
from search_spaces.published import PUBLISHED
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE, Nas, Outcome, paint_folder
from tests.helpers.latency import make_table
from tests.helpers.small_network import SMALL_DESIGN, small_network
from tests.helpers.studies import make_study
from tests.nas.cli.option_entries import (
    DIGEST,
    ENTRIES,
    OLD,
)

#: A command takes a second, so that of each list every fifth case is fast; the slow tests have all.
FAST = 5

#: Options that typer adds; `test_completion` tries those of the shell's.
TYPERS = {"--help", "--install-completion", "--show-completion"}
CASES = [(command, option) for command, entries in ENTRIES.items() for option in entries]


def mostly_slow(cases: list[Any]) -> list[Any]:
    """Return the cases of a test, most of them marked slow."""
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if number % FAST else [])
        for number, case in enumerate(cases)
    ]


def all_options() -> dict[str, set[str]]:
    """Return the options of every command, by what is typed."""
    group = typer.main.get_command(app)
    commands = {"nas": group, **getattr(group, "commands", {})}
    return {
        name: {
            max(parameter.opts, key=len)
            for parameter in command.params
            if parameter.param_type_name == "option" and TYPERS.isdisjoint(parameter.opts)
        }
        for name, command in commands.items()
    }


def test_every_option_has_an_entry() -> None:
    assert {name: set(entries) for name, entries in ENTRIES.items()} == all_options()


FEW_DESIGNS = """
name: few
blocks: {mlp_ratio: [1, 2, 3], operators: {dwconv: {kernel_size: 3, dynamic: none}}}
scales: {one: {images: [8, 64], stem: patch4x4, stages: [{dim: 8, num_heads: 2, depth: 1}]}}
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whatever the command lines above name."""
    place = tmp_path_factory.mktemp("options")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "tiny.yaml").write_text(TINY_SPACE)
        (place / "other.yaml").write_text(TINY_SPACE.replace("window_size: [2, 4]", "window_size: [2]"))
        (place / "few.yaml").write_text(FEW_DESIGNS)
        paint_folder(place / "images")
        paint_folder(place / "more", classes=4)
        (paint_folder(place / "broken") / "class0" / "x.png").write_bytes(b"no image")
        shutil.copytree(OLD, place / "study")
        shutil.copytree(OLD / "exports" / DIGEST, place / "model")
        given = {"space": "tiny.yaml", "data": "folder:images"}
        plan = plan_search(SearchRequest(given, budget="1cpu", study="./none"))
        save_file(Supernet(plan.space).state_dict(), place / "own.safetensors")
        write_json(place / "table.json", make_table(plan.space).to_json())
        make_tables(place)
        (place / "settings.yaml").write_text(plan.settings.to_yaml())
        (place / "url.txt").write_text("sqlite:///trials.db\n")
        (place / "url.txt").chmod(0o600)
        torch.save(small_network().state_dict(), place / "small.pth")
    return place


def make_tables(place: Path) -> None:
    """Write scores of designs, and designs trained alone: on the study's images, on others, and too few of them."""
    study = Study(place / "study")
    images = load_study_data(study.settings(), study).digest
    designs = list(sample_evenly(study.space(), Random(0), 6))
    for name, about, count in (("trainings", images, 6), ("others", "0" * 12, 6), ("few", images, 2)):
        table = TrainingTable(place / f"{name}.json", {"images": about, "epochs": 1})
        table.add_designs(designs)
        for number, (_, design) in enumerate(designs[:count]):
            table.add_run(TrainingRun(design.digest, 0, 1, 50 + number, 50, (50,), 1.0))
    scores = {design.digest: 1.0 for _, design in designs}
    for name in ("scores", "supernet", "more/scores"):
        write_json(place / f"{name}.json", scores)
    (place / "nan.json").write_text(json.dumps({**scores, designs[0][1].digest: math.nan}))
    write_json(place / "foreign.json", {"0" * 12: 1.0})


@pytest.fixture
def done(material: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the commands do, in words, instead of what takes long."""
    monkeypatch.chdir(material)
    monkeypatch.setitem(PUBLISHED, "small", lambda: SMALL_DESIGN)
    calls: list[str] = []

    def record(place: str, answer: Any = None) -> None:
        def stub(*arguments: Any, **named: Any) -> Any:
            calls.append(f"{place} {_plain(arguments)} {_plain(named)}")
            return answer

        monkeypatch.setattr(place, stub)

    result = json.loads((material / "study/retrained" / DIGEST / "scratch/result.json").read_text())
    study = make_study(tmp_path / "made", 1)
    design = study.space().smallest
    trial = TrialRecord(0, 0, {}, design, {**analytic_costs(design), "top1": 50.0})
    record("nas.api.search.run_search", [trial])
    record("nas.api.search.write_report")
    record("nas.api.search.follow", contextlib.nullcontext())
    record("nas.api.retrain.follow", contextlib.nullcontext())
    record("nas.report.study_report.write_report", SimpleNamespace(lessons=[], checks=[], spent=[]))
    record("nas.pipeline.models.retrain", [result])
    record("nas.pipeline.models.halve", [Design(Architecture.from_json(result["architecture"]))])
    record("nas.pipeline.ranking.run_ranking", rank([], {"supernet": {}}))
    record("nas.pipeline.models.read_supernet", Supernet(Study(material / "study").space()))
    record("nas.pipeline.exports.export_model", {"model.py": 0.0})
    record("nas.study.folder.Study.count_evaluated", 1)
    record("nas.export.importer.export_model", {"model.py": 0.0})
    record("nas.pipeline.models.require_compiler")
    record("nas.pipeline.plan.require_compiler")
    record("nas.cluster.ray_cluster.start")
    record("nas.export.evaluate_export.evaluate_folder", {"top1": 50.0, "images": 6})
    record("nas.report.similarity.analyze", {"designs": [], "out": None})
    record("nas.report.dashboard.serve")
    record("nas.report.dashboard.serve_stored")
    outcome = benches.Outcome(
        {}, None, {"device": "x", "threads": 1, "dtype": "x", "clock": "x", "quick": True}
    )
    record("nas.bench.command.run", outcome)
    record("nas.bench.page.to_page", "page")
    record("nas.runtime.files.write_json")
    record("nas.runtime.files.write_text")
    return calls


def _plain(value: Any) -> Any:
    """Return what of a value can be compared as text."""
    if isinstance(value, Study):
        return value.folder
    if isinstance(value, Architecture | Space | Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def seen(nas: Nas, done: list[str], command: tuple[str, ...]) -> tuple[Outcome, list[str]]:
    """Run a command; return how it ended and what it did, but for what it counted into the cache."""
    done.clear()
    outcome = nas(*command)
    return outcome, [each for each in done if os.environ["NAS_CACHE_DIR"] not in each]


@pytest.mark.parametrize(("command", "option"), mostly_slow(CASES), ids=lambda text: text)
def test_an_option_does_something(nas: Nas, done: list[str], command: str, option: str) -> None:
    entry = ENTRIES[command][option]
    assert entry.typed[0] == option
    without = seen(nas, done, entry.base)
    typed = (*entry.typed, *entry.base) if command == "nas" else (*entry.base, *entry.typed)
    outcome, did = seen(nas, done, typed)
    if entry.refused is not None:
        assert outcome.code == 2 and entry.refused in outcome.err, outcome
        return
    assert outcome.code == 0, outcome
    assert (outcome.code, outcome.out, did) != (without[0].code, without[0].out, without[1])


@pytest.mark.parametrize(
    ("option", "line"),
    mostly_slow(
        [
            (option, line)
            for entries in ENTRIES.values()
            for option, entry in entries.items()
            for line in entry.refusals
        ]
    ),
    ids=lambda each: each if isinstance(each, str) else " ".join(each),
)
def test_an_option_that_could_change_nothing_is_refused_by_name(
    nas: Nas, done: list[str], option: str, line: tuple[str, ...]
) -> None:
    outcome, did = seen(nas, done, line)
    sentences = [text for text in outcome.err.splitlines() if text.startswith("nas: ")]
    assert outcome.code == 2 and not did, outcome
    (sentence,) = sentences
    value = line[line.index(option) + 1] if line[-1] != option else option
    assert option in sentence or value in sentence, sentence
