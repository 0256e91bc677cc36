"""The files for ``ray up`` and KubeRay are such as those programs take.

``ray up`` is asked itself, as far as that needs no cloud. KubeRay's operator runs in Kubernetes alone: the models below
have those fields of its RayJob (``ray.io/v1``, KubeRay 1.4) and of Kubernetes' pods that the file uses, and no others.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from nas.cli.main import app

FOLDER = Path(__file__).parents[2] / "docs" / "howto" / "cluster"


class Strict(BaseModel):
    """An object without unknown fields, spelled as Kubernetes does."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Named(Strict):
    name: str


class Variable(Named):
    value: str


class Mount(Named):
    mount_path: str


class Amounts(Strict):
    limits: dict[str, str]
    requests: dict[str, str]


class Container(Named):
    image: str
    resources: Amounts
    env: list[Variable] = []
    volume_mounts: list[Mount] = []


class Claim(Strict):
    claim_name: str


class EmptyDir(Strict):
    medium: Literal["", "Memory"] = ""
    size_limit: str | None = None


class Volume(Named):
    persistent_volume_claim: Claim | None = None
    empty_dir: EmptyDir | None = None


class Pod(Strict):
    containers: list[Container] = Field(min_length=1)
    volumes: list[Volume] = []


class Template(Strict):
    spec: Pod


class HeadGroup(Strict):
    ray_start_params: dict[str, str]
    template: Template


class WorkerGroup(HeadGroup):
    group_name: str
    replicas: int = 0
    min_replicas: int
    max_replicas: int


class Cluster(Strict):
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup] = []
    ray_version: str = ""


class Submitter(Strict):
    backoff_limit: int | None = None


class Spec(Strict):
    entrypoint: str
    ray_cluster_spec: Cluster
    shutdown_after_job_finishes: bool = False
    ttl_seconds_after_finished: int = 0
    submitter_config: Submitter | None = None


class RayJob(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Named
    spec: Spec


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def test_every_file_is_checked() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"own-machines.yaml", "aws.yaml", "kuberay.yaml"}


@pytest.mark.parametrize("name", ["own-machines.yaml", "aws.yaml"])
def test_ray_up_takes_it(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    pytest.importorskip("jsonschema")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    prepared = util.prepare_config(read(name))
    util.validate_config(prepared)
    prepared["file_mount"] = {}  # a key that is misspelled
    with pytest.raises(Exception, match="file_mount"):
        util.validate_config(prepared)


def test_kuberay_takes_it() -> None:
    content = read("kuberay.yaml")
    job = RayJob.model_validate(content)
    for group in (job.spec.ray_cluster_spec.head_group_spec, *job.spec.ray_cluster_spec.worker_group_specs):
        pod = group.template.spec
        names = {volume.name for volume in pod.volumes}
        assert {mount.name for container in pod.containers for mount in container.volume_mounts} == names
    content["spec"]["entryPoint"] = content["spec"].pop("entrypoint")
    with pytest.raises(ValidationError, match="entryPoint"):
        RayJob.model_validate(content)


def test_workers_see_no_study() -> None:
    """What the page says: the head alone has the volume."""
    cluster = RayJob.model_validate(read("kuberay.yaml")).spec.ray_cluster_spec
    workers = [volume for group in cluster.worker_group_specs for volume in group.template.spec.volumes]
    assert not any(volume.persistent_volume_claim for volume in workers)


def test_commands_in_them_are_ours() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    typed = [read("kuberay.yaml")["spec"]["entrypoint"]]
    typed += [
        line.split('"cd nas && ')[1].rstrip('"')
        for line in "\n".join(texts.values()).splitlines()
        if "cd nas &&" in line
    ]
    assert len(typed) == 3
    command = typer.main.get_command(app)
    for line in typed:
        program, name, *options = shlex.split(line)
        known = {each for each in command.commands[name].params for each in each.opts}  # type: ignore[attr-defined]
        assert program == "nas" and {word for word in options if word.startswith("--")} <= known
