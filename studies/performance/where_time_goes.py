"""Where a training step goes on a CPU: shares of kinds of kernels, and how fast each runs beside a 1024³ product.

Forward and backward of `cswin_tiny` at 224 px, batch 4, and of random paths of the nano supernet, batch 64. Shares are
of the wall, by `torch.profiler`; the time that they are shares of, and the product's, is processor time, so that other
work on the machine disturbs rates little. About 20 seconds for each number of threads on two idle cores::

    python studies/performance/where_time_goes.py --threads 1 2
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from search_spaces.declaration import load_declaration
from search_spaces.published import published
from supernet.subnet import build_subnet
from supernet.supernet import Supernet

#: Kernels of each kind, by what their names contain; the first kind that fits counts.
KINDS: dict[str, tuple[str, ...]] = {
    "products, forward": ("aten::addmm",),
    "products, backward and others": ("aten::mm", "aten::bmm", "aten::baddbmm"),
    "fused attention, forward": ("attention_for_cpu",),
    "fused attention, backward": ("attention_for_cpu_backward",),
    "softmax": ("softmax",),
    "convolution, backward": ("convolution_backward",),
    "convolution, forward": ("mkldnn_convolution", "_slow_conv", "thnn_conv", "conv_depthwise"),
    "norms": ("native_layer_norm", "native_batch_norm", "aten::var_mean"),
    "GELU": ("aten::gelu",),
    "copies, layout": ("aten::copy_", "aten::cat", "aten::repeat", "im2col", "col2im", "constant_pad"),
    "sums and other element-wise": tuple(
        f"aten::{name}"
        for name in (
            "add", "sum", "mul", "div", "sub", "fill_", "zero_", "relu", "clamp", "threshold", "mean", "neg", "index",
        )
    ),
}  # fmt: skip
#: Everything else: the dispatcher, autograd's engine, views, allocation, and Python between kernels.
REST = "dispatch, autograd, views, Python"


@dataclass
class Share:
    """What one kind of kernel takes.

    Args:
        seconds: Processor time of its kernels by the number of threads.
        flops: What they compute, 0 where it is not counted.
    """

    seconds: float = 0.0
    flops: float = 0.0


def kind_of(name: str, shapes: Sequence[Sequence[int]]) -> str:
    """Return the kind of a kernel with inputs of ``shapes``; depth-wise convolutions are kinds of their own."""
    if name.endswith("attention_for_cpu_backward"):
        return "fused attention, backward"
    for kind, parts in KINDS.items():
        if any(part in name for part in parts):
            if kind.startswith("convolution") and is_depthwise(name, shapes):
                return f"depth-wise {kind}"
            return kind
    return REST


def is_depthwise(name: str, shapes: Sequence[Sequence[int]]) -> bool:
    """Return whether a convolution has one input channel a filter, and more in its map."""
    maps, weight = shapes[-2:] if "backward" in name else shapes[:2]
    return len(weight) == 4 and weight[1] == 1 and maps[1] > 1


def count_flops(name: str, shapes: Sequence[Sequence[int]]) -> float:
    """Return the floating point operations of one call, two a multiply-add; 0 for kernels that are none of ours."""
    if name in ("aten::mm", "aten::bmm"):
        return 2.0 * math.prod(shapes[0]) * shapes[1][-1]
    if name == "aten::addmm":
        return 2.0 * math.prod(shapes[1]) * shapes[2][-1]
    if "attention_for_cpu" in name:
        # Two products forward; backward computes the maps again and has four more.
        q, k = shapes[1:3] if name.endswith("backward") else shapes[:2]
        return (5 if name.endswith("backward") else 2) * 2.0 * math.prod(q) * k[2]
    if name == "aten::convolution_backward":
        return 4.0 * math.prod(shapes[0]) * math.prod(shapes[2][1:])
    return 0.0


def measure(steps: Sequence[Callable[[], object]]) -> dict[str, Share]:
    """Return the share of each kind of kernel in the steps, which are run once before."""
    for step in steps:
        step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        started, processor = time.perf_counter(), time.process_time()
        for step in steps:
            step()
        whole = time.perf_counter() - started
        processor = (time.process_time() - processor) / torch.get_num_threads()
    shares: dict[str, Share] = {}
    for event in recorded.key_averages(group_by_input_shape=True):
        shapes = [shape for shape in event.input_shapes if shape]
        kind = kind_of(event.key, shapes)
        if kind != REST:
            share = shares.setdefault(kind, Share())
            share.seconds += event.self_cpu_time_total / 1e6
            share.flops += event.count * count_flops(event.key, shapes)
    for kind in ("convolution", "depth-wise convolution"):
        if f"{kind}, backward" in shares:  # the forward kernel's inputs do not say its stride; backward is two such
            shares[f"{kind}, forward"].flops = shares[f"{kind}, backward"].flops / 2
    shares[REST] = Share(whole - sum(share.seconds for share in shares.values()))
    for share in shares.values():
        share.seconds *= processor / whole
    return shares


def peak_flops(rounds: int = 5) -> float:
    """Return the operations a second, all threads together, of a product of two 1024 x 1024 matrices, best of some."""
    one, other = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = math.inf
    for _ in range(rounds):
        started = time.process_time()
        one @ other
        best = min(best, (time.process_time() - started) / torch.get_num_threads())
    return 2 * 1024**3 / best


def to_table(shares: dict[str, Share], peak: float) -> str:
    """Return a table in Markdown: share of the time, and the rate of what is counted as a share of ``peak``."""
    whole = sum(share.seconds for share in shares.values())
    flops = sum(share.flops for share in shares.values())
    lines = ["| kind | share | of a 1024³ product's rate |", "|---|---|---|"]
    for kind, share in sorted(shares.items(), key=lambda item: -item[1].seconds):
        rate = f"{share.flops / share.seconds / peak:.0%}" if share.flops else ""
        lines.append(f"| {kind} | {share.seconds / whole:.1%} | {rate} |")
    lines.append(f"| all | 100% | {flops / whole / peak:.0%} |")
    return "\n".join(lines)


def cswin_steps(batch: int = 4) -> list[Callable[[], object]]:
    """Return two steps of ``cswin_tiny`` at 224 px."""
    network = build_subnet(published("cswin_tiny")).train()
    images, labels = torch.randn(batch, 3, 224, 224), torch.arange(batch)
    return [lambda: train_step(network, network(images), labels)] * 2


def nano_steps(paths: int = 8, batch: int = 64) -> list[Callable[[], object]]:
    """Return a step of each of some random paths of the main job's supernet."""
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    supernet, rng = Supernet(space).train(), Random(0)
    images, labels = torch.randn(batch, 1, 28, 28), torch.arange(batch) % 10

    def step(design: Any) -> Callable[[], object]:
        return lambda: train_step(supernet, supernet(images, design), labels)

    return [step(space.sample(rng)) for _ in range(paths)]


def train_step(network: torch.nn.Module, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Compute the gradients of a step and forget them."""
    torch.autograd.backward(F.cross_entropy(logits, labels))
    network.zero_grad(set_to_none=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each network and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads to measure with"
    )
    for threads in parser.parse_args(arguments).threads:
        torch.set_num_threads(threads)
        for name, make in (
            ("cswin_tiny at 224 px, batch 4", cswin_steps),
            ("nano supernet, batch 64", nano_steps),
        ):
            torch.manual_seed(0)
            before, shares, after = peak_flops(), measure(make()), peak_flops()
            print(f"\n{name}, {threads} thread(s), 1024³ product {max(before, after) / 1e9:.0f} GFLOP/s\n")
            print(to_table(shares, max(before, after)), flush=True)


if __name__ == "__main__":
    main()
