"""Training with compiled blocks gives what it gives without; a missing compiler is reported in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

from nas.data.dataset import load_data
from nas.runtime.documents import read_json
from nas.runtime.files import load_tensors
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.compiled import eager_on_short_batches, require_compiler
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from search_spaces.errors import RequestError
from search_spaces.space import Space
from supernet.compile_blocks import compilations
from tests.helpers.training import train_supernet

# torch hides this warning of its own from people, but not from the filter that makes errors of warnings.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.usefixtures("nothing_compiled"),
]
CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch_size=8, lr=2e-3, warmup=0.5)


@pytest.mark.usefixtures("captured")
def test_a_supernet_is_trained_as_without(space: Space, images: Path, tmp_path: Path) -> None:
    settings, data, before = Settings(recipe=RECIPE), load_data(f"folder:{images}"), compilations()
    plain = train_supernet(space, settings, data, tmp_path / "plain", CPU)
    assert compilations() == before
    compiled = train_supernet(space, replace(settings, compile=True), data, tmp_path / "compiled", CPU)
    assert compilations() > before
    for (name, one), (other_name, other) in zip(
        compiled.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        assert name == other_name
        torch.testing.assert_close(one, other, msg=name)
    assert load_tensors(tmp_path / "compiled")[0].keys() == load_tensors(tmp_path / "plain")[0].keys()


@pytest.mark.usefixtures("captured")
def test_a_network_is_retrained_as_without(space: Space, images: Path, tmp_path: Path) -> None:
    data, design = load_data(f"folder:{images}"), space.sample(Random(0))
    recipe, before = replace(RECIPE, drop_path=0.2), compilations()
    jobs = [
        RetrainingJob(Design(design), "scratch", tmp_path / str(on), recipe, data.digest, compile=on)
        for on in (False, True)
    ]
    for job in jobs:
        train_one(job, {"data": data, "inherited": {}}, torch.device("cpu"), lambda result: None)
    assert compilations() > before
    plain, compiled = (load_tensors(job.folder / "model.safetensors")[0] for job in jobs)
    assert plain.keys() == compiled.keys()
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], msg=name)
    assert [read_json(job.result_file)["digest"] for job in jobs] == [design.digest] * 2


def test_short_batches_run_as_they_are_written() -> None:
    region = nn.Linear(2, 2)
    region.compile(backend="eager", dynamic=False)
    step = eager_on_short_batches(lambda number, images, labels: region(images).sum().detach(), 4)
    before, labels = compilations(), torch.zeros(4)
    for images in (3, 4, 3, 4, 1):
        step(0, torch.ones(images, 2), labels)
    assert compilations() - before == 1


def test_what_torch_says_is_cut_to_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: object) -> None:
        raise RuntimeError("\nno C++ compiler was found\nand pages more")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(RequestError, match=r"--compile needs .*no C\+\+ compiler was found$") as error:
        require_compiler("cpu")
    assert error.value.exit_code == 2 and "\n" not in str(error.value)


@pytest.mark.slow
def test_without_a_compiler_a_search_is_refused(space_file: Path, images: Path, tmp_path: Path) -> None:
    arguments = ["--space", space_file, "--data", f"folder:{images}", "--budget", "1cpu", "--compile"]
    environment = {
        **os.environ,
        "CXX": "/no/such/compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "nas", "search", *map(str, arguments), "--study", str(tmp_path / "study")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("nas: --compile needs a compiler that works here")
    assert "Traceback" not in done.stderr and not (tmp_path / "study").exists()
