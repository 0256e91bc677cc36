"""The benches compare equal work, in turn, and say so; no test looks at how fast anything is."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from nas.bench import (
    command,
    compile,
    core,
    latency,
    mutants,
    networks,
    operators,
    population,
    racing,
    search,
    show,
    supernet,
    workers,
)
from nas.bench.core import (
    NO_MORE_MEMORY,
    Measurement,
    Setup,
    Target,
    agreed,
    compared,
    copies,
    in_turn,
    peak_bytes,
    pooled,
    rotating,
)
from nas.bench.spaces import space_of
from nas.evaluation.population import payload_from_batches
from nas.latency.table import LatencyTable, parts
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.errors import RequestError, WorkError
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.command_line import Nas

SMALL = """
name: small
blocks:
  mlp_ratio: [1, 2]
  operators: {lsa: {window_size: [2, 4], pos: [none]}}
scales: {one: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: [1]}]}}
"""
QUICK = Setup(torch.device("cpu"), threads=1, rounds=1, quick=True)


@pytest.fixture
def tiny(space_file: Path) -> Setup:
    return replace(QUICK, space=str(space_file))


# -- the core ------------------------------------------------------------------------------------------


def test_sides_take_turns_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(core, "_RUN_SECONDS", 0.0)
    sides: list[core.Side] = [lambda x, name=name: calls.append(name) for name in "ABC"]  # type: ignore[misc]
    times = in_turn(sides, [torch.zeros(1)], QUICK, 3)
    assert "".join(calls) == "AABBCC" + "ABC" + "CBA" + "ABC"  # each is warmed up by two runs
    assert [len(of) for of in times] == [3, 3, 3]


def test_inputs_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_RUN_SECONDS", 0.0)
    seen: list[float] = []
    in_turn([lambda x: seen.append(float(x))], [torch.tensor(0.0), torch.tensor(1.0)], QUICK, 3)
    assert seen == [0, 1, 0, 1, 0]
    assert len(rotating((2, 3), QUICK)) == 1


def test_ratios_are_taken_within_rounds() -> None:
    ours, theirs = [1.0, 10.0, 2.0], [2.0, 30.0, 2.0]
    row = compared("x", ours, theirs, 6)
    assert (row.ratio, row.quartiles, row.unit) == (2.0, (1.5, 2.5), "images/s")
    assert (row.ours, row.theirs) == (3.0, 3.0)
    row = compared("x", ours, theirs)
    assert row.ratio == 0.5 and row.unit == "ms" and row.ours == 2000.0
    assert compared("x", [1.0], [2.0]).quartiles == (0.5, 0.5)


def test_rows_of_a_kind_are_pooled_by_their_medians() -> None:
    rows = [compared(name, [times], [1.0]) for name, times in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    row = pooled(rows, "all", target=Target(1.5, at_most=True))
    assert (row.name, row.ratio, row.ours, row.met) == ("all", 2.0, 2000.0, False)


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        (Target(1.3), 1.3, True),
        (Target(1.3), 1.29, False),
        (Target(1.05, True), 1.05, True),
        (None, 2.0, None),
    ],
)
def test_every_target_is_judged(target: Target | None, ratio: float, met: bool | None) -> None:
    row = Measurement("x", 100.0, "ms", ratio=ratio, target=target)
    assert row.met is met and row.to_json()["met"] is met
    # Without another side it is our own value that counts.
    assert replace(row, ratio=None, ours=ratio).met is met


def test_unequal_work_is_refused() -> None:
    assert agreed(torch.ones(2), torch.ones(2) + 1e-6, "x") < 1e-5
    for other in (torch.ones(2) + 1e-3, torch.full((2,), torch.nan)):
        with pytest.raises(WorkError, match="do not do equal work"):
            agreed(torch.ones(2), other, "x")
    with pytest.raises(WorkError, match="equal work"):
        agreed(torch.ones(2), torch.ones(3), "x")


def test_peak_memory_is_what_a_call_holds_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    def side(x: Tensor) -> Tensor:
        a = x + 1
        b = a + 1
        del a
        return b + 1

    # Scalars are tensors for a moment, too.
    assert peak_bytes(side, torch.zeros(1000), QUICK) == pytest.approx(2 * 4000, abs=64)
    assert capfd.readouterr().err == ""


def test_copies_are_counted() -> None:
    assert copies(lambda x: x.t() + x, torch.zeros(4, 4)) == 0
    assert copies(lambda x: torch.cat([x.t().contiguous(), x.clone()]), torch.zeros(4, 4)) == 3


@pytest.mark.parametrize(("threads", "clock"), [(1, "core"), (2, "wall")])
def test_one_thread_is_timed_on_its_core(threads: int, clock: str) -> None:
    assert replace(QUICK, threads=threads).clock == clock


# -- the benches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", operators.CASES, ids=lambda case: f"{operators._spelled(case.block)}-{case.against}"
)
def test_both_sides_of_an_operator_agree(case: operators.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "in_turn", lambda sides, *rest: [[1.0], [2.0]])
    monkeypatch.setattr(core, "peak_bytes", lambda *rest: 1)
    inference, training = operators.bench(QUICK, [case])
    assert inference.name.endswith("inference") and training.name.endswith("training step")
    assert inference.ratio == training.ratio == 2.0
    assert training.details["macs"] == 3 * inference.details["macs"] > 0
    assert {"bytes", "peak_bytes", "max_abs_difference"} <= inference.details.keys()
    assert (inference.target is not None) == ("naive" in case.against)


def test_every_operator_is_measured() -> None:
    assert {case.block.operator for case in operators.CASES} == {
        "lsa", "gsa", "cswin", "dwconv", "refiner", "swin", "outlook",
    }  # fmt: skip
    with pytest.raises(RequestError, match="multiple of 112"):
        operators.bench(replace(QUICK, image_size=100))
    with pytest.raises(RequestError, match="at least 2"):
        operators.bench(replace(QUICK, batch_size=1))


def test_a_training_step_leaves_no_gradients() -> None:
    module = torch.nn.Linear(3, 3)
    side = operators.stepped(module, module, (2, 3), QUICK)
    side(torch.ones(2, 3))
    assert module.weight.grad is None


@pytest.mark.parametrize(("name", "timm_name"), networks.TWINS)
def test_our_networks_carry_the_weights_of_timms(name: str, timm_name: str) -> None:
    ours, theirs = networks.pair(name, timm_name, 224)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert all(0.0 in (getattr(block, "drop_path", 0.0),) for block in ours.modules())


def test_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "in_turn", lambda sides, *rest: [[1.0], [2.0]])
    monkeypatch.setattr(core, "peak_bytes", lambda *rest: 1)
    rows = networks.bench(QUICK, networks.TWINS[:1])
    assert [row.met for row in rows] == [True, True]
    assert rows[0].details["max_abs_difference"] < 1e-4


def test_supernet(tiny: Setup) -> None:
    rows = supernet.bench(tiny)
    assert [row.target is not None for row in rows] == [True, True, False, False, False]
    each = rows[1].details["architectures"]
    assert len(each) == 2
    assert all(one["touched"]["ours"] >= one["touched"]["theirs"] > 0 for one in each)
    assert rows[3].details["touched"] <= rows[3].details["of"]


@pytest.mark.usefixtures("captured", "nothing_compiled")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compile_counts_what_it_waits_for(tiny: Setup) -> None:
    first, second, steps = compile.bench(tiny)
    assert 0 < first.details["compilations"] <= second.details["compilations"]
    assert second.details["compilations"] <= second.details["kinds_of_the_space"] == 2 * (7 + 2)
    assert 0 < first.ours <= second.ours and first.unit == "s"
    assert len(steps.details["architectures"]) == 2 and steps.ratio is not None


def test_population_compares_identical_scores(tiny: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    warm, cold, *_ = population.bench(tiny, parents=2, offspring=4, images=8, calibration=4)
    assert warm.unit == "designs/s" and str(warm.target) == ">= 2" and cold.target is None
    monkeypatch.setattr(
        population.Evaluator,
        "score",
        lambda self, design: {"top1": -1.0, "top5": 0.0, "loss": 0.0, "seconds": 1},
    )
    with pytest.raises(WorkError, match="different scores"):
        population.bench(tiny, parents=2, offspring=4, images=8, calibration=4)


def test_a_raced_generation_is_checked_against_its_scores_in_full(tiny: Setup) -> None:
    network = racing.trained(space_of(tiny), tiny, steps=40)
    speed, saved, wrong = racing.raced(tiny, network, parents=2, offspring=8, images=200, calibration=4)
    assert (speed.unit, saved.unit, str(wrong.target)) == ("images/s", "%", "<= 5")
    details = speed.details
    assert details["designs"] == 8 * tiny.count(1) >= details["stopped"] >= details["stopped_wrongly"]
    assert (saved.ours > 0) == (details["stopped"] > 0)
    assert wrong.ours == pytest.approx(100 * details["stopped_wrongly"] / max(1, details["not_dominated"]))


def test_a_generation_is_of_distinct_mutants(tiny: Setup) -> None:
    first, designs = mutants.generation(space_of(tiny), Random(0), 3, 10)
    assert len(first) == 3 and len(set(designs)) == len(designs) == 10


def test_a_search_is_split_into_its_phases(tmp_path: Path) -> None:
    marks, seconds = search.ours(space_of(QUICK), 110, tmp_path)
    assert [mark.trials for mark in marks] == [100, 110] and seconds > 0
    for mark in marks:
        assert 0 < mark.propose and 0 < mark.store and mark.propose + mark.store <= mark.wall
        assert mark.proposals >= mark.trials
    row = search._share("x", *marks)
    assert row.name.endswith("trials 101-110")
    spent = row.details["ms_per_trial"]
    assert sum(value for name, value in spent.items() if name != "total") == pytest.approx(spent["total"])


def test_evaluations_are_not_counted_as_overhead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, quick = [0.0], search.looked_up

    def slow(design: Architecture) -> float:
        now[0] += 5.0
        return quick(design)

    monkeypatch.setattr(search, "looked_up", slow)
    monkeypatch.setattr(
        search, "time", SimpleNamespace(perf_counter=lambda: now[0], thread_time=lambda: now[0])
    )
    marks, _ = search.ours(space_of(QUICK), 40, tmp_path)
    assert now[0] >= 40 * 5.0 and marks[-1].wall == marks[-1].core == 0


def test_a_search_that_runs_out_of_designs_has_its_last_mark(tmp_path: Path) -> None:
    space = parse_declaration(SMALL, "small").space("one", 16, 3, 3)
    marks, _ = search.ours(space, 100, tmp_path)
    assert [mark.trials for mark in marks] == [space.size] == [4]


def test_a_search_against_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ray_tune", lambda space, trials, folder: 4.0)
    rows = search.bench(replace(QUICK, trials=4))
    assert [row.against[:8] for row in rows] == ["", "", "study.op", "Ray Tune"]
    assert rows[3].theirs == 0.5
    assert [row.target is None for row in rows] == [False, True, True, True]


@pytest.mark.slow
def test_ray_tune_searches_the_same_space(tiny: Setup, tmp_path: Path) -> None:
    assert search.ray_tune(space_of(tiny), 2, tmp_path) > 0


@pytest.mark.slow
def test_a_worker_starts_and_maps_its_weights(tiny: Setup) -> None:
    start, mapped = workers.bench(tiny)
    assert len(start.details["start_s"]) == start.rounds and min(start.details["start_s"]) > 0
    assert mapped.ours == 100 and mapped.details["bytes"] > 0


@pytest.mark.parametrize("writable", [True, False])
def test_weights_are_mapped_where_they_are_used_as_they_came(tiny: Setup, writable: bool) -> None:
    space = space_of(tiny)
    images = torch.zeros(2, space.in_channels, *space.image_size)
    given = payload_from_batches(Supernet(space), [(images, torch.zeros(2, dtype=torch.long))], [images])
    for array in () if writable else given["weights"].values():
        array.flags.writeable = False  # as what Ray maps is
    counts = workers._look(given, "cpu").counts(None)
    assert counts["mapped"] == (0 if writable else counts["bytes"]) and counts["bytes"] > 0


def test_looked_up_accuracies_are_those_of_the_design(tiny: Setup) -> None:
    space = space_of(tiny)
    designs = [space.sample(Random(seed)) for seed in range(8)]
    values = [search.looked_up(design) for design in designs]
    assert values == [search.looked_up(design) for design in designs]
    assert all(0 <= value <= 100 for value in values) and len(set(values)) == len(set(designs))


def test_latency_measures_a_table_and_judges_it(tiny: Setup) -> None:
    table, rows = latency.bench(tiny)
    assert table.space == space_of(tiny).digest
    assert [row.unit for row in rows] == ["Kendall's tau", "%"]


def test_predictions_are_judged_by_rank_and_error(tiny: Setup) -> None:
    space = space_of(tiny)
    designs = list({space.sample(Random(seed)): None for seed in range(12)})
    entries = {part.name: 1.0 for design in designs for part in parts(design)}
    table = LatencyTable(entries, "x", "float32", 1, (28, 28), space.digest, {})
    exact = [table.latency_ms(design) for design in designs]
    tau, error = latency.judged(table, designs, [1.25 * ms for ms in exact], "x")
    assert tau.ours == pytest.approx(1.0) and tau.met
    assert error.ours == pytest.approx(20.0) and not error.met


# -- sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "image_size", "side", "channels"),
    [
        (None, None, 28, 1),
        ("nano", None, 28, 1),
        ("tiny", None, 224, 3),
        (None, 224, 224, 3),
        (None, 32, 32, 1),
    ],
)
def test_the_space_is_for_images_of_its_scale(
    scale: str | None, image_size: int | None, side: int, channels: int
) -> None:
    space: Space = space_of(replace(QUICK, scale=scale, image_size=image_size))
    assert space.image_size == (side, side) and space.in_channels == channels


# -- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every bench two rows at once."""

    def bench(name: str) -> Any:
        details = {"macs": 10, "bytes": 20, "peak_bytes": {"ours": 1, "theirs": 2}}
        rows = [
            compared(
                f"{name} <b>",
                [1.0] * 2,
                [2.0] * 2,
                4,
                against="[x]",
                target=Target(1.0),
                memory_target=NO_MORE_MEMORY,
                details=details,
            ),
            Measurement(f"{name} alone", 1.0, "%", target=Target(0.5, at_most=True)),
        ]
        table = LatencyTable({"a": 1.0}, "x", "float32", 1, (28, 28), "d", {})
        return lambda setup: (table, rows) if name == "latency" else rows

    monkeypatch.setattr(command, "_bench", bench)


