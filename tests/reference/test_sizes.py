"""Sizes that no reference case has: the same comparison with timm's modules as the originals, of any sizes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention
from timm.models.twins import GlobalSubSampleAttn, LocallyGroupedAttn, PosConv, Twins
from timm.models.volo import OutlookAttention
from torch import Tensor, nn

from tests.reference.cases import Case
from tests.reference.runners import RUNNERS

TOKENS = "(B, H*W, C), H={}, W={}"


def randomised(module: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.data = 0.3 * torch.randn(value.shape, generator=generator)
    return module.eval()


def case(arguments: dict[str, Any], layout: str, module: nn.Module, x: Tensor, output: Tensor) -> Case:
    weights = {f"weights.{name}": value for name, value in module.named_parameters()}
    about = {"arguments": arguments, "input_layout": layout, "class_name": arguments.pop("class_name", "")}
    return Case(about, {"input": x, "output": output, **weights})


def map_sizes(rng: Random) -> tuple[int, int]:
    return rng.randint(5, 17), rng.randint(5, 17)


def width(rng: Random) -> tuple[int, int]:
    """Return channels and heads."""
    heads = rng.randint(1, 5)
    return 4 * heads * rng.randint(1, 3), heads


def lsa_zeropad(rng: Random, seed: int) -> Case:
    (dim, heads), (H, W), window = width(rng), map_sizes(rng), rng.randint(2, 8)
    module = randomised(LocallyGroupedAttn(dim, heads, ws=window), seed)
    x = torch.randn(2, H * W, dim)
    arguments = {"dim": dim, "num_heads": heads, "ws": window, "qkv_bias": True}
    return case(arguments, TOKENS.format(H, W), module, x, module(x, (H, W)))


def gsa(rng: Random, seed: int) -> Case:
    (dim, heads), (H, W), ratio = width(rng), map_sizes(rng), rng.choice((1, 2, 3, 4, 5))
    module = randomised(GlobalSubSampleAttn(dim, heads, sr_ratio=ratio), seed)
    x = torch.randn(2, H * W, dim)
    arguments = {"dim": dim, "num_heads": heads, "sr_ratio": ratio, "qkv_bias": True}
    return case(arguments, TOKENS.format(H, W), module, x, module(x, (H, W)))


def peg(rng: Random, seed: int) -> Case:
    (dim, _), (H, W) = width(rng), map_sizes(rng)
    module = randomised(PosConv(dim, dim), seed)
    x = torch.randn(2, H * W, dim)
    return case({"embed_dim": dim}, TOKENS.format(H, W), module, x, module(x, (H, W)))


def swin_attention(rng: Random, seed: int) -> Case:
    (dim, heads), window = width(rng), rng.randint(2, 9)
    module = randomised(WindowAttention(dim, heads, window_size=window), seed)
    x = torch.randn(3, window**2, dim)
    arguments = {"dim": dim, "num_heads": heads, "window_size": window}
    return case(arguments, "(num_windows*B, w*w, C)", module, x, module(x))


def swin_block(rng: Random, seed: int) -> Case:
    (dim, heads), window = width(rng), rng.randint(2, 9)
    # Windows lie within the map, and may cover it along one axis or both.
    size = [rng.randint(window, 2 * window + 3) if rng.random() < 0.7 else window for _ in range(2)]
    arguments = {"dim": dim, "input_resolution": size, "num_heads": heads, "window_size": window}
    arguments |= {"shift_size": rng.choice((0, window // 2, 1)), "mlp_ratio": rng.choice((1.0, 2.5, 4.0))}
    module = randomised(SwinTransformerBlock(**arguments), seed)
    x = torch.randn(2, *size, dim)
    return case(arguments, "(B, H, W, C)", module, x, module(x))


def outlook(rng: Random, seed: int) -> Case:
    (dim, heads), (H, W), kernel = width(rng), map_sizes(rng), rng.choice((3, 5))
    arguments = {"dim": dim, "num_heads": heads, "kernel_size": kernel, "padding": kernel // 2}
    arguments |= {"stride": rng.randint(1, 2), "qkv_bias": rng.random() < 0.5}
    module = randomised(OutlookAttention(**arguments), seed)
    x = torch.randn(2, H, W, dim)
    return case(arguments, "(B, H, W, C)", module, x, module(x))


def net(rng: Random, seed: int) -> Case:
    stages, local = range(4), rng.random() < 0.5
    heads = [rng.randint(1, 3) for _ in stages]
    arguments: dict[str, Any] = {
        "img_size": 64,
        "embed_dims": [8 * count for count in heads],
        "num_heads": heads,
        "mlp_ratios": [rng.randint(1, 4) for _ in stages],
        "depths": [rng.randint(1, 3) for _ in stages],
        "sr_ratios": [rng.choice(options) for options in ((4, 8), (2, 4), (1, 2), (1,))],
        "num_classes": rng.randint(2, 20),
    }
    if local:
        # The authors' class leaves maps unpadded, so windows divide them.
        arguments["wss"] = [rng.choice(options) for options in ((2, 4, 8), (2, 4, 8), (2, 4), (2,))]
    module = randomised(Twins(**arguments), seed)
    features: dict[str, Tensor] = {}
    for number, part in enumerate([*module.patch_embeds[1:], module.norm], start=1):

        def keep(_: nn.Module, inputs: Any, name: str = f"feature.stage{number}") -> None:
            features[name] = inputs[0]

        part.register_forward_pre_hook(keep)
    arguments |= {"qkv_bias": True, "class_name": "ALTGVT" if local else "CPVTV2"}
    x = torch.randn(1, 3, 64, 64 * rng.randint(1, 2))
    drawn = case(arguments, "(B, 3, H, W)", module, x, module(x))
    drawn.tensors.update(features)
    return drawn


ORIGINALS: dict[str, Callable[[Random, int], Case]] = {
    made.__name__: made for made in (lsa_zeropad, gsa, peg, swin_attention, swin_block, outlook, net)
}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ORIGINALS)
@torch.no_grad()
def test_sizes_drawn_at_random(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    drawn = ORIGINALS[kind](Random(seed), seed)
    for name, found in RUNNERS[kind](drawn).items():
        expected = drawn.tensors[name]
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max())), name
