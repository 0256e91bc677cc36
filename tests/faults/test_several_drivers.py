"""Several commands that search one study: refused, or joined on purpose; one of them is killed."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.commands import TRAINED, Commands, result_of, wait_for
from tests.faults.rows import fault

TRIALS = 40


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    several = Commands(tmp_path, TRIALS)
    yield several
    several.end()


@fault(
    "a second command searches the same study",
    during="a search",
    outcome="exit 2, the first goes on",
    lost="nothing",
    told="who works on the study",
)
@fault(
    "a second command searches the same study with `--join`",
    during="a search",
    outcome="both exit 0 with the same front",
    lost="nothing, and no design is evaluated twice",
    told="whose search it joins",
)
@pytest.mark.slow
def test_one_is_refused_and_one_joins(commands: Commands) -> None:
    first = commands.start(*TRAINED, objective="top1,macs")
    wait_for(commands.study.settings_file.exists)
    joins = commands.start(*TRAINED, "--join", objective="top1,macs")
    refused = commands.start(*TRAINED, objective="top1,macs")
    code, _, said = result_of(refused)
    assert code == 2 and re.search(rf"is worked on by .*, process {first.pid}, since .*: nas search", said), (
        said
    )
    ends = [result_of(process) for process in (first, joins)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert f"process {first.pid}, since" in ends[1][2] and "this command joins it" in ends[1][2]
    assert ends[0][1]["front"] == ends[1][1]["front"]
    digests = commands.digests()
    assert len(digests) == len(set(digests)) == TRIALS


@fault(
    "of two commands that share a search, the one that began it is killed",
    during="a search",
    outcome="the other goes on at once and writes the front",
    lost="the designs that were being evaluated, which the other evaluates",
    told="nothing",
)
@pytest.mark.slow
def test_the_other_goes_on(commands: Commands) -> None:
    both = [commands.start(*TRAINED, "--join", objective="top1,macs") for _ in range(2)]
    wait_for(lambda: len(commands.digests()) >= 4)
    holder = commands.study.lock.holder() or ""
    leads, joins = sorted(both, key=lambda process: f"process {process.pid}," not in holder)
    leads.send_signal(signal.SIGKILL)
    leads.communicate()
    code, result, said = result_of(joins)
    assert code == 0, said
    digests = commands.digests()
    assert len(digests) == len(set(digests)) == TRIALS
    assert commands.study.front_trials() == len(commands.study.records())
    assert {entry["digest"] for entry in result["front"]} == {
        each["digest"] for each in commands.study.front()
    }
