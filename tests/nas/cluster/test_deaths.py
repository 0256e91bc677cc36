"""Why a worker died, from what Ray says, what the worker wrote, and what the kernel counts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cluster import deaths
from nas.cluster.deaths import Death, Whereabouts, explain_death
from nas.cluster.ray_cluster import load_ray
from nas.runtime.processes import process_place

_SILENT = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tpid: 7\nThe actor is dead because its "
    "worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
    "connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer"
)
HERE = Whereabouts(process_place(), "10.0.0.2", "node", 7, "", 0, deaths._count_kernel_kills())


def died(text: str) -> Exception:
    """Return what Ray raises of an actor that died."""
    return load_ray().exceptions.RayActorError(error_msg=text)  # type: ignore[no-any-return]


def test_a_process_that_is_gone_without_a_word() -> None:
    assert explain_death(died(_SILENT)) == Death("it was killed, by hand or for lack of memory")
    said = "it was killed (process 7 on 10.0.0.2), by hand or for lack of memory"
    assert explain_death(died(_SILENT), HERE) == Death(said)
    # Of another machine nothing more is known, whatever the kernel of this one has done.
    elsewhere = replace(HERE, place="elsewhere", kernel_kills=-1)
    assert explain_death(died(_SILENT), elsewhere) == Death(said)
    assert (
        "kernel ended processes for lack of memory"
        in explain_death(died(_SILENT), replace(HERE, kernel_kills=-1)).cause
    )


def test_what_it_wrote_last(tmp_path: Path) -> None:
    log = tmp_path / "worker.err"
    log.write_text("Fatal Python error: of a process before\n")
    worker = replace(HERE, log=str(log), log_bytes=os.path.getsize(log))
    assert "killed" in explain_death(died(_SILENT), worker).cause
    with open(log, "a") as file:
        file.write(
            "some warning\nFatal Python error: Segmentation fault\n\nStack (most recent call first):\n"
        )
    assert explain_death(died(_SILENT), worker).cause == (
        "it crashed (process 7 on 10.0.0.2), Fatal Python error: Segmentation fault"
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "...worker process has died. Worker exit detail: Worker exits with an exit code 4.",
            Death("it ended with exit code 4 (process 7 on 10.0.0.2)"),
        ),
        (
            "The actor died because its node has died. Node Id: 06f\n\tthe actor's node was terminated unexpectedly",
            Death("the node at 10.0.0.2 is gone", of_node=True),
        ),
        (
            "The actor died because of an error raised in its creation task, ray::B.__init__()\n  File x\n"
            "ValueError: no start\nreally none",
            Death("it failed as it started: ValueError: no start", by_itself=True),
        ),
        ("...Worker killed since the node was running low on memory", Death(
            "Ray ended it (process 7 on 10.0.0.2), as the memory of its node was nearly used up")),
    ],
)  # fmt: skip
def test_what_ray_says(said: str, expected: Death) -> None:
    assert explain_death(died(said), HERE) == expected


def test_a_node_that_cannot_be_reached_is_gone() -> None:
    error = load_ray().exceptions.ActorUnavailableError("socket closed", b"0" * 16)
    assert explain_death(error, HERE) == Death(
        "the node at 10.0.0.2 is gone or cannot be reached", of_node=True
    )


def test_a_cluster_that_asks_for_another_token_is_named() -> None:
    """What Ray said of a simulated cluster without a token, on a machine whose user has one for others."""
    said = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: _Rank\n"
        "The actor is dead because all references to the actor were removed including lineage ref count.\n"
        "The actor never ran - it was cancelled before it started running."
    )
    death = explain_death(died(said))
    assert death.by_itself and "RAY_AUTH_MODE" in death.cause
