"""Training: stopped and resumed it computes what it would have computed; what cannot work is refused."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing, nn

from nas.cluster.budget import WorkerAllocation
from nas.data.dataset import Data, load_data
from nas.evaluation.accuracy import recalibrate
from nas.pipeline.run import allocate_team
from nas.runtime import interrupt
from nas.runtime.files import load_tensors
from nas.runtime.interrupt import Interrupted
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training, checkpoint_seconds
from nas.training.supernet import SupernetTask, train_supernet
from nas.training.supernet_checkpoint import read_progress, read_supernet
from nas.training.supernet_step import supernet_step
from search_spaces.errors import CheckpointError, RequestError, WorkError
from search_spaces.space import Space
from supernet.sampling import POLICIES
from supernet.supernet import Supernet
from tests.helpers import workers as factories
from tests.helpers.command_line import paint_folder

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=8, lr=2e-3, warmup=0.34)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are then added in one order, so that equality can mean equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(images: Path) -> Data:
    return load_data(f"folder:{images}")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(recipe=RECIPE, batch=4)


def begin(space: Space, settings: Settings, data: Data, checkpoint: Path, identity: str = "it") -> Training:
    torch.manual_seed(settings.seed)
    steps = math.ceil(len(data.train) / RECIPE.batch_size)
    return Training(Supernet(space), settings.recipe, steps, checkpoint, identity)


def go_on(
    training: Training, settings: Settings, data: Data, until: int | None = None, **how: object
) -> list[float]:
    """Train as a search does; return the losses."""
    losses: list[float] = []

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(
            RECIPE.batch_size, shuffle_seed=settings.seed, epoch=epoch, augment=True, start=first
        )

    step = supernet_step(training.model, settings, CPU)  # type: ignore[arg-type]
    training.run(step, batches, on_progress=lambda done, loss: losses.append(loss), until=until, **how)  # type: ignore[arg-type]
    return losses


def state(training: Training) -> dict[str, Tensor]:
    """Everything of a training, as it is saved."""
    training.save()
    return load_tensors(training.checkpoint)[0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_resumed_from_any_step_equals_uninterrupted(
    policy: str, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    settings = replace(settings, policy=policy)
    whole = begin(space, settings, data, tmp_path / "whole")
    losses = go_on(whole, settings, data)
    assert len(losses) == whole.total_steps == 12 and all(map(math.isfinite, losses))
    expected = state(whole)
    every = range(1, whole.total_steps) if policy == "uniform" else (2, 6)
    for stop in every:  # in the middle of epochs and at their ends
        checkpoint = tmp_path / str(stop)
        first = go_on(begin(space, settings, data, checkpoint), settings, data, until=stop)
        resumed = begin(space, settings, data, checkpoint)
        torch.manual_seed(12345)  # what happened to run before must not matter
        assert resumed.step == stop
        assert first + go_on(resumed, settings, data) == losses
        assert same(state(resumed), expected)


def test_finished_training_has_nothing_left(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    go_on(begin(space, settings, data, tmp_path / "c"), settings, data)
    again = begin(space, settings, data, tmp_path / "c")
    assert again.step == again.total_steps and go_on(again, settings, data) == []


def test_training_learns_and_averages(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    settings = replace(settings, recipe=replace(RECIPE, epochs=30, lr=1e-2))
    training = begin(space, settings, data, tmp_path / "c")
    losses = go_on(training, settings, data)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    weights, average = training.model.state_dict(), training.averaged_network.state_dict()
    assert any(not torch.equal(weights[name], average[name]) for name in weights)


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("sharing", ["operator", "block"])
def test_every_policy_trains_a_supernet(
    policy: str, sharing: str, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    settings = replace(settings, policy=policy, sharing=sharing, recipe=replace(RECIPE, epochs=1))
    path = tmp_path / "checkpoint.safetensors"
    trained = train_supernet(space, settings, data, path, CPU)
    read = read_supernet(space, sharing, path)
    assert same(dict(read.state_dict()), dict(trained.state_dict()))
    assert not read.training
    # Again: nothing is trained, and the result is the same.
    stamp = path.stat().st_mtime_ns
    again = train_supernet(space, settings, data, path, CPU)
    assert same(dict(again.state_dict()), dict(trained.state_dict())) and path.stat().st_mtime_ns == stamp
    if sharing == "block":  # operators with projections of their own can have equal ones
        assert same(dict(read_supernet(space, "operator", path).state_dict()), dict(trained.state_dict()))
    else:  # the file's names are those of shared projections too, but its weights differ
        with pytest.raises(
            CheckpointError, match="does not hold the supernet of tiny/nano with --sharing block"
        ):
            read_supernet(space, "block", path)


def test_shards_in_turn_equal_shards_of_two_ranks(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    """The number of workers does not change what is trained, to the last bit."""
    settings = replace(settings, policy="sandwich", recipe=replace(RECIPE, shards=2))
    alone, together = tmp_path / "alone", tmp_path / "together"
    expected = dict(train_supernet(space, settings, data, alone, CPU).state_dict())
    address = f"file://{tmp_path / 'meeting'}"
    share = SupernetTask(space, settings, data, together)
    multiprocessing.start_processes(factories.as_rank, (share, address), nprocs=2, start_method="spawn")
    trained = dict(read_supernet(space, settings.sharing, together).state_dict())
    # Statistics are those of the shards that a rank saw; every design's are recalibrated before it is scored.
    learned = {name for name in expected if "running_" not in name and "num_batches" not in name}
    assert learned and same({n: expected[n] for n in learned}, {n: trained[n] for n in learned})
    assert read_progress(alone) == read_progress(together) == (12, 12)
    whole = replace(settings, recipe=RECIPE)
    other = dict(train_supernet(space, whole, data, tmp_path / "whole", CPU).state_dict())
    assert all(torch.allclose(expected[n], other[n], atol=0.05) for n in learned)
    assert not same({n: expected[n] for n in learned}, {n: other[n] for n in learned})


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"policy": "sandwich"}, {"sharing": "block"}, {"recipe": replace(RECIPE, lr=1e-4)}],
    ids=lambda change: next(iter(change)),
)
def test_foreign_checkpoint_is_refused(
    change: dict[str, object], space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train_supernet(space, replace(settings, recipe=replace(RECIPE, epochs=1)), data, path, CPU)
    other = replace(settings, **{"recipe": replace(RECIPE, epochs=1), **change})
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="belongs to another network or recipe"):
        train_supernet(space, other, data, path, CPU)
    assert path.read_bytes() == before


def test_checkpoint_of_other_images_is_refused(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    small = replace(settings, recipe=replace(RECIPE, epochs=1))
    train_supernet(space, small, data, path, CPU)
    others = load_data(f"folder:{paint_folder(tmp_path / 'others', images=14)}")
    with pytest.raises(CheckpointError, match="belongs to another"):
        train_supernet(space, small, others, path, CPU)


@pytest.mark.parametrize("size", [0, 7, 1000])
def test_damaged_checkpoint_is_refused(
    size: int, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    go_on(begin(space, settings, data, path), settings, data, until=1)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="truncated"):
        begin(space, settings, data, path)


def test_checkpoint_of_another_network_is_refused(
    space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    go_on(begin(space, settings, data, tmp_path / "c"), settings, data, until=1)
    with pytest.raises(CheckpointError, match="does not hold this network's weights"):
        Training(nn.Linear(2, 2), RECIPE, 3, tmp_path / "c", "it")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_is_work_that_failed(
    bad: float, space: Space, settings: Settings, data: Data, tmp_path: Path
) -> None:
    training = begin(space, settings, data, tmp_path / "c")
    go_on(training, settings, data, until=2)
    before = state(training)
    batch = next(data.train.batches(8))
    with pytest.raises(
        WorkError, match=r"diverged at step 3.*lower the learning rate \(it is 0.002\)"
    ) as error:
        training.run(lambda *_: bad, lambda *_: iter([batch]), on_progress=lambda *_: None)
    assert error.value.exit_code == 1
    assert same(load_tensors(training.checkpoint)[0], before)  # the last good state is what is kept


# -- interruption ------------------------------------------------------------------------------------


def test_interrupt_saves_and_resumes(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    whole = begin(space, settings, data, tmp_path / "whole")
    losses = go_on(whole, settings, data)
    training = begin(space, settings, data, tmp_path / "c")
    step = supernet_step(training.model, settings, CPU)  # type: ignore[arg-type]
    seen: list[float] = []

    def signalled(number: int, images: Tensor, labels: Tensor) -> float:
        if number == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(number, images, labels)

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(8, shuffle_seed=0, epoch=epoch, augment=True, start=first)

    with interrupt.graceful(), pytest.raises(Interrupted):
        training.run(signalled, batches, on_progress=lambda done, loss: seen.append(loss))
    assert len(seen) == 5  # the step that was running is finished and kept
    resumed = begin(space, settings, data, tmp_path / "c")
    assert resumed.step == 5
    assert seen + go_on(resumed, settings, data) == losses
    assert same(state(resumed), state(whole))


def test_second_signal_insists_and_handlers_return() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupt.graceful(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.is_requested()
        os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not interrupt.is_requested()
    interrupt.check()


def test_saves_now_and_then(space: Space, settings: Settings, data: Data, tmp_path: Path) -> None:
    training = begin(space, settings, data, tmp_path / "c")
    saved: list[int] = []
    save: Callable[[], None] = training.save
    training.save = lambda: (saved.append(training.step), save())[1]  # type: ignore[method-assign]
    go_on(training, settings, data, save_seconds=0.0)
    assert saved == [*range(1, 13), 12]


# -- BatchNorm ---------------------------------------------------------------------------------------


def test_recalibrate_takes_the_statistics_of_the_images() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3))
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean.fill_(50)  # type: ignore[union-attr]
    batches = [torch.randn(16, 3, 8, 8) * 3 + 1 for _ in range(4)]
    recalibrate(network, batches)
    with torch.no_grad():
        maps = [network[0](batch) for batch in batches]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    var = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.momentum == 0.3 and not network.training and not norm.training
    recalibrate(network, batches)  # a second time changes nothing
    torch.testing.assert_close(norm.running_mean, mean)


def test_recalibrate_leaves_networks_without_batchnorm_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).train()

    def never() -> Iterator[Tensor]:
        raise AssertionError("no image is needed")
        yield torch.empty(0)

    recalibrate(network, never())
    assert network.training


def test_interval_of_checkpoints_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_CHECKPOINT_SECONDS", raising=False)
    assert checkpoint_seconds() == 20
    monkeypatch.setenv("NAS_CHECKPOINT_SECONDS", "0.5")
    assert checkpoint_seconds() == 0.5
    monkeypatch.setenv("NAS_CHECKPOINT_SECONDS", "often")
    with pytest.raises(RequestError, match="NAS_CHECKPOINT_SECONDS must be a number of seconds, not 'often'"):
        checkpoint_seconds()


def test_cores_of_one_machine_are_dealt_out_among_ranks() -> None:
    eight = WorkerAllocation(8, 1.0, 0.0, "cpu")
    assert allocate_team(eight, 2, one_machine=True) == WorkerAllocation(2, 4.0, 0.0, "cpu")
    # A cluster's machines may have one core each.
    assert allocate_team(eight, 2, one_machine=False) == WorkerAllocation(2, 1.0, 0.0, "cpu")
    shared = WorkerAllocation(8, 0.5, 1.0, "cuda")
    assert allocate_team(shared, 8, one_machine=True) == shared
