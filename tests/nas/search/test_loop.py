"""The search: one seed, one result, whatever order results come in and however often it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest

from nas.search.loop import Search, SearchConfig, analytic_costs, pareto_rows
from nas.search.objectives import Goal
from nas.search.pareto import dominates
from nas.search.samplers import Proposer
from nas.search.trial_store import Store, TrialRecord, check_storage
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import RequestError, StudyError
from search_spaces.space import Space

GOALS = {
    1: Goal(("top1",)),
    2: Goal(("top1", "macs")),
    3: Goal(("top1", "macs", "params")),
}


class Killed(Exception):
    """Stands for kill -9: nothing of ours runs after it."""


@dataclass
class Fake:
    """Evaluates by arithmetic on the digest.

    Args:
        shuffle: Seed of the order in which results come; None for the order asked.
        dies_after: Evaluations until it raises.
    """

    shuffle: int | None = None
    dies_after: int | None = None
    seen: list[str] = field(default_factory=list)

    def __call__(
        self, designs: list[Architecture], required_top1: list[float]
    ) -> Iterator[dict[int, dict[str, float]]]:
        order = list(range(len(designs)))
        if self.shuffle is not None:
            Random(self.shuffle + len(self.seen)).shuffle(order)
        for index in order:
            if self.dies_after is not None and len(self.seen) >= self.dies_after:
                raise Killed
            digest = designs[index].digest
            self.seen.append(digest)
            yield {index: {"top1": int(digest, 16) % 1000 / 10, "seconds": time.perf_counter()}}


@pytest.fixture(scope="module")
def space() -> Space:
    """A space of few parameters: a database takes milliseconds for each of them."""
    text = """
    name: small
    blocks:
      mlp_ratio: [1, 2]
      operators:
        lsa: {window_size: [2, 4], pos: [none]}
        dwconv: {kernel_size: [3, 5], dynamic: [none], pos: [none]}
    scales: {one: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: [1, 2]}]}}
    """
    return parse_declaration(text, "small").space("one", 16, 3, 3)


class Memory:
    """A store for what does not turn on the database: keeps rows as they are, in the order added."""

    def __init__(self) -> None:
        self.kept: list[TrialRecord] = []

    def add(self, rows: list[TrialRecord]) -> None:
        self.kept.extend(rows)

    def rows(self) -> list[TrialRecord]:
        return sorted(self.kept, key=lambda row: (row.batch, row.index_in_batch))


def run(
    where: Path | Memory,
    space: Space,
    fake: Fake | None = None,
    *,
    trials: int = 16,
    sampler: str = "nsga2",
    goal: Goal = GOALS[2],
    seed: int = 0,
    batch: int = 5,
    starts: list[tuple[str, Architecture]] | None = None,
    url: str | None = None,
    seconds: float | None = None,
) -> list[TrialRecord]:
    """Search into a folder's database, opened anew as a new process would, or into memory."""
    store: Any = where
    if isinstance(where, Path):
        store = Store(url or f"sqlite:///{where}/study.db", "study", goal.objectives, space.choices)
    plan = SearchConfig(goal, sampler, batch, trials, seconds, seed)
    told: list[int] = []
    rows = Search(space, store, plan, fake or Fake(), analytic_costs, starts or []).run(
        lambda row, n: told.append(n)
    )
    assert told == sorted(told)
    stored = store.rows()
    assert facts(rows) == facts(stored)  # what is returned is what is kept
    for row in stored:  # Optuna, and so its dashboard, sees the same fixed list in every trial
        assert set(row.params) == {choice.name for choice in space.choices}
        assert space.assemble(row.params) == row.architecture
    return rows


def facts(rows: list[TrialRecord]) -> list[tuple[object, ...]]:
    """Return what of every row must not depend on how a search went."""
    return [
        (
            row.batch,
            row.index_in_batch,
            tuple(sorted(row.params.items())),
            row.architecture.digest,
            tuple(sorted((name, value) for name, value in row.scores.items() if name != "seconds")),
            row.rejected,
            row.origin,
            row.repeat,
        )
        for row in rows
    ]


def digests(rows: list[TrialRecord]) -> list[str]:
    return [row.architecture.digest for row in rows if row.evaluated]


