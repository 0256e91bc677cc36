"""What runs on a cluster's nodes: this program, with libraries that are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nas
from nas.cluster import doctor, program, ray_cluster
from nas.cluster.program import (
    MISSING,
    Node,
    find_differences,
    read_versions,
    require_alike,
    runtime_environment,
)
from search_spaces.errors import BudgetError

OWN = {"python": "3.11.7", "torch": "2.15.0", "ray": "2.60.0", "timm": "1.0.31", "nas": "0.1.0"}


def node(name: str, **versions: str) -> Node:
    return Node(name, 8, 2, 2**34, {**OWN, **versions})


def test_the_program_is_carried_without_compiled_files() -> None:
    found = runtime_environment()
    assert [Path(folder).name for folder in found["py_modules"]] == ["nas", "search_spaces", "supernet"]
    assert Path(found["py_modules"][0]) == Path(nas.__file__).parent
    assert found["excludes"] == ["__pycache__"]


def test_a_job_that_brings_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"runtime_env": {"py_modules": ["s3://bucket/nas.zip"]}, "metadata": {}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    assert runtime_environment() == {}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": None}))
    assert runtime_environment()


@pytest.mark.parametrize(
    ("versions", "says"),
    [
        ({"python": "3.12.1"}, "b have python 3.12.1 (here 3.11.7)"),
        ({"torch": "2.14.1"}, "b have torch 2.14.1 (here 2.15.0)"),
        ({"ray": "2.60.1"}, "b have ray 2.60.1 (here 2.60.0)"),
        ({"timm": MISSING}, "b have no timm (here 1.0.31)"),
    ],
)
def test_what_workers_cannot_run_with_is_refused_by_name(versions: dict[str, str], says: str) -> None:
    refused, noted = find_differences([node("a"), node("b", **versions)], OWN)
    assert refused == [says] and noted == []


@pytest.mark.parametrize(
    ("versions", "noted"),
    [
        ({"python": "3.11.9"}, ["b, c have python 3.11.9 (here 3.11.7)"]),
        ({"torch": "2.15.0+cpu"}, ["b, c have torch 2.15.0+cpu (here 2.15.0)"]),
        ({"timm": "1.0.20"}, ["b, c have timm 1.0.20 (here 1.0.31)"]),
        ({"nas": MISSING}, []),  # it is carried
        ({}, []),
    ],
)
def test_what_is_only_to_be_known_is_said(versions: dict[str, str], noted: list[str]) -> None:
    nodes = [node("a"), node("b", **versions), node("c", **versions)]
    assert find_differences(nodes, OWN) == ([], noted)


def test_a_node_that_gives_no_answer_is_said() -> None:
    refused, noted = find_differences([node("a"), Node("b", 8, 0, 2**34, None)], OWN)
    assert not refused and noted == ["b give no answer; workers there may not start"]


def test_this_machine_is_like_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    same = Node("a", 2, 0, 2**34, read_versions())
    assert require_alike([same]) == []
    assert MISSING not in (same.versions or {}).values()
    other = Node("b", 2, 0, 2**34, {**(same.versions or {}), "torch": "1.0.0"})
    with pytest.raises(
        BudgetError, match=r"^nodes of the Ray cluster differ from this machine: b have torch 1\.0\.0"
    ):
        require_alike([same, other])


def test_a_refused_cluster_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[bool] = []
    monkeypatch.setattr(ray_cluster, "is_connected", lambda: False)
    monkeypatch.setattr(ray_cluster, "_connect", lambda address, is_option: None)
    monkeypatch.setattr(ray_cluster, "load_ray", lambda: None)
    monkeypatch.setattr(ray_cluster, "stop", lambda: left.append(True))
    nodes = [Node("10.0.0.2/abc", 2, 0, 2**34, {**read_versions(), "ray": "2.1.0"})]
    monkeypatch.setattr(ray_cluster, "examine_nodes", lambda ray: nodes)
    with pytest.raises(BudgetError, match=r"10\.0\.0\.2/abc have ray 2\.1\.0"):
        ray_cluster.survey("10.0.0.1:6379")
    assert left == [True]


def test_the_doctor_shows_every_node_and_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node("a", 8, 2, 2**34, {**read_versions(), "torch": "2.0.1"}), Node("b", 1, 0, 2**30, None)]
    monkeypatch.setattr(ray_cluster, "is_connected", lambda: True)
    monkeypatch.setattr(ray_cluster, "is_private", lambda: False)
    monkeypatch.setattr(ray_cluster, "load_ray", lambda: None)
    monkeypatch.setattr(doctor, "examine_nodes", lambda ray: nodes)
    problems: list[str] = []
    found = doctor._examine_nodes(problems)
    assert found["a"].startswith("8 CPU cores, 2 GPUs, 16.0 GiB, python 3.") and "torch 2.0.1" in found["a"]
    assert found["b"] == "1 CPU cores, 0 GPUs, 1.0 GiB, does not answer"
    assert [text.split(" (here")[0] for text in problems] == [
        "nodes a have torch 2.0.1",
        "nodes b give no answer; workers there may not start",
    ]
    monkeypatch.setattr(ray_cluster, "is_private", lambda: True)
    assert doctor._examine_nodes(problems) == {}


def test_versions_are_read_by_value() -> None:
    """A node that lacks this module's imports still answers: what is sent names none of them."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(program)
    try:
        sent = cloudpickle.dumps(read_versions)
    finally:
        cloudpickle.unregister_pickle_by_value(program)
    assert b"search_spaces" not in sent
