"""The environment: no import changes it, Ray's settings come with Ray, Tune's go with the run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cluster import ray_cluster, trials
from nas.cluster.address import cluster_address
from nas.cluster.ray_cluster import ray_environment

ROOT = Path(__file__).parents[3]
PRIVATE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def run(program: str, **environment: str) -> list[str]:
    """Run a program in a fresh process without what other tests' libraries have set; return the lines it prints."""
    libraries = ("RAY_", "TUNE_", "TORCHINDUCTOR_", "KMP_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(libraries)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**own, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_changes_no_variable() -> None:
    program = """
import importlib, os, sys
from pathlib import Path
before = dict(os.environ)
for package in ("search_spaces", "supernet", "nas"):
    for path in sorted(Path(package).rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        # Who imports nas.timm wants timm, whose own imports set a variable of torch's.
        if not name.endswith("__main__") and not name.startswith("nas.timm"):
            importlib.import_module(name)
            changed = {name for name, _ in {*before.items()} ^ {*os.environ.items()}}
            assert not changed, f"importing {name} changes {changed}"
print(sum(name.partition(".")[0] in ("search_spaces", "supernet", "nas") for name in sys.modules))
print("ray" in sys.modules)
import nas.timm
print({name for name, _ in {*before.items()} ^ {*os.environ.items()}} <= {"TORCHINDUCTOR_CACHE_DIR"})
"""
    modules, ray, timm = run(program)
    assert int(modules) > 100 and ray == "False" and timm == "True"


def test_ray_is_loaded_with_its_settings_and_keeps_those_of_the_user() -> None:
    program = """
import os
from nas.cluster.address import cluster_address
from nas.cluster.ray_cluster import load_ray
before = dict(os.environ)
ray = load_ray()
from ray._private import ray_constants
print(ray_constants.ENABLE_RAY_CLUSTER)
print({name: os.environ[name] for name in os.environ.keys() - before.keys()})
print(all(os.environ[name] == value for name, value in before.items()))
"""
    listens, settings, kept = run(program)
    assert (listens, kept) == ("False", "True")
    assert ast.literal_eval(settings).items() >= PRIVATE.items()  # Ray's import adds some of its own
    listens, settings, kept = run(program, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="1")
    assert (listens, kept) == ("True", "True")
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in settings


def test_settings_of_a_private_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")  # of some other cluster
    assert ray_environment(cluster_address()) == PRIVATE


@pytest.mark.parametrize(
    ("address", "reachable", "token"),
    [
        ("127.0.0.1:6379", "0", True),
        ("localhost:6379", "0", True),
        (
            "192.0.2.1:6379",
            "1",
            False,
        ),  # of nobody (RFC 5737): its machine is not this one, and gets no token
    ],
)
def test_settings_for_a_cluster_that_runs(
    address: str, reachable: str, token: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    file = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    assert "RAY_AUTH_MODE" not in ray_environment(cluster_address())
    file.write_text("secret")
    settings = ray_environment(cluster_address())
    assert settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == reachable
    assert (settings.get("RAY_AUTH_MODE") == "token") == token


def test_nothing_is_imported_to_find_that_nothing_is_connected() -> None:
    program = """
import sys
from nas.cluster import ray_cluster
assert not ray_cluster.is_connected()
cluster = ray_cluster.survey()
ray_cluster.stop()
print(cluster.where, "ray" in sys.modules)
"""
    assert run(program) == ["this machine False"]


def test_settings_of_tune_last_as_long_as_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)
    before = dict(os.environ)
    with (
        pytest.raises(ZeroDivisionError),
        trials._environment({"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_SIGINT_HANDLER": "1"}),
    ):
        assert (os.environ["RAY_AIR_NEW_OUTPUT"], os.environ["TUNE_DISABLE_SIGINT_HANDLER"]) == ("0", "1")
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray_cluster, "is_connected", lambda: False)
    with pytest.raises(ray_cluster.BudgetError) as caught:
        ray_cluster.survey()
    assert str(caught.value) == (
        "the Ray cluster at 127.0.0.1:1 does not answer (nothing listens there); start it, or set "
        "RAY_ADDRESS=local to use this machine alone"
    )


def test_the_option_decides_what_ray_finds_in_the_environment(tmp_path: Path) -> None:
    """Not `RAY_ADDRESS`: where that says local, the user's token would be replaced by one of a private cluster."""
    program = """
import os
from nas.cluster import ray_cluster
from search_spaces.errors import BudgetError
try:
    ray_cluster.survey("127.0.0.1:1")
except BudgetError:
    print(os.environ["RAY_AUTH_TOKEN_PATH"])
"""
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    assert run(program, RAY_AUTH_TOKEN_PATH=str(token)) == [str(token)]
