"""Whatever is in a file, its reader returns or raises one sentence that names it: no traceback, no endless work."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.data.inspection import inspect_file
from nas.export.config import read_export_config
from nas.export.load_export import load_export
from nas.latency.table import read_table
from nas.ranking.trained_designs import TrainingTable
from nas.runtime.documents import read_document, read_json, read_text
from nas.runtime.files import load_metadata, load_tensors, save_tensors
from nas.search.storage_url import read_storage_file
from nas.study.designs import find_architecture
from nas.study.documents import TeacherRecord
from nas.study.folder import Study
from nas.study.identity import make_identity, read_identity
from nas.study.named_recipes.reader import load_recipe
from nas.study.settings import read_settings
from nas.study.time_sheet import PhaseTime, read_times
from nas.training.epoch_history import Epoch, read_history
from nas.training.former_checkpoint import restore_checkpoint
from nas.training.supernet_checkpoint import read_progress, read_supernet
from nas.training.weight_files import read_weights
from search_spaces.declaration import load_declaration
from search_spaces.errors import NasError
from search_spaces.published import published
from tests.helpers.command_line import TINY_SPACE
from tests.helpers.damage import RAW, cut, flip_bits, spoil

ROOT = Path(__file__).parents[2]
OLD_STUDY = ROOT / "tests" / "golden" / "old_study"
DESIGN = "ce7caaf679bc"
#: Of every reader; `NAS_TEST_EXAMPLES` looks for longer.
EXAMPLES = int(os.environ.get("NAS_TEST_EXAMPLES", "8"))
MOST_SECONDS = 20.0  # of one reading; each takes milliseconds, and a busy machine some of these


@dataclass(frozen=True)
class Reader:
    """A kind of file, and what reads it.

    Args:
        file: Its path in the folder of examples.
        read: Reads it.
        text: ``json`` or ``yaml`` where values in it are replaced, too.
    """

    file: str
    read: Callable[[Path], object]
    text: str | None = None


def in_study(read: Callable[[Study], object]) -> Callable[[Path], object]:
    """Return a reader of a file of the study."""

    def call(path: Path) -> object:
        folder = next(each for each in path.parents if each.name == "study")
        return read(Study(folder))

    return call


READERS = [
    Reader("study/study.yaml", read_settings, "yaml"),
    Reader("study/study.yaml", in_study(lambda study: study.space()), "yaml"),
    Reader("study/space.yaml", in_study(lambda study: study.space()), "yaml"),
    Reader("space.yaml", load_declaration, "yaml"),
    Reader("recipe.yaml", lambda path: load_recipe(str(path)), "yaml"),
    Reader("study/data.json", in_study(lambda study: (study.dataset(), study.space())), "json"),
    Reader("study/front.json", in_study(lambda study: (study.front(), study.count_evaluated())), "json"),
    Reader("study/provenance.json", in_study(lambda study: study.provenance()), "json"),
    Reader("identity/study.json", lambda path: read_identity(path.parent), "json"),
    Reader("study/times.json", lambda path: read_times(path.parent), "json"),
    Reader("study/latency.json", lambda path: read_table(path, Study(OLD_STUDY).space()), "json"),
    Reader("study/halving.json", in_study(lambda study: study.halving()), "json"),
    Reader("study/ranking.json", in_study(lambda study: study.ranking()), "json"),
    Reader(f"study/retrained/{DESIGN}/scratch/result.json", Study.read_result, "json"),
    Reader("teacher.json", lambda path: read_document(path, TeacherRecord), "json"),
    Reader("design.json", lambda path: find_architecture(str(path)), "json"),
    Reader("design.json", read_json, "json"),
    Reader("table.json", TrainingTable, "json"),
    Reader(f"study/exports/{DESIGN}/config.json", lambda path: read_export_config(path.parent), "json"),
    Reader(f"study/exports/{DESIGN}/config.json", lambda path: load_export(path.parent), "json"),
    Reader("study/storage.txt", in_study(lambda study: study.url)),
    Reader("url.txt", read_storage_file),
    Reader("url.txt", read_text),
    Reader("history.csv", lambda path: read_history(path, Epoch)),
    Reader("study/study.db", in_study(lambda study: study.records())),
    Reader("study/.lock", in_study(lambda study: study.lock.holder())),
    Reader(f"study/exports/{DESIGN}/model.safetensors", lambda path: load_export(path.parent)),
    Reader("weights.safetensors", load_tensors),
    Reader("weights.safetensors", load_metadata),
    Reader("weights.safetensors", read_progress),
    Reader("weights.safetensors", restore_checkpoint),
    Reader("weights.safetensors", read_weights),
    Reader("weights.pth", read_weights),
    Reader("checkpoint.safetensors", lambda path: read_supernet(Study(OLD_STUDY).space(), "operator", path)),
    Reader("image.png", lambda path: inspect_file(str(path), decode=True)),
    Reader("image.jpg", lambda path: inspect_file(str(path), decode=True)),
]


HALVING = {
    "epochs": 4, "keep": 1, "rungs": [{"epochs": 1, "keep": 1}], "cost": "macs", "val_images": 8,
    "candidates": [{
        "digest": DESIGN, "origin": "sampled", "why": "spread", "design": "lsa", "macs": 1e6, "cost": 1e6,
        "supernet_top1": 50.0, "merit": 0.5, "on_front": True, "val_top1": {"1": 50.0}, "out_after": None,
    }],
}  # fmt: skip
ORDER = {
    "predictor": "loss", "designs": 3, "tau": {"value": 0.5, "low": 0.1, "high": 0.9}, "tau_by_quartile": [],
    "rho": {"value": None, "low": None, "high": None}, "regret": {"1": 0.5},
}  # fmt: skip
RANKING = {
    "predictors": [ORDER], "baselines": [], "ceiling": [ORDER],
    "designs": [{
        "digest": DESIGN, "origin": "sampled", "design": "lsa", "macs": 10, "val_top1": 50.0,
        "val_top1_by_seed": {"0": 50.0}, "scores": {"loss": 1.5},
    }],
}  # fmt: skip


def name_of(reader: Reader) -> str:
    return f"{READERS.index(reader)}-{reader.file}"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound file of every kind."""
    folder = tmp_path_factory.mktemp("documents")
    study = shutil.copytree(OLD_STUDY, folder / "study")
    (folder / "space.yaml").write_text(TINY_SPACE)
    (folder / "recipe.yaml").write_text((ROOT / "nas/study/named_recipes/deit.yaml").read_text())
    (folder / "design.json").write_text(json.dumps(published("twins_svt_small").to_json()))
    (folder / "identity").mkdir()
    make_identity("study", {"seed": 0}).write(folder / "identity")
    phase = PhaseTime("supernet", "2026-01-01T00:00:00", 2.0, "cpu", 1)
    table = json.loads((ROOT / "studies/attention_table/table.json").read_text())
    documents: dict[str, Any] = {
        "study/times.json": [asdict(phase)],
        "teacher.json": {"name": "t", "digest": "ab", "images": "cd", "val_top1": 50.0, "val_images": 8},
        "table.json": {**table, "designs": table["designs"][:2], "runs": table["runs"][:2]},
        "study/halving.json": HALVING,
        "study/ranking.json": RANKING,
    }
    for name, content in documents.items():
        (folder / name).write_text(json.dumps(content))
    (study / "storage.txt").write_text(f"sqlite:///{study}/study.db\n")
    (folder / "url.txt").write_text("postgresql+psycopg://me:secret@127.0.0.1:1/db\n")
    (folder / "url.txt").chmod(0o600)
    (folder / "history.csv").write_text("epoch,val_top1,loss,lr,seconds\n1,50.0,2.0,0.1,3.5\n")
    (study / ".lock").write_text(json.dumps({"user": "a", "host": "b", "pid": 1, "since": "", "command": ""}))
    tensors = {"model.w": torch.arange(24.0).view(4, 6), "ema.w": torch.ones(3, dtype=torch.float16)}
    save_tensors(folder / "weights.safetensors", tensors, {"step": "3", "total": "12", "recipe": "{}"})
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "weights.pth")
    shutil.copy(study / "supernet" / "checkpoint.safetensors", folder)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for ending in ("png", "jpg"):
        Image.fromarray(pixels).save(folder / f"image.{ending}")
    return folder


