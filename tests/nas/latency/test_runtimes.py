"""Parts are measured where models will run; a table says where, and is refused for another runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.latency import measure, runtime_names
from nas.latency.measure import measure_table
from nas.latency.onnx_writer import any_batch_size, write_onnx
from nas.latency.runtime_names import parse_runtime
from nas.latency.runtimes import open_file, runtime_clock, write_openvino
from nas.latency.side_by_side import summarize_ms, time_side_by_side
from nas.latency.table import LatencyTable, read_table
from nas.runtime import extras
from search_spaces.declaration import load_declaration
from search_spaces.errors import CheckpointError, RequestError
from search_spaces.space import Space
from tests.helpers.command_line import Nas
from tests.helpers.latency import make_table

CPU = torch.device("cpu")
# Three different parts and their networks, so that few are exported.
NARROW = """
name: narrow
blocks: {mlp_ratio: 1, operators: {pool: {pool_size: 3}}}
scales: {one: {images: 16, stem: patch4x4, stages: [{dim: 8, num_heads: 2, depth: [1, 2]}]}}
"""


@pytest.fixture
def narrow(tmp_path: Path) -> Space:
    (tmp_path / "narrow.yaml").write_text(NARROW)
    return load_declaration(tmp_path / "narrow.yaml").space("one", 16, 3, 5)


def test_a_table_of_onnx_runtime_is_of_the_parts_that_it_ran(
    narrow: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, str, int]] = []

    def watch(path: Path, runtime: str, threads: int) -> object:
        opened.append((path, runtime, threads))
        return open_file(path, runtime, threads)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "open_file", watch)
    table = measure_table(narrow, CPU, runtime="onnxruntime")
    assert table.runtime == "onnxruntime" and set(table.entries) == set(make_table(narrow).entries)
    assert all(0 < each < 1000 for each in table.entries.values())
    # Stem, block, head, and the networks of one and of two blocks.
    assert [(runtime, threads) for _, runtime, threads in opened] == [("onnxruntime", 1)] * 5
    assert str(table).endswith(", 1 thread, by onnxruntime")
    (tmp_path / "t.json").write_text(json.dumps(table.to_json()))
    assert read_table(tmp_path / "t.json", narrow, "onnxruntime") == table
    with pytest.raises(RequestError, match=r"t\.json has latencies of onnxruntime, but those of torch are"):
        read_table(tmp_path / "t.json", narrow)


def test_early_tables_are_of_torch(narrow: Space) -> None:
    content = make_table(narrow).to_json()
    del content["runtime"]
    assert LatencyTable.from_json(content).runtime == "torch"
    with pytest.raises(CheckpointError, match="'runtime' is 'tvm'"):
        LatencyTable.from_json({**content, "runtime": "tvm"})


def test_a_search_refuses_the_table_of_another_runtime(nas: Nas, tmp_path: Path, narrow: Space) -> None:
    space = load_declaration(tmp_path / "narrow.yaml").space("one", 16, 1, 10)
    table = replace(make_table(space), runtime="openvino")
    (tmp_path / "t.json").write_text(json.dumps(table.to_json()))
    command = ["search", "--space", tmp_path / "narrow.yaml", "--image-size", 16, "--objective", "latency_ms"]
    command += ["--budget", "1cpu,4trials", "--latency-table", tmp_path / "t.json", "--dry-run"]
    refused = nas(*command, "--study", tmp_path / "study")
    assert refused.code == 2 and "latencies of openvino, but those of torch are wanted" in refused.err
    taken = nas(*command, "--study", tmp_path / "study", "--latency-runtime", "openvino")
    assert taken.code == 0 and "by openvino" in taken.out + taken.err


def test_both_runtimes_give_what_torch_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)).eval()
    images = torch.randn(3, 3, 8, 8)
    write_onnx(network, tmp_path / "n.onnx", images, any_batch_size())
    write_openvino(tmp_path / "n.onnx", tmp_path / "n.xml")
    with torch.inference_mode():
        expected = network(images)
    onnxruntime = open_file(tmp_path / "n.onnx", "onnxruntime", 1)
    openvino = open_file(tmp_path / "n.xml", "openvino", 1)
    first = openvino(images)
    for found in (onnxruntime(images), first):
        assert (found - expected).abs().max() < 1e-5
    openvino(-images)  # what was returned stays as it was
    assert (first - expected).abs().max() < 1e-5


def test_an_absent_runtime_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--runtime openvino: .* pip install 'nas\[openvino\]'"):
        parse_runtime("openvino")
    with pytest.raises(RequestError, match=r"unknown runtime 'onnx'.*onnxruntime"):
        parse_runtime("onnx", "--target")
    monkeypatch.undo()
    assert parse_runtime("onnxruntime") == "onnxruntime"


def test_what_computes_in_threads_of_its_own_is_timed_on_the_wall() -> None:
    assert [runtime_clock(each, 1) for each in runtime_names.RUNTIMES] == ["core", "core", "wall"]
    assert runtime_clock("torch", 2) == "wall"


def test_sides_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    seconds = time_side_by_side(
        {"a": lambda: calls.append("a"), "b": lambda: sum(range(300_000))}, "core", rounds=5
    )
    assert {name: len(each) for name, each in seconds.items()} == {"a": 5, "b": 5}
    assert sorted(seconds["a"])[2] < sorted(seconds["b"])[2]
    assert summarize_ms([0.001, 0.002, 0.003, 0.004, 0.010]) == {
        "median_ms": 3.0,
        "quartiles_ms": [2.0, 4.0],
    }
