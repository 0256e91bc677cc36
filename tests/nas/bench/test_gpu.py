"""``make gpu`` goes on after a step that fails or hangs, writes what there is, and needs no library of the search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.bench import gpu
from nas.bench.command import BENCHES
from nas.bench.gpu import GpuStep, main, plan_steps, run_steps, to_markdown

#: What a machine that is lent for measuring often lacks; every process that starts in this folder's path lacks them.
ABSENT = (
    "ray",
    "optuna",
    "optuna_dashboard",
    "sqlalchemy",
    "plotly",
    "pydantic",
    "mlxtend",
    "typer",
    "rich",
    "scipy",
    "pandas",
    "sklearn",
    "hypothesis",
    "psutil",
    "threadpoolctl",
)
SITE = f"""
from importlib.machinery import PathFinder

def find_spec(cls, name, path=None, target=None, find=PathFinder.find_spec):
    return None if name.partition(".")[0] in {ABSENT!r} else find(name, path, target)

PathFinder.find_spec = classmethod(find_spec)
"""


def python(name: str, program: str, minutes: float = 1.0, **fields: object) -> GpuStep:
    return GpuStep(name, ("-c", program), minutes, **fields)  # type: ignore[arg-type]


def test_every_step_has_its_turn_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    steps = [
        python("fails", "print('begun'); raise SystemExit('no such kernel')"),
        python("hangs", "import time; time.sleep(600)", minutes=0.02),
        python("lacks", "", needs=("torch", "no_such_library")),
        python("writes nothing", "pass", result=tmp_path / "absent.json"),
        python("passes", f"open({str(result)!r}, 'w').write('[1]')", result=result),
    ]
    found = []
    outcomes = run_steps(steps, tmp_path / "log.txt", 5, found.append)
    assert found == outcomes
    assert [one.state for one in outcomes] == ["failed", "stopped", "left out", "failed", "passed"]
    assert outcomes[0].reason == "no such kernel"
    assert outcomes[1].seconds < 30
    assert outcomes[2].reason == "not installed: no_such_library"
    assert "absent.json" in outcomes[3].reason
    assert outcomes[4].result == [1]
    assert "begun" in (tmp_path / "log.txt").read_text()


def test_processes_of_a_step_end_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = f"import time; time.sleep(4); open({str(mark)!r}, 'w')"
    parent = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    )
    run_steps([python("hangs", parent, minutes=0.03)], tmp_path / "log.txt", 5, lambda outcome: None)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=5)
    assert not mark.exists()


def test_no_step_begins_when_the_time_is_over(tmp_path: Path) -> None:
    (outcome,) = run_steps([python("late", "")], tmp_path / "log.txt", 0.0, lambda outcome: None)
    assert (outcome.state, outcome.reason) == ("left out", "no time was left")


def test_all_steps_together_fit_into_their_limits(tmp_path: Path) -> None:
    for step in plan_steps("cuda", tmp_path, quick=False):
        assert step.minutes <= gpu.MINUTES / 4
        if step.name != "tests" and step.name != "search":
            assert step.command[:2] == ("-m", "nas.bench") and "cuda" in step.command


def test_results_are_tables_for_people() -> None:
    measurement = {
        "name": "a|b", "against": "timm", "ours": 2.0, "unit": "ms", "theirs": 4.0, "ratio": 0.5, "target": "<= 1",
        "met": True,
    }  # fmt: skip
    outcome = gpu.StepOutcome(
        "bench operators", "passed", 12.4, "", {"benches": {"operators": [measurement]}}
    )
    run = {"devices": ["H200"], "commit": "abc", "dirty": True, "time": "now"}
    text = to_markdown([outcome], run)
    assert "| bench operators | passed | 12 |  |" in text
    assert "| a\\|b | timm | 2 ms | 4 | 0.5 | <= 1: met |" in text
    assert "H200" in text and "commit abc with changes" in text


def test_a_machine_without_a_gpu_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NAS_TEST_DEVICE", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--out", str(tmp_path)]) == 2
    assert "torch finds no CUDA device here" in capsys.readouterr().err
    monkeypatch.setenv("NAS_TEST_DEVICE", "gpu")
    assert main(["--out", str(tmp_path)]) == 2
    assert "set it to cuda" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_results_are_written_after_each_step_and_a_failure_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    read = f"import json; print(len(json.load(open({str(out / 'results.json')!r}))['steps']))"
    steps = [python("one", ""), python("two", read), python("three", "raise SystemExit(3)")]
    monkeypatch.setattr(gpu, "plan_steps", lambda *_: steps)
    monkeypatch.setenv("NAS_TEST_DEVICE", "cpu")
    assert main(["--out", str(out)]) == 1
    assert "1 of 3 steps failed: three" in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert [step["state"] for step in results["steps"]] == ["passed", "passed", "failed"]
    assert results["steps"][1]["reason"] == "1"  # when the second began, the first one's was there
    assert {"commit", "devices", "packages"} <= set(results["provenance"])


def bare_environment(folder: Path) -> dict[str, str]:
    """Return the environment of a machine on which the libraries of the search are absent."""
    (folder / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    # pytest has no plugins there.
    bare = {"PYTHONPATH": path, "NAS_TEST_DEVICE": "cpu", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**os.environ, **bare}


@pytest.mark.slow
def test_a_bench_runs_without_the_libraries_of_the_search(tmp_path: Path, space_file: Path) -> None:
    command = ["-m", "nas.bench", "supernet", "--quick", "--device", "cpu", "--space", str(space_file)]
    done = subprocess.run(
        [sys.executable, *command, "--out", str(tmp_path / "out.json")],
        env=bare_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "out.json").read_text())["benches"]["supernet"]) == 5


def test_every_bench_that_is_not_left_out_can_be_imported_without_them(tmp_path: Path) -> None:
    needs = {
        step.name.removeprefix("bench "): step.needs for step in plan_steps("cuda", tmp_path, quick=False)
    }
    benches = [name for name, of in needs.items() if name in BENCHES and not set(of) & set(ABSENT)]
    assert benches == ["operators", "networks", "supernet", "latency", "data"]
    program = f"from nas.bench.command import _load_bench\nfor name in {benches}: _load_bench(name)"
    environment = bare_environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", f"import nas.bench.__main__\n{program}"], env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_every_test_for_gpus_can_be_collected_without_them(tmp_path: Path) -> None:
    command = ["-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-m", "gpu", "tests/gpu"]
    done = subprocess.run(
        [sys.executable, *command], env=bare_environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_a_step_waits_for_nothing[sandwich]" in done.stdout


@pytest.mark.slow
def test_the_whole_of_it_runs_on_a_cpu_without_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "nas.bench.gpu", "--quick", "--out", str(out)],
        env=bare_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + (out / "log.txt").read_text()
    results = json.loads((out / "results.json").read_text())
    states = {step["name"]: step["state"] for step in results["steps"]}
    assert states["search"] == states["bench population"] == "left out"
    assert {state for name, state in states.items() if name not in ("search", "bench population")} == {
        "passed"
    }
    assert {"commit", "devices", "packages"} <= set(results["provenance"])
    assert "## operators" in (out / "results.md").read_text()
