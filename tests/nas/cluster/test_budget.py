"""Budgets: what is read, what is refused, and how machines are cut into workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cluster.budget import Budget, WorkerAllocation, allocate_workers, parse_budget
from search_spaces.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("auto", Budget()),
        ("8gpu", Budget("gpu", 8)),
        ("2cpu", Budget("cpu", 2)),
        ("2CPUs", Budget("cpu", 2)),
        ("4gpu,12h", Budget("gpu", 4, seconds=43_200.0)),
        ("auto,30m,500trials", Budget(seconds=1_800.0, trials=500)),
        ("auto, 500trials, 30m", Budget(seconds=1_800.0, trials=500)),
        ("1h30m", Budget(seconds=5_400.0)),
        (",90s", Budget(seconds=90.0)),
        ("1trial", Budget(trials=1)),
        ("2d1s", Budget(seconds=172_801.0)),
    ],
)
def test_reads(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", ",", "0gpu", "gpu", "8 gpus please", "8tpu", "-1cpu", "1.5gpu", "auto,", "auto,0s", "auto,0trials",
     "auto,1h,2h", "2cpu,3gpu", "auto,5trials,6trials", "30m1h", "auto,12",
     "٣gpu", "9999999999gpu", "auto;30m"],
)  # fmt: skip
def test_refuses_in_one_sentence_with_an_example(text: str) -> None:
    with pytest.raises(BudgetError) as caught:
        parse_budget(text)
    message = str(caught.value)
    assert repr(text) in message and "for example --budget 4gpu,12h" in message and "\n" not in message


budgets = st.builds(
    lambda machines, seconds, trials: Budget(*machines, seconds=seconds, trials=trials),
    st.one_of(st.just(("auto", None)), st.tuples(st.sampled_from(["gpu", "cpu"]), st.integers(1, 999_999))),
    st.none() | st.integers(1, 10**9).map(float),
    st.none() | st.integers(1, 10**9 - 1),
)


@given(budgets)
def test_text_round_trips(budget: Budget) -> None:
    assert parse_budget(str(budget)) == budget


@given(st.text(st.sampled_from("0189gpucatosrilhmd, .-"), max_size=12))
def test_any_text_is_a_budget_or_a_budget_error(text: str) -> None:
    try:
        budget = parse_budget(text)
    except BudgetError:
        return
    assert (budget.count is None) == (budget.kind == "auto")
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "cpus", "gpus", "plan"),
    [
        ("auto", 2, 0, WorkerAllocation(2, 1.0, 0.0, "cpu")),
        ("auto", 2.5, 0, WorkerAllocation(2, 1.0, 0.0, "cpu")),
        ("auto", 16, 4, WorkerAllocation(4, 4.0, 1.0, "cuda")),
        ("2gpu", 16, 4, WorkerAllocation(2, 8.0, 1.0, "cuda")),
        ("8gpu", 2, 8, WorkerAllocation(8, 0.25, 1.0, "cuda")),
        ("3gpu", 2, 8, WorkerAllocation(3, 0.666, 1.0, "cuda")),
        ("1cpu", 16, 4, WorkerAllocation(1, 1.0, 0.0, "cpu")),
    ],
)
def test_plans(text: str, cpus: float, gpus: float, plan: WorkerAllocation) -> None:
    assert allocate_workers(parse_budget(text), cpus, gpus) == plan


@pytest.mark.parametrize(
    ("text", "cpus", "gpus", "message"),
    [
        (
            "8gpu", 2, 0,
            "--budget 8gpu asks for 8 GPUs but this machine has 0 GPUs and 2 CPU cores; "
            "type --budget 2cpu or --budget auto, or start the command on a Ray cluster with 8 GPUs",
        ),
        (
            "8gpu,1h", 16, 1,
            "--budget 8gpu,1h asks for 8 GPUs but this machine has 1 GPU and 16 CPU cores; "
            "type --budget 1gpu,1h or --budget auto,1h, or start the command on a Ray cluster with 8 GPUs",
        ),
        (
            "4cpu", 1, 0,
            "--budget 4cpu asks for 4 CPU cores but this machine has 0 GPUs and 1 CPU core; "
            "type --budget 1cpu or --budget auto, or start the command on a Ray cluster with 4 CPU cores",
        ),
        (
            "1gpu", 0, 0,
            "--budget 1gpu asks for 1 GPU but this machine has 0 GPUs and 0 CPU cores; "
            "start the command on a Ray cluster with 1 GPU",
        ),
        (
            "auto", 0, 0,
            "--budget auto finds no CPU core and no GPU free on this machine; wait until some are free or "
            "start the command elsewhere, for example on a Ray cluster with 1 GPU",
        ),
    ],
)  # fmt: skip
def test_refuses_what_is_not_there(text: str, cpus: float, gpus: float, message: str) -> None:
    with pytest.raises(BudgetError) as caught:
        allocate_workers(parse_budget(text), cpus, gpus)
    assert str(caught.value) == message


@given(budgets, st.integers(0, 256), st.integers(0, 64))
def test_a_plan_never_takes_more_than_there_is(budget: Budget, cpus: int, gpus: int) -> None:
    try:
        plan = allocate_workers(budget, cpus, gpus)
    except BudgetError:
        return
    assert plan.workers >= 1
    assert plan.workers * plan.cpus_per_worker <= cpus
    assert plan.workers * plan.gpus_per_worker <= gpus
    assert plan.cpus_per_worker < 1 or plan.cpus_per_worker.is_integer()