def test_all_but_latency_run_where_none_is_named(stubbed: None) -> None:
    heard: list[str] = []
    outcome = command.run(command.check((), None), QUICK, lambda name, rows: heard.append(name))
    assert heard == list(outcome.rows)
    assert heard == ["operators", "networks", "supernet", "population", "search", "workers"]
    value = json.loads(json.dumps(outcome.to_json({"commit": "c"})))
    row, alone = value["benches"]["operators"]
    assert (row["ratio"], row["target"], row["met"], row["rounds"]) == (2.0, ">= 1", True, 2)
    assert (row["memory"], row["memory_target"], row["memory_met"]) == (0.5, "<= 1", True)
    assert (alone["ratio"], alone["met"], alone["memory_met"]) == (None, False, None)
    assert value["machine"]["clock"] == "core" and value["provenance"] == {"commit": "c"}


def test_tables_and_pages_say_which_targets_are_met(stubbed: None) -> None:
    outcome = command.run(("operators",), QUICK, lambda name, rows: None)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(show.drawn("operators", outcome.rows["operators"]))
    text = console.export_text()
    assert ">= 1 met" in text and "<= 0.5 missed" in text and "2.00 (2.00-2.00)" in text and "[x]" in text
    assert "0.50 met" in text
    origin = {"commit": None, "dirty": None, "time": "now", "command": ["nas", "bench"]}
    page = show.written(outcome.rows, outcome.machine, origin)
    assert (
        "operators &lt;b&gt;" in page
        and "1 of 2 targets met" in page
        and "above the other side's in 1 of 1" in page
        and "nas bench" in page
    )


def test_the_command_writes_what_it_found(stubbed: None, nas: Nas, tmp_path: Path) -> None:
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    done = nas("bench", "operators", "--json", "--device", "cpu", "--out", out, "--html", page)
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads(out.read_text())
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_of_latency_the_table_is_kept(stubbed: None, nas: Nas, tmp_path: Path) -> None:
    done = nas("bench", "latency", "--device", "cpu", "--out", tmp_path / "t.json")
    assert done.code == 0 and "latency" in done.out
    assert LatencyTable.from_json(json.loads((tmp_path / "t.json").read_text())).space == "d"
