"""The example of README, an operator in a package of its own: its space is sampled, built, searched and exported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from search_spaces.walk import walk_blocks
from supernet.source import model_source
from supernet.supernet import Supernet
from tests.helpers.command_line import paint_folder
from tests.helpers.modules import executed
from tests.helpers.operator_packages import EXAMPLE, importable, pip_install

ROOT = Path(__file__).parents[2]
REFERENCE = "axial_pool.spec:OPERATOR"
BY_REFERENCE = (EXAMPLE / "space.yaml").read_text()
BY_NAME = BY_REFERENCE.replace(REFERENCE, "axial_pool")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the example."""
    return pip_install(EXAMPLE, tmp_path_factory.mktemp("example") / "site")


@pytest.fixture(params=["entry point", "module:NAME"])
def declared(request: pytest.FixtureRequest, site: Path) -> tuple[str, Path]:
    """The example's space, and where its operator is: installed, or importable and named by its module."""
    return (BY_NAME, site) if request.param == "entry point" else (BY_REFERENCE, EXAMPLE)


@pytest.fixture
def space(declared: tuple[str, Path]) -> Iterator[Space]:
    text, folder = declared
    with importable(folder):
        yield parse_declaration(text, "space.yaml").space("nano", 28, 1, 10)


def sample(space: Space) -> list[Architecture]:
    rng = Random(0)
    designs = [space.sample(rng) for _ in range(8)]
    assert {part.block.operator for design in designs for part in walk_blocks(design)} == {
        "axial_pool",
        "lsa",
    }
    return designs


@torch.no_grad()
def test_a_path_of_the_supernet_is_the_subnet_and_its_source(space: Space) -> None:
    torch.manual_seed(0)
    supernet, images = Supernet(space).eval(), torch.randn(2, 1, 28, 28)
    for design in sample(space):
        logits = supernet(images, design)
        subnet = supernet.extract(design).eval()
        torch.testing.assert_close(subnet(images), logits, rtol=0, atol=1e-5)
        assert sum(parameter.numel() for parameter in subnet.parameters()) == costs(design).params
        exported = executed(model_source(design, (0.5,), (0.2,), "axial"))["create_model"]().eval()
        exported.load_state_dict(subnet.state_dict())
        torch.testing.assert_close(exported(images), logits, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_search_with_two_workers_and_what_comes_after_it(
    declared: tuple[str, Path], tmp_path: Path
) -> None:
    text, folder = declared
    # Every design has the operator, so that workers and later commands must know it.
    alone = "\n".join(line for line in text.splitlines() if "lsa:" not in line)
    (tmp_path / "space.yaml").write_text(alone)
    paint_folder(tmp_path / "images", images=20, side=28)

    def nas(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nas", *arguments, "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (ROOT, folder))),
                "RAY_ADDRESS": "local",
                "NAS_CACHE_DIR": str(tmp_path / "cache"),
                "NAS_TRUST": "1",  # design.json below names the module
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = ("--space", "space.yaml", "--data", "folder:images", "--study", "./study")
    nas("search", *where, "--budget", "2cpu,8trials", "--epochs", "2", "--batch-size", "12", "--batch", "4")
    front = json.loads((tmp_path / "study" / "front.json").read_text())["front"]
    digest = front[0]["digest"]
    assert json.loads(nas("show", digest, "--study", "./study"))["digest"] == digest
    (tmp_path / "design.json").write_text(json.dumps(front[0]["architecture"]))
    described = json.loads(nas("show", "design.json"))
    assert described["digest"] == digest
    assert {block["operator"] for stage in described["stages"] for block in stage["blocks"]} == {"axial_pool"}
    nas("retrain", "./study", "--arch", digest, "--budget", "2cpu", "--epochs", "1")
    nas("export", "./study", "--arch", digest, "--out", "exported", "--format", "source")
    assert "class AxialPooling" in (tmp_path / "exported" / "model.py").read_text()
