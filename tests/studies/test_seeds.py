"""The script that runs the main job over several seeds: rows, mean and spread, and what a second run leaves alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.helpers.scripts import load_script

SCRIPT = Path(__file__).parents[2] / "studies" / "mnist5k" / "seeds.py"


@pytest.fixture
def seeds() -> ModuleType:
    return load_script(SCRIPT)


def printed(seed: int) -> dict[str, Any]:
    """Return what ``nas search --json`` prints, as far as the script reads it."""
    front = [{"digest": name, "scores": {"top1": top1}} for name, top1 in (("small", 80.0), ("big", 90.0 + seed))]
    retrained = [
        {"digest": name, "design": name, "macs": 10, "params": 5, "val_top1": val, "test_top1": test}
        for name, val, test in (("good", 96.0, 99.0), ("best", 97.0, 96.0 + seed))
    ]
    return {"front": front, "retrained": retrained}


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Answer each search at once; return their command lines, to which each search is added."""
    commands: list[list[str]] = []
    really_run = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "search" not in command:  # git, for the provenance
            return really_run(command, **options)
        commands.append(command)
        seed = int(command[command.index("--seed") + 1])
        return subprocess.CompletedProcess(command, 0, json.dumps(printed(seed)))

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_the_table_ends_in_mean_and_spread(
    seeds: ModuleType, searches: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds.main(["--scratch", str(tmp_path / "scratch"), "--out", str(tmp_path / "seeds.json")])
    lines = capsys.readouterr().out.splitlines()
    assert len(searches) == 3
    assert [line.split(" | ")[:6] for line in lines[2:]] == [
        ["| 0", "best", "90.0%", "97.0%", "96.0%", "97.5%"],
        ["| 1", "best", "91.0%", "97.0%", "97.0%", "98.0%"],
        ["| 2", "best", "92.0%", "97.0%", "98.0%", "98.5%"],
        ["| mean of 3", "", "91.0 ± 1.0%", "97.0 ± 0.0%", "97.0 ± 1.0%", "98.0 ± 0.5%"],
    ]
    stored = json.loads((tmp_path / "seeds.json").read_text())
    assert [row["seed"] for row in stored["seeds"]] == [0, 1, 2]
    assert stored["provenance"]["command"][:2] == ["python", "studies/mnist5k/seeds.py"]


def test_a_seed_is_what_make_search_types_in_a_folder_of_its_own(
    seeds: ModuleType, searches: list[list[str]], tmp_path: Path
) -> None:
    seeds.run_seed(3, tmp_path, "auto")
    (command,) = searches
    said = SCRIPT.parents[2].joinpath("Makefile").read_text()
    kept = " ".join(command[command.index("--space") : command.index("--budget")])
    assert "--space twins_cswin --data mnist5k" in kept and kept.split("--data mnist5k ")[1] in said
    assert command.count("--study") == command.count("--budget") == 1 and "--export" not in command
    assert command[command.index("--study") + 1] == str(tmp_path / "seed-3")


def test_one_seed_has_no_spread(seeds: ModuleType) -> None:
    rows = [seeds.read_row(0, printed(0), 120.0)]
    assert seeds.summarize(rows)["minutes"] == {"mean": 2.0, "std": None}
    assert seeds.to_table(rows, seeds.summarize(rows)).splitlines()[-1].endswith("| 97.5% | 2.0 min |")


def test_finished_seeds_are_not_run_again(
    seeds: ModuleType, searches: list[list[str]], tmp_path: Path
) -> None:
    first = seeds.run_seed(0, tmp_path, "auto")
    assert seeds.run_seed(0, tmp_path, "auto") == first
    assert len(searches) == 1


def test_the_time_of_a_failed_run_counts(
    seeds: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = iter([10.0, 70.0, 100.0, 130.0])
    monkeypatch.setattr(seeds.time, "monotonic", lambda: next(clock))
    with pytest.raises(RuntimeError), seeds.add_up_seconds(tmp_path / "seconds.json"):
        raise RuntimeError
    with seeds.add_up_seconds(tmp_path / "seconds.json") as total:
        pass
    assert total() == 90.0
