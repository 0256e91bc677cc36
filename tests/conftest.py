"""What all tests share: one thread each, since two of them run side by side, and the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from search_spaces.errors import WorkError
from tests.helpers.command_line import Nas, Outcome

torch.set_num_threads(1)
if find_spec("hypothesis") is not None:  # tests/gpu run without it too
    import hypothesis

    # How long an example takes is the machine's affair, which may be busy.
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session alone, in which the embedded digits are parsed once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(folder))
        patch.setenv(
            "NAS_STORAGE_WAIT", "60"
        )  # the usual ten minutes are longer than anybody waits for a test
        # Ray gives its workers a lower priority than all else; then they wait for tests that run beside them.
        patch.setenv("RAY_worker_niceness", "0")
        yield folder


@pytest.fixture(autouse=True)
def no_foreign_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off a Ray cluster that happens to run on this machine."""
    monkeypatch.setenv("RAY_ADDRESS", "local")


@pytest.fixture(scope="module", autouse=True)
def no_ray_left() -> Iterator[None]:
    """End the Ray that searches of a file started in this process: plans of the next would take it for a cluster."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture
def nas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nas:
    """Run the real command line in this process; plans are not timed, which takes seconds each."""
    from nas.cli.main import main

    def refuse(*arguments: object) -> None:
        raise WorkError("tests do not wait for it")

    monkeypatch.setattr("nas.pipeline.time_estimate.call_in_own_process", refuse)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Outcome(end.value.code if isinstance(end.value.code, int) else 1, out, err)

    return run


@pytest.fixture
def nothing_compiled() -> None:
    """Forget what other tests compiled."""
    torch.compiler.reset()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture modules without a compiler: when they are captured does not depend on what they are turned into."""
    compiled = nn.Module.compile

    def capture(self: nn.Module, options: object = None, **how: bool) -> None:
        compiled(self, backend="eager", **how)  # options are the compiler's

    monkeypatch.setattr(nn.Module, "compile", capture)
