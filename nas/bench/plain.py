"""Every operator as its authors write it: what ours is measured against.

Each function takes our module for its weights and computes the same from a map ``(B, H, W, C)`` whose sides
its windows divide: maps are cut by permutes and copies, logits and their softmax are tensors of their own,
convolutions are channels-first. None of this is used anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.kernels import plain_attention
from supernet.operators.cswin import CrossShapedWindowAttention
from supernet.operators.dwconv import DepthwiseConvolution, DynamicDepthwise
from supernet.operators.gsa import GlobalSubsampledAttention
from supernet.operators.lsa import LocallyGroupedAttention
from supernet.operators.outlook import OutlookAttention
from supernet.operators.refiner import AttentionRefinement, RefinedAttention
from supernet.operators.swin import ShiftedWindowAttention


def lsa(m: LocallyGroupedAttention, x: Tensor) -> Tensor:
    """LSA (Twins' repository): windows first, then projections."""
    H, W, C = x.shape[1:]
    k = m.window_size
    windows = _cut(x, k, k)
    q, key, v = m.qkv(windows).reshape(-1, k * k, 3, m.num_heads, C // m.num_heads).permute(2, 0, 3, 1, 4)
    out = plain_attention(q, key, v).transpose(1, 2).reshape(-1, k * k, C)
    return _joined(m.proj(out), k, k, H, W)


def gsa(m: GlobalSubsampledAttention, x: Tensor) -> Tensor:
    """GSA (Twins' repository): a channels-first convolution makes the keys' map."""
    B, H, W, C = x.shape
    heads, d = m.num_heads, C // m.num_heads
    tokens = x.flatten(1, 2)
    q = m.q(tokens).reshape(B, H * W, heads, d).permute(0, 2, 1, 3)
    if m.sr is not None and m.norm is not None:
        small = m.sr(tokens.permute(0, 2, 1).reshape(B, C, H, W)).reshape(B, C, -1).permute(0, 2, 1)
        tokens = m.norm(small)
    k, v = m.kv(tokens).reshape(B, -1, 2, heads, d).permute(2, 0, 3, 1, 4)
    return m.proj(plain_attention(q, k, v).transpose(1, 2).reshape(B, H, W, C))


def cswin(m: CrossShapedWindowAttention, x: Tensor) -> Tensor:
    """CSWin (its authors' repository): one direction after the other, LePE added to what attention gives."""
    H, W, C = x.shape[1:]
    qkv = m.qkv(x).chunk(3, dim=-1)
    if m.stripe_width is None:
        return m.proj(_stripes(m, qkv, slice(0, C), H, W, m.num_heads))
    half, heads = C // 2, m.num_heads // 2
    columns = _stripes(m, qkv, slice(0, half), H, m.stripe_width, heads)
    rows = _stripes(m, qkv, slice(half, C), m.stripe_width, W, heads)
    return m.proj(torch.cat([columns, rows], dim=-1))


def cswin_by_stripe(m: CrossShapedWindowAttention, x: Tensor) -> Tensor:
    """CSWin by its definition: one stripe after the other, as the tests' naive reference has it."""
    H, W, C = x.shape[1:]
    qkv = m.qkv(x).chunk(3, dim=-1)
    width, half = m.stripe_width, C // 2
    if width is None:
        return m.proj(_stripes(m, qkv, slice(0, C), H, W, m.num_heads))
    columns = [
        _stripes(m, [t[:, :, s : s + width] for t in qkv], slice(0, half), H, width, m.num_heads // 2)
        for s in range(0, W, width)
    ]
    rows = [
        _stripes(m, [t[:, s : s + width] for t in qkv], slice(half, C), width, W, m.num_heads // 2)
        for s in range(0, H, width)
    ]
    return m.proj(torch.cat([torch.cat(columns, dim=2), torch.cat(rows, dim=1)], dim=-1))


def _stripes(
    m: CrossShapedWindowAttention,
    qkv: Sequence[Tensor],
    part: slice,
    height: int,
    width: int,
    heads: int,
) -> Tensor:
    """Attend inside stripes of ``height`` x ``width`` with some of the channels."""
    H, W = qkv[0].shape[1:3]
    cut = [_cut(t[..., part].contiguous(), height, width) for t in qkv]
    split = [t.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous() for t in cut]
    out = plain_attention(*split).transpose(1, 2).flatten(2)
    if m.lepe is not None and m.lepe.bias is not None:
        maps = cut[2].transpose(1, 2).contiguous().unflatten(2, (height, width))
        local = F.conv2d(maps, m.lepe.weight[part], m.lepe.bias[part], padding=1, groups=maps.shape[1])
        out = out + local.flatten(2).transpose(1, 2).contiguous()
    return _joined(out, height, width, H, W)


def swin(m: ShiftedWindowAttention, x: Tensor) -> Tensor:
    """Swin (its authors' repository); the mask of a shifted map is computed once and kept."""
    B, H, W, C = x.shape
    size = m.window_size
    shift = m.shift_size if H > size else 0  # one window covers the map
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    windows = _cut(x, size, size)
    split = m.qkv(windows).reshape(-1, size * size, 3, m.num_heads, C // m.num_heads).permute(2, 0, 3, 1, 4)
    q, k, v = split[0] * split.shape[-1] ** -0.5, split[1], split[2]
    logits = q @ k.transpose(-2, -1) + m.rpe(size, size).contiguous()
    if shift:
        mask = _mask(H, W, size, shift, x.device)
        logits = (logits.unflatten(0, (B, -1)) + mask).flatten(0, 1)
    out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(-1, size * size, C)
    x = _joined(m.proj(out), size, size, H, W)
    return torch.roll(x, (shift, shift), (1, 2)) if shift else x


@lru_cache(maxsize=8)
def _mask(H: int, W: int, size: int, shift: int, device: torch.device) -> Tensor:
    regions = torch.zeros(1, H, W, 1, device=device)
    spans = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in spans for c in spans):
        regions[:, rows, columns] = number
    windows = _cut(regions, size, size)
    apart = windows != windows.transpose(1, 2)
    return torch.where(apart, -100.0, 0.0).unsqueeze(1)


def dwconv(m: DepthwiseConvolution, x: Tensor) -> Tensor:
    """The Local-ViT paper's block on a channels-first copy of the map."""
    x = x.permute(0, 3, 1, 2).contiguous()
    x = F.relu(m.norm_in(m.pointwise_in(x)))
    x = F.relu(m.norm(_depthwise(m.depthwise, x)))
    return m.norm_out(m.pointwise_out(x)).permute(0, 2, 3, 1).contiguous()


def _depthwise(conv: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(conv, DynamicDepthwise):
        return conv(x)
    B, C, H, W = x.shape
    k = conv.kernel_size
    pooled = F.adaptive_avg_pool2d(x, 1)
    kernels = conv.generate(F.relu(conv.norm(conv.reduce(pooled)))).reshape(B * C, 1, k, k)
    out = F.conv2d(x.reshape(1, B * C, H, W), kernels, padding=k // 2, groups=B * C).view(B, C, H, W)
    return out + conv.bias.view(1, -1, 1, 1)


def refiner(m: RefinedAttention, x: Tensor) -> Tensor:
    """Refiner (its authors' repository): softmax, refinement and product one after the other."""
    B, H, W, C = x.shape
    heads, d = m.num_heads, C // m.num_heads
    q, k, v = m.qkv(x.flatten(1, 2)).reshape(B, H * W, 3, heads, d).permute(2, 0, 3, 1, 4)
    maps = ((q * d**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
    if m.refine is not None and m.norm is not None:
        maps = m.norm(_refined(m.refine, maps))
    return m.proj((maps @ v).transpose(1, 2).reshape(B, H, W, C))


def _refined(m: nn.Module, maps: Tensor) -> Tensor:
    if not isinstance(m, AttentionRefinement):
        return m(maps)
    x = maps
    if m.expand is not None and m.norm_expand is not None:
        x = F.relu6(m.norm_expand(m.expand(x)))
    return maps + m.norm_reduce(m.reduce(F.relu6(m.norm_depthwise(m.depthwise(x)))))


def outlook(m: OutlookAttention, x: Tensor) -> Tensor:
    """Outlook attention (VOLO's repository)."""
    B, H, W, C = x.shape
    heads, k, stride = m.num_heads, m.kernel_size, m.stride
    d, area = C // heads, k * k
    h, w = -(-H // stride), -(-W // stride)
    v = F.unfold(m.v(x).permute(0, 3, 1, 2), k, padding=k // 2, stride=stride)
    v = v.reshape(B, heads, d, area, h * w).permute(0, 1, 4, 3, 2)
    pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), stride, stride, ceil_mode=True).permute(0, 2, 3, 1)
    weights = m.attention(pooled).reshape(B, h * w, heads, area, area).permute(0, 2, 1, 3, 4)
    weights = (weights * d**-0.5).softmax(dim=-1)
    patches = (weights @ v).permute(0, 1, 4, 3, 2).reshape(B, C * area, h * w)
    return m.proj(F.fold(patches, (H, W), k, padding=k // 2, stride=stride).permute(0, 2, 3, 1))


def _cut(x: Tensor, height: int, width: int) -> Tensor:
    """Copy a map ``(B, H, W, C)`` into windows ``(B * windows, height * width, C)``."""
    B, H, W, C = x.shape
    x = x.reshape(B, H // height, height, W // width, width, C).permute(0, 1, 3, 2, 4, 5).contiguous()
    return x.view(-1, height * width, C)


def _joined(windows: Tensor, height: int, width: int, H: int, W: int) -> Tensor:
    """Copy windows back to a map ``(B, H, W, C)``."""
    x = windows.reshape(-1, H // height, W // width, height, width, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, H, W, windows.shape[-1])
