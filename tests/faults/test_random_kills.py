"""Two commands that share a search in PostgreSQL, either of which is killed at random moments, again and again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.faults.commands import TRAINED, Commands, result_of, wait_for
from tests.faults.rows import fault
from tests.helpers.searches import comparable
from tests.helpers.servers import PostgreSql, serving

EARLY, LATE = 4, 16  # kills before the first design is stored, and after
TRIALS = 200
LONGEST = 3.0  # seconds until an early kill: some fall into imports, some into the training


def start(commands: Commands) -> subprocess.Popen[str]:
    return commands.start(*TRAINED, "--join", objective="top1,macs")


def kill_at_random(commands: Commands) -> list[int]:
    """Kill one of two commands and start it again, so many times; return how many designs were stored by then."""
    random, stored = Random(0), []
    both = [start(commands), start(commands)]
    moments = [0] * EARLY + sorted(random.sample(range(1, TRIALS - 10), LATE))
    for count in moments:
        if count:
            wait_for(lambda count=count: len(commands.digests()) >= count)
        time.sleep(random.uniform(0, 0.2 if count else LONGEST))
        one = random.randrange(2)
        assert both[one].poll() is None, result_of(both[one])
        both[one].send_signal(signal.SIGKILL)
        both[one].communicate()
        stored.append(len(commands.digests()))
        both[one] = start(commands)
    for process in both:
        code, _, said = result_of(process)
        assert code == 0, said
    return stored


@fault(
    "either of two commands that share a search in PostgreSQL is killed, twenty times at random",
    during="a search from its first moment to its front",
    outcome="the other goes on, and the command typed again too; the trials are those of an undisturbed search",
    lost="the designs that were being evaluated",
    told="nothing",
)
@pytest.mark.slow
def test_kills_lose_nothing_and_nothing_is_evaluated_twice(tmp_path: Path) -> None:
    for name in ("killed", "alone"):
        (tmp_path / name).mkdir()
    with serving(PostgreSql) as server:
        killed = Commands(tmp_path / "killed", TRIALS, server.url)
        try:
            stored = kill_at_random(killed)
        finally:
            killed.end()
        records = killed.study.records()
    print("designs stored at each kill:", stored)
    assert len(stored) == EARLY + LATE and stored == sorted(stored)
    assert (
        sum(0 < count < TRIALS for count in stored) >= LATE // 2
    )  # others fall into the search's last moments
    evaluated = Counter(record.architecture.digest for record in records if record.evaluated)
    assert len(evaluated) == TRIALS and set(evaluated.values()) == {1}
    alone = Commands(tmp_path / "alone", TRIALS)
    code, _, said = result_of(alone.start(*TRAINED, objective="top1,macs"))
    assert code == 0, said
    assert comparable(records) == comparable(alone.study.records())
