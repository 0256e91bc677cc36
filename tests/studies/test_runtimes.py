"""The script that compares predicted with measured latencies in each runtime: orders by hand, and a run of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from search_spaces.cost import costs
from search_spaces.declaration import parse_declaration
from tests.helpers.command_line import TINY_SPACE
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "performance" / "runtimes.py"
SPACE = parse_declaration(TINY_SPACE, "tiny").space("nano")


@pytest.fixture
def runtimes() -> ModuleType:
    return load_script(SCRIPT)


def test_orders(runtimes: ModuleType) -> None:
    designs = sorted(runtimes.sample_distinct(SPACE, 4), key=lambda design: costs(design).macs)
    assert len({costs(design).macs for design in designs}) == 4
    orders = runtimes.compare_orders(
        designs, {"torch": [1.0, 2.0, 4.0, 3.0], "openvino": [4.0, 3.0, 2.0, 1.0]}
    )
    # Of six pairs one is the other way round, then all, then all but that one.
    assert orders == pytest.approx(
        {"multiply-adds and torch": 4 / 6, "multiply-adds and openvino": -1, "torch and openvino": -4 / 6}
    )


def run(runtimes: ModuleType, folder: Path, *given: str) -> dict[str, object]:
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    out = folder / "runtimes.json"
    runtimes.main(["--space", str(folder / "tiny.yaml"), *given, "--out", str(out)])
    result: dict[str, object] = json.loads(out.read_text())
    return result


def test_it_runs(runtimes: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(runtimes, tmp_path, "--designs", "3", "--runtime", "torch")
    (torch,) = result["runtimes"].values()  # type: ignore[attr-defined]
    assert len(result["digests"]) == len(torch["predicted_ms"]) == len(torch["measured_ms"]) == 3  # type: ignore[arg-type]
    assert min(torch["predicted_ms"]) > 0 and "1 image of 16x16 px" in torch["conditions"]
    assert "torch        tau" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_in_the_other_runtimes(runtimes: ModuleType, tmp_path: Path) -> None:
    """An export of every part takes a second or more."""
    pytest.importorskip("openvino")
    result = run(runtimes, tmp_path, "--designs", "2", "--runtime", "onnxruntime", "--runtime", "openvino")
    for name, each in result["runtimes"].items():  # type: ignore[attr-defined]
        assert f"by {name}" in each["conditions"] and min(each["measured_ms"]) > 0
    assert "onnxruntime and openvino" in result["orders"]  # type: ignore[operator]