def require_one_sentence(reader: Reader, path: Path, content: bytes) -> None:
    """Read a file of some content; what is wrong with it is one sentence of ours."""
    path.write_bytes(content)
    started = time.process_time()
    try:
        reader.read(path)
    except NasError as error:
        sentence = str(error)
        assert sentence and "\n" not in sentence and "Traceback" not in sentence, (sentence, content[:2000])
        assert len(sentence) < 3000, sentence[:3000]
    except Exception as error:
        raise AssertionError(
            f"{reader.file}: {type(error).__name__}: {error} of {content[:2000]!r}"
        ) from error
    assert time.process_time() - started < MOST_SECONDS, content[:2000]


@pytest.mark.parametrize("reader", READERS, ids=name_of)
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)  # a seed has no simpler neighbours
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_is_one_sentence(reader: Reader, examples: Path, seed: int) -> None:
    rng, path = random.Random(seed), examples / reader.file
    original = path.read_bytes()
    kinds = [lambda: flip_bits(original, rng), lambda: cut(original, rng), lambda: rng.choice(RAW)]
    if reader.text is not None:
        kinds += [lambda: spoil(original, rng, reader.text == "yaml")] * 3
    try:
        require_one_sentence(reader, path, rng.choice(kinds)())
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("reader", READERS, ids=name_of)
def test_a_sound_file_is_read(reader: Reader, examples: Path) -> None:
    assert not isinstance(reader.read(examples / reader.file), str) or reader.text is None
