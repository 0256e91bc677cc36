"""Batches: repeated, resumed and shared among ranks to the last bit."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.dataset import Data
from tests.helpers.image_folders import read_all


def test_batches_repeat_and_epochs_differ(digits: Data) -> None:
    def first(seed: int, epoch: int) -> torch.Tensor:
        return next(digits.train.batches(32, shuffle_seed=seed, epoch=epoch, augment=True))[0]

    assert torch.equal(first(1, 0), first(1, 0))
    assert not torch.equal(first(1, 0), first(1, 1))
    assert not torch.equal(first(1, 0), first(2, 0))


def test_global_random_state_is_neither_used_nor_changed(coloured: Data) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    images = read_all(coloured.train, shuffle_seed=1, augment=True)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(read_all(coloured.train, shuffle_seed=1, augment=True)[0], images)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.integers(1, 40), st.integers(1, 8), st.none() | st.integers(0, 3))
def test_start_gives_the_tail(
    coloured: Data, draw: st.DataObject, batch_size: int, least: int, seed: int | None
) -> None:
    how = {"shuffle_seed": seed, "augment": True, "least": least}
    every = list(coloured.train.batches(batch_size, **how))  # type: ignore[arg-type]
    start = draw.draw(st.integers(0, len(every)))
    tail = list(coloured.train.batches(batch_size, start=start, **how))  # type: ignore[arg-type]
    assert len(tail) == len(every) - start
    for (images, labels), (expected, classes) in zip(tail, every[start:], strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, classes)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_every_batch_without_changing_it(coloured: Data, world: int) -> None:
    every = list(coloured.train.batches(16, shuffle_seed=5, augment=True))
    for rank in range(world):
        mine = coloured.train.batches(16, shuffle_seed=5, augment=True, rank=rank, world=world)
        for (images, labels), (expected, classes) in zip(mine, every, strict=True):
            assert torch.equal(images, expected[rank::world]) and torch.equal(labels, classes[rank::world])


def test_ranks_left_over_by_a_small_last_batch_yield_nothing(coloured: Data) -> None:
    sizes = [[len(y) for _, y in coloured.val.batches(9, rank=r, world=2)] for r in (0, 1)]
    assert sizes == [[5, 1], [4]]


def test_least_dtype_and_order(coloured: Data) -> None:
    batches = list(coloured.train.batches(32, least=32, dtype=torch.bfloat16))
    assert [len(y) for _, y in batches] == [32, 32]
    assert batches[0][0].dtype == torch.bfloat16
    assert torch.equal(batches[0][1], coloured.train.labels[:32])
    shuffled = read_all(coloured.train, shuffle_seed=0)[1]
    assert not torch.equal(shuffled, coloured.train.labels)
    assert torch.equal(shuffled.sort().values, coloured.train.labels.sort().values)


def test_data_can_be_sent_to_another_process(coloured: Data) -> None:
    copy: Data = pickle.loads(pickle.dumps(coloured))
    assert copy.digest == coloured.digest
    assert torch.equal(read_all(copy.val)[0], read_all(coloured.val)[0])
