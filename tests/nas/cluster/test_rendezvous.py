"""Teams meet on the loopback, or on the one address of a machine."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import pytest

from nas.cluster.rendezvous import LOOPBACK, Rendezvous, common_host, interface_of, join, open_store
from tests.helpers.sockets import listening


def test_ranks_of_one_machine_meet_on_the_loopback() -> None:
    assert common_host(["10.0.0.1", "10.0.0.1"]) == LOOPBACK
    assert common_host(["10.0.0.1", "10.0.0.2"]) == "10.0.0.1"


def test_the_store_listens_on_its_address_alone() -> None:
    before = listening({os.getpid()})
    store, meeting = open_store(LOOPBACK, 1)
    assert meeting.host == LOOPBACK
    assert set(listening({os.getpid()})) - set(before) <= {LOOPBACK}
    assert str(meeting.port) and store is not None


def test_the_interface_of_an_address() -> None:
    assert interface_of(LOOPBACK) == "lo"
    assert interface_of("192.0.2.1") is None


def _rank(rank: int, meeting: Rendezvous, answers: Any) -> None:
    import torch
    from torch import distributed

    join("cpu", rank, 2, meeting, "192.0.2.1")
    total = torch.ones(1)
    distributed.all_reduce(total)
    answers.put((total.item(), sorted(listening({os.getpid()}))))
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_every_socket_of_a_team_is_on_the_loopback() -> None:
    spawn = multiprocessing.get_context("spawn")
    store, meeting = open_store(LOOPBACK, 2)
    answers = spawn.Queue()
    ranks = [spawn.Process(target=_rank, args=(rank, meeting, answers)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = [answers.get(timeout=120) for _ in ranks]
    for process in ranks:
        process.join(30)
    assert found == [(2.0, [LOOPBACK])] * 2 and store is not None
