"""Benches of operators, networks and supernets run where torch is, but not the search's and the page's libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# A machine that is lent for measuring has torch and timm, and lacks these.
PROGRAM = """
import sys
from functools import partial
for name in ("ray", "optuna", "optuna_dashboard", "sqlalchemy", "plotly"):
    sys.modules[name] = None  # importing it is an ImportError
import nas.bench.networks, nas.bench.supernet
from nas.bench import command, operators
from nas.cli.main import main
load = command._load_bench
first = partial(operators.bench, cases=operators.CASES[:1])
command._load_bench = lambda name: first if name == "operators" else load(name)
sys.argv = ["nas", "bench", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("output", ["--json", pytest.param("table", marks=pytest.mark.slow)])
def test_benches_run_without_the_libraries_of_the_search(output: str, space_file: Path) -> None:
    command = ["operators", "supernet", "--quick", "--rounds", "1", "--threads", "1", "--device", "cpu"]
    command += ["--space", str(space_file), *([output] if output == "--json" else [])]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if output == "--json":
        benches = json.loads(done.stdout)["benches"]
        assert {name: len(found) for name, found in benches.items()} == {"operators": 2, "supernet": 5}
    else:
        assert "operators" in done.stdout and "supernet" in done.stdout
