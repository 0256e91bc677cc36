"""The device: asked for in one place, and what follows from it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from nas.runtime import device as device_module
from nas.runtime.device import (
    autocast,
    compute_dtype,
    default_device,
    distributed_backend,
    gradient_scaler,
    planned_device,
    start_worker,
)

ROOT = Path(__file__).parents[3]
# The owner of the device, and the doctor, which says what it finds.
ALLOWED = {"nas/runtime/device.py", "nas/cluster/doctor.py"}


def asks_for_a_gpu(source: str) -> bool:
    """Return whether a module's source names ``is_available`` in any way."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr == "is_available":
            return True
        if isinstance(node, ast.alias) and node.name.rpartition(".")[2] == "is_available":
            return True
        if isinstance(node, ast.Constant) and node.value == "is_available":
            return True
    return False


def test_the_device_is_decided_in_one_place() -> None:
    asking = {
        str(path.relative_to(ROOT))
        for package in ("search_spaces", "supernet", "nas")
        for path in (ROOT / package).rglob("*.py")
        if asks_for_a_gpu(path.read_text(encoding="utf-8"))
    }
    assert asking == ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.cuda.is_available()",
        "from torch.cuda import is_available",
        "import torch\ngetattr(torch.cuda, 'is_available')()",
        "def f(cuda):\n    return cuda.is_available",
    ],
)
def test_every_way_to_ask_is_found(source: str) -> None:
    assert asks_for_a_gpu(source)


@pytest.mark.parametrize(("there", "planned", "device"), [
    (True, "cpu", "cpu"), (False, "cpu", "cpu"), (True, "cuda", "cuda"),
    (False, "cuda", "cpu"),  # a logical GPU
])  # fmt: skip
def test_a_plan_is_kept(there: bool, planned: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert planned_device(planned) == torch.device(device)  # type: ignore[arg-type]
    threads = torch.get_num_threads()
    try:
        assert start_worker(planned, threads + 1) == torch.device(device)  # type: ignore[arg-type]
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")


def test_a_plan_for_cpus_does_not_even_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise AssertionError("asked for a GPU")

    monkeypatch.setattr("torch.cuda.is_available", fail)
    assert planned_device("cpu").type == "cpu"


def test_without_a_plan_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert default_device() == torch.device(device)


@pytest.mark.parametrize(("there", "native", "dtype"), [
    (True, True, torch.bfloat16), (True, False, torch.float16),
    (False, False, torch.bfloat16),  # planned here, computed elsewhere
])  # fmt: skip
def test_half_precision_is_what_the_gpu_computes(
    there: bool, native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return native or including_emulation  # torch counts emulation unless it is told not to

    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", is_supported)
    device_module._computes_bfloat16.cache_clear()
    try:
        assert compute_dtype(torch.device("cuda", 0)) == dtype
        assert compute_dtype(torch.device("cpu")) == torch.float32
    finally:
        device_module._computes_bfloat16.cache_clear()


def test_only_gpus_of_workers_use_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    assert before == "highest"
    try:
        start_worker("cpu", threads)
        assert torch.get_float32_matmul_precision() == "highest"
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        start_worker("cuda", threads)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_only_float16_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not gradient_scaler(torch.device("cpu")).is_enabled()
    monkeypatch.setattr(device_module, "compute_dtype", lambda device: torch.float16)
    assert gradient_scaler(torch.device("cpu")).is_enabled()


def test_what_follows_from_the_device() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert (distributed_backend(cpu), distributed_backend(cuda)) == ("gloo", "nccl")
    assert (compute_dtype(cpu), compute_dtype(cuda)) == (torch.float32, torch.bfloat16)
    with autocast(cpu):
        assert not torch.is_autocast_enabled("cpu")