@pytest.fixture(scope="module")
def reference(space: Space, tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    """The undisturbed search that others are compared with."""
    return run(tmp_path_factory.mktemp("reference"), space)


def test_order_of_results_changes_nothing(reference: list[TrialRecord], space: Space, tmp_path: Path) -> None:
    fake = Fake(shuffle=1)
    assert facts(run(tmp_path, space, fake)) == facts(reference)
    assert fake.seen != digests(reference)  # the order really was another


def test_memory_searches_as_the_database_does(reference: list[TrialRecord], space: Space) -> None:
    assert facts(run(Memory(), space)) == facts(reference)


def test_another_seed_searches_elsewhere(reference: list[TrialRecord], space: Space) -> None:
    assert digests(run(Memory(), space, seed=1)) != digests(reference)
    # NumPy's generators take 32 bits; any seed a user may give must work.
    run(Memory(), space, seed=2**32 - 1)


@pytest.mark.parametrize("deaths", [[3], [0, 7, 5]])
def test_killed_and_resumed_equals_uninterrupted(
    deaths: list[int], reference: list[TrialRecord], space: Space, tmp_path: Path
) -> None:
    seen: list[str] = []
    for number, after in enumerate(deaths):
        fake = Fake(shuffle=number, dies_after=after)
        with pytest.raises(Killed):
            run(tmp_path, space, fake)
        seen += fake.seen
    last = Fake(shuffle=99)
    assert facts(run(tmp_path, space, last)) == facts(reference)
    seen += last.seen
    assert len(seen) == len(set(seen)) == 16  # nothing finished was evaluated again


def test_no_design_is_evaluated_twice(space: Space) -> None:
    fake = Fake()
    rows = run(Memory(), space, fake, trials=45)
    assert max(Counter(fake.seen).values()) == 1
    repeats = [row for row in rows if row.repeat]
    known = {row.architecture.digest: row.scores for row in rows if row.evaluated}
    assert repeats and all(row.scores == known[row.architecture.digest] for row in repeats)


@pytest.mark.parametrize("trials", [1, 5, 13])
def test_number_of_trials_is_exact(trials: int, space: Space) -> None:
    memory, fake = Memory(), Fake()
    rows = run(memory, space, fake, trials=trials)
    assert len(fake.seen) == len(digests(rows)) == trials
    assert run(memory, space, again := Fake(), trials=trials) and not again.seen


def test_more_trials_continue(reference: list[TrialRecord], space: Space, tmp_path: Path) -> None:
    first, more, less = Fake(), Fake(), Fake()
    run(tmp_path, space, first, trials=7)
    assert facts(run(tmp_path, space, more)) == facts(reference)
    assert len(first.seen) == 7 and len(more.seen) == 9
    # Fewer again: nothing is evaluated and nothing is lost.
    assert digests(run(tmp_path, space, less, trials=2)) == digests(reference) and not less.seen


def test_time_stops_the_search(space: Space) -> None:
    assert run(Memory(), space, fake := Fake(), seconds=0.0) == [] and not fake.seen


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_limits_reject_before_evaluation(sampler: str, space: Space) -> None:
    costs = sorted(analytic_costs(space.sample(Random(i)))["macs"] for i in range(50))
    limit = costs[25]
    goal = Goal(("top1", "macs"), (("macs", limit),))
    rows = run(Memory(), space, fake := Fake(), goal=goal, sampler=sampler, trials=8)
    rejected = [row for row in rows if row.rejected]
    assert rejected and all(row.scores["macs"] > limit and "top1" not in row.scores for row in rejected)
    assert all("macs" in str(row.rejected) and not row.evaluated for row in rejected)
    assert not {row.architecture.digest for row in rejected} & set(fake.seen)
    assert len(fake.seen) == 8
    assert all(row.scores["macs"] <= limit for row in pareto_rows(rows, goal))


def test_rejected_trials_are_stored_as_pruned(space: Space, tmp_path: Path) -> None:
    goal = Goal(("top1", "macs"), (("macs", analytic_costs(space.largest)["macs"] * 0.7),))
    rows = run(tmp_path, space, goal=goal, trials=8)
    store = Store(f"sqlite:///{tmp_path}/study.db", "study", goal.objectives, space.choices)
    states = Counter(trial.state.name for trial in store.study.get_trials())
    rejected = sum(row.rejected is not None for row in rows)
    assert rejected and states == {"PRUNED": rejected, "COMPLETE": len(rows) - rejected}


def test_limit_that_nothing_meets_ends(space: Space) -> None:
    goal = Goal(("top1", "macs"), (("params", 1.0),))
    rows = run(Memory(), space, fake := Fake(), goal=goal, sampler="random", batch=2)
    assert not fake.seen and rows and all(row.rejected for row in rows)
    assert pareto_rows(rows, goal) == []


@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_starts_come_first(sampler: str, space: Space) -> None:
    starts = [("small one", space.smallest), ("large one", space.largest), *analogues(space)]
    starts = list({design.digest: (name, design) for name, design in starts}.values())
    rows = run(Memory(), space, starts=starts, sampler=sampler, trials=15)
    head = rows[: len(starts)]
    assert [row.architecture for row in head] == [design for _, design in starts]
    assert [row.origin for row in head] == [name for name, _ in starts]
    assert all(row.origin == "sampled" for row in rows if row.batch > 0)


def test_more_starts_than_a_batch_holds(space: Space) -> None:
    designs = {(design := space.sample(Random(i))).digest: design for i in range(12)}
    starts = [(f"start{i}", design) for i, design in enumerate(designs.values())]
    rows = run(Memory(), space, starts=starts, batch=4, trials=len(starts) + 3)
    assert digests(rows)[: len(starts)] == [design.digest for _, design in starts]


def test_space_is_exhausted(space: Space) -> None:
    rows = run(Memory(), space, fake := Fake(), trials=1000, sampler="random", batch=20)
    assert len(fake.seen) == space.size == 72
    assert {row.architecture.digest for row in rows} == set(fake.seen)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random"])
def test_samplers_and_objectives(sampler: str, count: int, space: Space) -> None:
    goal, memory = GOALS[count], Memory()
    with pytest.raises(Killed):
        run(memory, space, Fake(shuffle=0, dies_after=13), sampler=sampler, goal=goal)
    rows = run(memory, space, Fake(), sampler=sampler, goal=goal)
    assert facts(rows) == facts(run(Memory(), space, sampler=sampler, goal=goal))
    front = pareto_rows(rows, goal)
    values = [goal.values(row.scores) for row in rows if row.evaluated]
    assert front and not any(
        dominates(other, goal.values(row.scores), goal.directions) for row in front for other in values
    )
    firsts = [row.scores["top1"] for row in front]
    assert firsts == sorted(firsts, reverse=True)
    assert len(front) == 1 or count > 1


def test_unknown_sampler() -> None:
    with pytest.raises(RequestError, match="did you mean 'nsga2'"):
        Proposer("nsga", (), 10, ["maximize"])


# -- storage -----------------------------------------------------------------------------------------


def test_rows_round_trip(space: Space, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    design = space.sample(Random(3))
    row = TrialRecord(
        0,
        0,
        space.values(design),
        design,
        {"top1": 50.0, "macs": 7.0},
        origin="twins",
        sampler_attrs={"g": 1},
    )
    rejected = TrialRecord(0, 1, space.values(design), design, {"macs": 9.0}, rejected="macs 9 > 8")
    for one in (rejected, row):
        store.add([one])
    again = Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    assert again.rows() == [row, rejected]
    trial = again.study.get_trials()[1]
    assert trial.user_attrs["digest"] == design.digest and trial.user_attrs["design"] == str(design)
    assert again.study.metric_names == ["top1", "macs"]
    assert {p.name for p in tmp_path.iterdir()} >= {"s.db"}


def test_trials_are_stored_as_optuna_stores_them(space: Space, tmp_path: Path) -> None:
    rng = Random(5)
    designs = [space.sample(rng) for _ in range(3)]
    rows = [
        TrialRecord(
            0,
            index_in_batch,
            space.values(design, rng),
            design,
            {"top1": score, "macs": 7.0},
            sampler_attrs={"g": index_in_batch},
        )
        for index_in_batch, (design, score) in enumerate(zip(designs, (1.5, float("inf"), 2.0), strict=True))
    ]
    rows[2] = replace(rows[2], rejected="macs 9 > 8")
    ours, theirs = (
        Store(f"sqlite:///{tmp_path}/s.db", name, ("top1", "macs"), space.choices)
        for name in ("ours", "theirs")
    )
    ours.add(rows[:1])
    ours.add(rows[1:])
    ours.add([])
    for row in rows:
        theirs.study.add_trial(theirs.frozen(row))
    again = [
        optuna.load_study(storage=f"sqlite:///{tmp_path}/s.db", study_name=n) for n in ("ours", "theirs")
    ]
    pairs = list(zip(*(study.get_trials() for study in again), strict=True))
    assert len(pairs) == 3
    for mine, given in pairs:
        assert mine.datetime_start <= mine.datetime_complete
        for name in ("number", "state", "params", "distributions", "user_attrs", "system_attrs"):
            assert getattr(mine, name) == getattr(given, name), name
        assert mine.values == given.values
        assert abs(mine.datetime_complete - given.datetime_complete).total_seconds() < 60


def test_trials_of_another_space_are_refused(space: Space, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    store = Store(url, "study", ("top1", "macs"), space.choices)
    design = space.sample(Random(3))
    store.add([TrialRecord(0, 0, space.values(design), design, {"top1": 50.0, "macs": 7.0})])
    other = load_declaration("twins_cswin").space("tiny", 224, 3, 10)
    with pytest.raises(StudyError, match="holds trials of another space; choose another --study"):
        Store(url, "study", ("top1", "macs"), other.choices).rows()


def test_a_trial_that_lacks_parameters_is_refused(space: Space, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/s.db", "study", ("top1", "macs"), space.choices)
    store.study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    assert store.rows() == []  # one without any is nobody's design
    name = space.choices[0].name
    store.study.add_trial(
        optuna.trial.create_trial(
            values=[1.0, 2.0],
            params={name: space.choices[0].options[0]},
            distributions={name: store.distributions[name]},
        )
    )
    with pytest.raises(StudyError, match="holds trials of another space"):
        store.rows()


def test_studies_of_one_database_do_not_mix(space: Space, tmp_path: Path) -> None:
    url, design = f"sqlite:///{tmp_path}/s.db", space.sample(Random(3))
    rows = [
        TrialRecord(
            0, index_in_batch, space.values(design), design, {"top1": 50.0 + index_in_batch, "macs": 7.0}
        )
        for index_in_batch in range(3)
    ]
    mine, other = (Store(url, name, ("top1", "macs"), space.choices) for name in ("mine", "other"))
    for first in range(3):  # in turn, so that their trials lie between one another
        mine.add(rows[first : first + 1])
        other.add(rows)
    assert mine.rows() == rows and len(other.rows()) == 9
    assert [trial.number for trial in mine.study.get_trials()] == [0, 1, 2]
    ended = [trial.datetime_complete for trial in mine.study.get_trials()]
    assert mine.times() == ended == sorted(mine.times())


def test_other_objectives_are_refused(space: Space, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    Store(url, "study", ("top1", "macs"), space.choices)
    check_storage(url, "study", ("top1", "macs"))
    check_storage(url, "another", ("top1", "params"))
    # ("top1", "params") has the directions of ("top1", "macs") and is another search all the same.
    for objectives in (("top1", "params"), ("top1",), ("macs", "top1")):
        with pytest.raises(StudyError, match="has the objectives top1, macs"):
            check_storage(url, "study", objectives)
        with pytest.raises(StudyError, match="has the objectives top1, macs"):
            Store(url, "study", objectives, space.choices)


def test_check_makes_nothing(tmp_path: Path) -> None:
    check_storage(f"sqlite:///{tmp_path}/deep/s.db", "study", ("top1",))
    assert list(tmp_path.iterdir()) == []


def test_optuna_reads_the_store(space: Space, tmp_path: Path) -> None:
    rows = run(tmp_path, space, trials=8)
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path}/study.db")
    best = {trial.user_attrs["digest"] for trial in study.best_trials}
    assert best == {row.architecture.digest for row in pareto_rows(rows, GOALS[2])}


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of this test alone, on 127.0.0.1."""
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    server = shutil.which("postgres")
    if server is None:
        pytest.skip("no postgres program on PATH")
    programs = Path(server).resolve().parent  # initdb need not be on PATH
    folder = tmp_path_factory.mktemp("postgres")
    user: dict[str, object] = {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = {"user": "nobody"}
        os.chmod(folder, 0o777)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/tmp") and Path("/tmp") in parent.parents:
                os.chmod(parent, parent.stat().st_mode | 0o011)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = subprocess.run(
        [programs / "initdb", "-D", folder / "db", "-U", "nas", "-A", "trust", "--no-sync", "-E", "UTF8"],
        capture_output=True,
        text=True,
        cwd="/tmp",
        **user,  # type: ignore[call-overload]
    )
    assert made.returncode == 0, made.stderr
    options = ["-D", folder / "db", "-p", str(port), "-h", "127.0.0.1", "-k", folder / "db", "-F"]
    process = subprocess.Popen(
        [programs / "postgres", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/tmp",
        **user,  # type: ignore[call-overload]
    )
    url = f"postgresql+psycopg://nas@127.0.0.1:{port}/postgres"
    try:
        import psycopg

        for _ in range(100):
            try:
                psycopg.connect(f"host=127.0.0.1 port={port} user=nas dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "postgres ended at once"
                time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown: SIGTERM would wait for our connections
        process.wait(30)


def test_postgresql(postgres: str, reference: list[TrialRecord], space: Space, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, space, Fake(dies_after=9), url=postgres)
    assert facts(run(tmp_path, space, url=postgres)) == facts(reference)
    with pytest.raises(StudyError, match="has the objectives"):
        check_storage(postgres, "study", ("top1",))
