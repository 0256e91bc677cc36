"""Every option of every command is honoured, which is seen in what the command does, or refused by name.

An option without an entry here fails the first test.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import save_file

from nas.bench import command as benches
from nas.cli.main import app
from nas.pipeline.plan import plan_search
from nas.pipeline.request import SearchRequest
from nas.runtime.files import write_json
from nas.search.loop import analytic_costs
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from search_spaces.architecture import Architecture
from search_spaces.published import PUBLISHED
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE, Nas, Outcome, paint_folder
from tests.helpers.latency import make_table
from tests.helpers.small_network import SMALL_DESIGN, small_network
from tests.helpers.studies import make_study

OLD = Path(__file__).parents[2] / "golden" / "old_study"
DIGEST = "ce7caaf679bc"
SEARCH = (
    *("search", "--space", "tiny.yaml", "--data", "folder:images", "--budget", "1cpu,4trials"),
    *("--study", "./new", "--lr", "0.001", "--dry-run", "--json"),
)
RUN = tuple(word for word in SEARCH if word not in ("--dry-run", "--json"))
RETRAIN = ("retrain", "study", "--budget", "1cpu")
BENCH = ("bench", "operators", "search", "compile")
WHOLE = ("search", "--budget", "1cpu,4trials", "--study", "./new", "--lr", "0.001", "--dry-run", "--json")


@dataclass(frozen=True)
class Entry:
    """How the effect of an option is seen.

    Args:
        typed: The option as it is typed, with its value.
        base: The command line that it is added to; it then does something else, or says something else.
        refused: What the sentence says where it is refused instead; the option is named there.
        refusals: Command lines in which it could change nothing, and which are refused.
    """

    typed: tuple[str, ...]
    base: tuple[str, ...]
    refused: str | None = None
    refusals: tuple[tuple[str, ...], ...] = field(default=())


def of(base: tuple[str, ...], *typed: str, refused: str | None = None, refusals: Any = ()) -> Entry:
    return Entry(typed, base, refused, tuple(refusals))


AGAIN = ("search", "--from-study", "study", "--budget", "1cpu")
COSTS = (
    "search",
    "--space",
    "tiny.yaml",
    "--data",
    "folder:images",
    "--budget",
    "1cpu",
    "--objective",
    "macs",
)
ENTRIES: dict[str, dict[str, Entry]] = {
    "nas": {"--version": of(("spaces",), "--version")},
    "search": {
        "--space": of(SEARCH, "--space", "other.yaml", refusals=[(*AGAIN, "--space", "tiny.yaml")]),
        "--scale": of(
            SEARCH,
            *("--scale", "nano"),
            refusals=[(*SEARCH, "--scale", "huge"), (*AGAIN, "--scale", "nano")],
        ),
        "--data": of(SEARCH, "--data", "folder:more", refusals=[(*AGAIN, "--data", "mnist5k")]),
        "--data-dir": of(
            (*SEARCH, "--data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[
                (*SEARCH, "--data-dir", "images"),
                (*SEARCH, "--data", "mnist5k", "--data-dir", "images"),
            ],
        ),
        "--image-size": of(SEARCH, "--image-size", "32", refusals=[(*AGAIN, "--image-size", "32")]),
        "--skip-broken": of(
            SEARCH,
            "--skip-broken",
            refusals=[(*SEARCH, "--data", "mnist5k", "--skip-broken"), (*AGAIN, "--skip-broken")],
        ),
        "--objective": of(SEARCH, "--objective", "top1,params"),
        "--max-macs": of(SEARCH, "--max-macs", "1M"),
        "--max-params": of(SEARCH, "--max-params", "1M"),
        "--max-latency-ms": of(SEARCH, "--max-latency-ms", "1e6"),
        "--latency-table": of(SEARCH, "--latency-table", "table.json"),
        "--sampler": of(SEARCH, "--sampler", "tpe"),
        "--batch": of(SEARCH, "--batch", "7"),
        "--validation-images": of(
            SEARCH, "--validation-images", "5", refusals=[(*COSTS, "--validation-images", "5")]
        ),
        "--racing": of(SEARCH, "--racing", "0.1", refusals=[(*COSTS, "--racing", "0.1")]),
        "--policy": of(
            SEARCH,
            *("--policy", "fair"),
            refusals=[
                (*SEARCH, "--policy", "fair", "--supernet", "own.safetensors"),
                (*COSTS, "--policy", "fair"),
            ],
        ),
        "--sharing": of(SEARCH, "--sharing", "block", refusals=[(*COSTS, "--sharing", "block")]),
        "--supernet": of(
            SEARCH, "--supernet", "own.safetensors", refusals=[(*COSTS, "--supernet", "own.safetensors")]
        ),
        "--init-from": of(
            SEARCH,
            *("--init-from", "cswin_tiny=small.pth"),
            refused="--init-from cswin_tiny is not a point of space",
            refusals=[
                (*SEARCH, "--init-from", "cswin_tiny=a.pth", "--supernet", "own.safetensors"),
                (*COSTS, "--init-from", "cswin_tiny=a.pth"),
            ],
        ),
        "--compile": of(SEARCH, "--compile", refusals=[(*AGAIN, "--compile")]),
        "--seed": of(SEARCH, "--seed", "3"),
        "--epochs": of(
            SEARCH,
            *("--epochs", "3"),
            refusals=[
                (*SEARCH, "--epochs", "3", "--supernet", "own.safetensors"),
                (*COSTS, "--epochs", "3"),
                (*AGAIN, "--epochs", "3"),
            ],
        ),
        "--batch-size": of(SEARCH, "--batch-size", "6"),
        "--lr": of(SEARCH, "--lr", "0.5"),
        "--retrain-epochs": of(SEARCH, "--retrain-epochs", "3"),
        "--budget": of(SEARCH, "--budget", "1cpu,9trials"),
        "--study": of(SEARCH, "--study", "./elsewhere"),
        "--storage": of(SEARCH, "--storage", "sqlite:///trials.db"),
        "--storage-file": of(
            SEARCH,
            *("--storage-file", "url.txt"),
            refusals=[(*SEARCH, "--storage-file", "url.txt", "--storage", "sqlite:///trials.db")],
        ),
        "--config": of(WHOLE, "--config", "settings.yaml", refusals=[(*AGAIN, "--config", "settings.yaml")]),
        "--from-study": of(
            ("search", "--budget", "1cpu,4trials", "--study", "./new", "--dry-run", "--json"),
            *("--from-study", "study"),
            refusals=[("search", "--from-study", "nosuch"), (*AGAIN, "--init-from", "cswin_tiny=a.pth")],
        ),
        "--retrain": of(SEARCH, "--retrain", "2"),
        "--baselines": of((*SEARCH, "--retrain", "1"), "--baselines", refusals=[(*SEARCH, "--baselines")]),
        "--export": of((*SEARCH, "--retrain", "1"), "--export", refusals=[(*SEARCH, "--export")]),
        "--dry-run": of(RUN, "--dry-run"),
        "--json": of((*RUN, "--dry-run"), "--json"),
    },
    "retrain": {
        "--top": of(RETRAIN, "--top", "2", refusals=[(*RETRAIN, "--top", "1", "--arch", DIGEST)]),
        "--arch": of(RETRAIN, "--arch", "dwnet_tiny", refusals=[(*RETRAIN, "--arch", "dwnet_tinny")]),
        "--baselines": of(RETRAIN, "--baselines"),
        "--from-scratch": of(RETRAIN, "--from-scratch", refusals=[(*RETRAIN, "--from-scratch", "--inherit")]),
        "--inherit": of(RETRAIN, "--inherit", refusals=[(*RETRAIN, "--inherit", "--arch", "dwnet_tiny")]),
        "--epochs": of(RETRAIN, "--epochs", "3"),
        "--compile": of(RETRAIN, "--compile"),
        "--budget": of(
            RETRAIN,
            *("--budget", "2cpu"),
            refusals=[
                ("retrain", "study", "--budget", "1cpu,2h"),
                ("retrain", "study", "--budget", "1cpu,9trials"),
            ],
        ),
        "--json": of(RETRAIN, "--json"),
    },
    "export": {
        "--out": of(
            ("export", "study"),
            *("--out", "model"),
            refusals=[
                ("export", "study", "--out", "study"),
                ("export", "study", "--out", "study/retrained/mine"),
                ("export", "study", "--out", "images"),
            ],
        ),
        "--arch": of(("export", "study"), "--arch", "abc", refused="--arch abc"),
        "--format": of(("export", "study"), "--format", "onnx"),
        "--json": of(("export", "study"), "--json"),
    },
    "import": {
        "--as": of(
            ("import", "small.pth", "--out", "model", "--as", "small"),
            *("--as", "dwnet_tiny"),
            refused="do not match",
        ),
        "--out": of(("import", "small.pth", "--as", "small", "--out", "model"), "--out", "model2"),
        "--format": of(("import", "small.pth", "--as", "small", "--out", "model"), "--format", "onnx"),
        "--json": of(("import", "small.pth", "--as", "small", "--out", "model"), "--json"),
    },
    "evaluate": {
        "--data": of(("evaluate", "model", "--data", "folder:images"), "--data", "mnist5k"),
        "--data-dir": of(
            ("evaluate", "model", "--data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[("evaluate", "model", "--data", "mnist5k", "--data-dir", "images")],
        ),
        "--skip-broken": of(
            ("evaluate", "model", "--data", "folder:images"),
            "--skip-broken",
            refusals=[("evaluate", "model", "--data", "mnist5k", "--skip-broken")],
        ),
        "--json": of(("evaluate", "model", "--data", "folder:images"), "--json"),
    },
    "report": {},
    "dashboard": {"--port": of(("dashboard", "study"), "--port", "9000")},
    "analyze": {
        "--data": of(("analyze", "study"), "--data", "folder:images"),
        "--data-dir": of(
            ("analyze", "study", "--data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[("analyze", "study", "--data-dir", "images")],
        ),
        "--skip-broken": of(
            ("analyze", "study", "--data", "folder:images"),
            "--skip-broken",
            refusals=[("analyze", "study", "--skip-broken")],
        ),
        "--images": of(("analyze", "study"), "--images", "8"),
        "--out": of(("analyze", "study"), "--out", "page.html"),
        "--json": of(("analyze", "study"), "--json"),
    },
    "data": {
        "--data-dir": of(
            ("data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[("data", "mnist5k", "--data-dir", "images")],
        ),
        "--image-size": of(("data", "folder:images"), "--image-size", "32"),
        "--skip-broken": of(
            ("data", "folder:broken"), "--skip-broken", refusals=[("data", "mnist5k", "--skip-broken")]
        ),
        "--json": of(("data", "folder:images"), "--json"),
    },
    "spaces": {"--json": of(("spaces",), "--json")},
    "show": {
        "--study": of(
            ("show", "dwnet_tiny"), "--study", "study", refusals=[("show", "dwnet_tiny", "--study", "no")]
        ),
        "--json": of(("show", "dwnet_tiny"), "--json"),
    },
    "studies": {"--json": of(("studies", "."), "--json")},
    "doctor": {"--json": of(("doctor",), "--json")},
    "bench": {
        "--out": of(BENCH, "--out", "bench.json"),
        "--html": of(BENCH, "--html", "bench.html"),
        "--device": of(BENCH, "--device", "cuda", refused="--device cuda")
        if not torch.cuda.is_available()
        else of(BENCH, "--device", "cpu"),
        "--threads": of(BENCH, "--threads", "3", refusals=[("bench", "search", "--threads", "3")]),
        "--rounds": of(BENCH, "--rounds", "3", refusals=[("bench", "latency", "--rounds", "3")]),
        "--image-size": of(BENCH, "--image-size", "112"),
        "--batch-size": of(BENCH, "--batch-size", "3", refusals=[("bench", "search", "--batch-size", "3")]),
        "--trials": of(BENCH, "--trials", "9", refusals=[("bench", "operators", "--trials", "9")]),
        "--space": of(
            BENCH, "--space", "tiny.yaml", refusals=[("bench", "networks", "--space", "tiny.yaml")]
        ),
        "--scale": of(BENCH, "--scale", "nano", refusals=[("bench", "operators", "--scale", "nano")]),
        "--quick": of(BENCH, "--quick"),
        "--json": of(BENCH, "--json"),
    },
}
CASES = [(command, option) for command, entries in ENTRIES.items() for option in entries]


def all_options() -> dict[str, set[str]]:
    """Return the options of every command, by what is typed."""
    group = typer.main.get_command(app)
    commands = {"nas": group, **getattr(group, "commands", {})}
    return {
        name: {
            max(parameter.opts, key=len)
            for parameter in command.params
            if parameter.param_type_name == "option" and "--help" not in parameter.opts
        }
        for name, command in commands.items()
    }


def test_every_option_has_an_entry() -> None:
    assert {name: set(entries) for name, entries in ENTRIES.items()} == all_options()


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whatever the command lines above name."""
    place = tmp_path_factory.mktemp("options")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "tiny.yaml").write_text(TINY_SPACE)
        (place / "other.yaml").write_text(TINY_SPACE.replace("window_size: [2, 4]", "window_size: [2]"))
        paint_folder(place / "images")
        paint_folder(place / "more", classes=4)
        (paint_folder(place / "broken") / "class0" / "x.png").write_bytes(b"no image")
        shutil.copytree(OLD, place / "study")
        shutil.copytree(OLD / "exports" / DIGEST, place / "model")
        given = {"space": "tiny.yaml", "data": "folder:images"}
        plan = plan_search(SearchRequest(given, budget="1cpu", study="./none"))
        save_file(Supernet(plan.space).state_dict(), place / "own.safetensors")
        write_json(place / "table.json", make_table(plan.space).to_json())
        (place / "settings.yaml").write_text(plan.settings.to_yaml())
        (place / "url.txt").write_text("sqlite:///trials.db\n")
        (place / "url.txt").chmod(0o600)
        torch.save(small_network().state_dict(), place / "small.pth")
    return place


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
    record("nas.pipeline.run.run_search", [trial])
    record("nas.report.study_report.write_report")
    record("nas.pipeline.models.retrain", [result])
    record("nas.pipeline.models.read_supernet", Supernet(Study(material / "study").space()))
    record("nas.pipeline.models.export_model", {"model.py": 0.0})
    record("nas.study.folder.Study.count_evaluated", 1)
    record("nas.export.importer.export_model", {"model.py": 0.0})
    record("nas.pipeline.models.require_compiler")
    record("nas.pipeline.plan.require_compiler")
    record("nas.cluster.ray_cluster.start")
    record("nas.export.evaluate_export.evaluate_folder", {"top1": 50.0, "images": 6})
    record("nas.report.similarity.analyze", {"designs": [], "out": None})
    record("nas.report.dashboard.serve")
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
    """Run a command; return how it ended and what it did."""
    done.clear()
    return nas(*command), list(done)


@pytest.mark.parametrize(("command", "option"), CASES, ids=lambda text: text)
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
    [
        (option, line)
        for entries in ENTRIES.values()
        for option, entry in entries.items()
        for line in entry.refusals
    ],
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
