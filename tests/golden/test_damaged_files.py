"""However a file of a study is damaged, every command that reads it ends in one sentence or does its work."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.pipeline import exports, models
from search_spaces.errors import RequestError
from tests.helpers.command_line import TINY_SPACE, Nas, Outcome, paint_folder
from tests.helpers.damage import RAW, spoil

DIGEST = "ce7caaf679bc"
REPORT = ("report", "study")
RETRAIN = ("retrain", "study", "--budget", "1cpu")
EXPORT = ("export", "study", "--out", "out")
SEARCH = (
    *("search", "--space", "tiny.yaml", "--data", "folder:images", "--study", "./study", "--budget", "1cpu"),
    *(
        "--objective",
        "top1,macs,latency_ms",
        "--epochs",
        "1",
        "--batch",
        "6",
        "--batch-size",
        "8",
        "--dry-run",
    ),
)
MODEL = f"study/exports/{DIGEST}"
RESULT = f"study/retrained/{DIGEST}/scratch"
#: Every file of the old study that is text, and the commands that read it.
READERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "study.yaml": (REPORT, RETRAIN, SEARCH),
    "data.json": (REPORT, RETRAIN, EXPORT),
    "space.yaml": (REPORT, RETRAIN),
    "front.json": (REPORT, RETRAIN),
    "provenance.json": (REPORT,),
    f"retrained/{DIGEST}/scratch/result.json": (REPORT, EXPORT, ("analyze", RESULT)),
    "latency.json": (SEARCH,),
    f"exports/{DIGEST}/config.json": (
        ("evaluate", MODEL, "--data", "folder:images"),
        ("show", MODEL),
        ("analyze", MODEL, "--data", "folder:images"),
    ),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the old study, its space and its images."""
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(Path(__file__).parent / "old_study", folder / "study")
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(folder / "images")
    return folder


@pytest.fixture
def place(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder as the working directory; what takes long after reading is left out."""
    for caller in ("nas.api.export", "nas.api.retrain", "nas.cli.models"):
        import_module(caller)  # one that is imported meanwhile would keep what stands in its place
    monkeypatch.chdir(pristine)

    def stop(*arguments: object, **named: object) -> Any:
        raise RequestError("read")

    monkeypatch.setattr("nas.export.evaluate_export.load_data", stop)
    monkeypatch.setattr("nas.report.similarity.load_data", stop)
    monkeypatch.setattr(models, "run_retraining", stop)
    monkeypatch.setattr(exports, "export_model", stop)
    yield pristine


def require_one_sentence(outcome: Outcome, what: str) -> None:
    sentences = [line for line in outcome.err.splitlines() if line.startswith("nas: ")]
    assert outcome.code in (0, 2), (what, outcome)
    assert len(sentences) == (outcome.code == 2), (what, outcome)
    assert "Traceback" not in outcome.err and "unexpectedly" not in outcome.err, (what, outcome)


def check(nas: Nas, place: Path, name: str, make: Callable[[bytes], bytes]) -> None:
    """Damage a file, run what reads it, and put it back."""
    path = place / "study" / name
    original = path.read_bytes()
    path.write_bytes(make(original))
    try:
        for command in READERS[name]:
            require_one_sentence(nas(*command), f"{command[0]}: {path.read_bytes()[:3000]!r}")
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_ends_in_one_sentence(nas: Nas, place: Path, name: str, seed: int) -> None:
    rng = random.Random(seed)
    check(nas, place, name, lambda original: spoil(original, rng, name.endswith(".yaml")))


@pytest.mark.parametrize("name", ["data.json", "front.json", f"retrained/{DIGEST}/scratch/result.json"])
@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:12]))
def test_a_file_of_something_else_is_named(nas: Nas, place: Path, name: str, raw: bytes) -> None:
    path = place / "study" / name
    original = path.read_bytes()
    path.write_bytes(raw)
    try:
        outcome = nas(*READERS[name][1])
    finally:
        path.write_bytes(original)
    assert outcome.code == 2, outcome
    assert Path(name).name in outcome.err and "cannot read" in outcome.err


def test_every_text_of_the_old_study_is_among_them() -> None:
    folder = Path(__file__).parent / "old_study"
    texts = {path.relative_to(folder) for ending in ("json", "yaml") for path in folder.rglob(f"*.{ending}")}
    read = {Path(name) for name in READERS}
    twins = {Path(f"retrained/{DIGEST}/inherit/result.json")}
    unread = {Path(f"exports/{DIGEST}/verification.json")}
    assert texts == read | twins | unread
