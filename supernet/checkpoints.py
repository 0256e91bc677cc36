"""Published checkpoints: the names and shapes of other code, translated to those of our subnets.

A ``Naming`` is how one repository names the parameters of a network: a mark by which it is recognised and
rules that rewrite its names. Twins is named alike by its authors and by timm; timm names Swin's
downsamplings after the stage that they begin, its authors after the one that they end. Of Refiner-ViT the
published networks are known, which have convolutions in their stem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.errors import CheckpointError
from supernet.block import Network
from supernet.subnet import build_on_meta, network_blueprint

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

#: What other code stores but computes anew: the index of Swin's bias table and its masks.
_COMPUTED = re.compile(r"(^|\.)(relative_position_index|attn_mask)$")


@dataclass(frozen=True)
class Naming:
    """How one repository names the parameters of its networks.

    Args:
        title: For people.
        mark: Found in one of its names and in none of the namings listed after it.
        rules: Patterns and what replaces them, applied to every name one after the other.
    """

    title: str
    mark: str
    rules: tuple[Rule, ...]

    def rename(self, name: str) -> str:
        """Return our name of the parameter called ``name``."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name


def _later(pattern: str, build_on_meta: str, by: int) -> Rule:
    """Return a rule whose first group is a number, ``by`` more in the ``{}`` of the replacement."""
    return pattern, lambda match: build_on_meta.format(int(match[1]) + by)


_TWINS: tuple[Rule, ...] = (
    (r"^patch_embeds\.0\.proj\.", "stem.conv."),
    (r"^patch_embeds\.0\.norm\.", "stem.norm."),
    (r"^patch_embeds\.(\d+)\.proj\.", r"stages.\1.downsample.conv."),
    (r"^patch_embeds\.(\d+)\.norm\.", r"stages.\1.downsample.norm."),
    (r"^blocks\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"(\.blocks\.\d+)\.attn\.", r"\1.mixer."),
    (r"^pos_block\.(\d+)\.proj\.0\.", r"stages.\1.blocks.0.after.conv."),
)

_CSWIN: tuple[Rule, ...] = (
    (r"^stage1_conv_embed\.0\.", "stem.conv."),
    (r"^stage1_conv_embed\.2\.", "stem.norm."),
    (r"^merge(\d+)\.", r"stages.\1.downsample."),
    _later(r"^stage(\d+)\.", "stages.{}.blocks.", -1),
    (r"(\.blocks\.\d+)\.(qkv|proj)\.", r"\1.mixer.\2."),
    # One LePE for each direction; ours holds the filters of both.
    (r"(\.blocks\.\d+)\.attns\.[01]\.get_v\.", r"\1.mixer.lepe."),
)

# Swin's skeleton, which DWNet stands on as well.
_LAYERS: tuple[Rule, ...] = (
    (r"^patch_embed\.proj\.", "stem.conv."),
    (r"^patch_embed\.norm\.", "stem.norm."),
    (r"^layers\.(\d+)\.blocks\.", r"stages.\1.blocks."),
)
_AFTER = _later(r"^layers\.(\d+)\.downsample\.", "stages.{}.downsample.", 1)
_BEFORE = _later(r"^layers\.(\d+)\.downsample\.", "stages.{}.downsample.", 0)

_SWIN: tuple[Rule, ...] = (
    *_LAYERS,
    (r"(\.blocks\.\d+)\.attn\.", r"\1.mixer."),
    (r"\.relative_position_bias_table$", ".rpe.table"),
)

_DWNET: tuple[Rule, ...] = (
    *_LAYERS,
    _AFTER,
    (r"(\.blocks\.\d+)\.bn\.", r"\1.norm2."),
    (r"\.attn2conv\.conv0\.", ".mixer.pointwise_in."),
    (r"\.attn2conv\.bn0\.", ".mixer.norm_in."),
    (r"\.attn2conv\.bn\.", ".mixer.norm."),
    (r"\.attn2conv\.conv2\.", ".mixer.pointwise_out."),
    (r"\.attn2conv\.bn2\.", ".mixer.norm_out."),
    (r"\.attn2conv\.conv\.", ".mixer.depthwise."),
    # What computes a dynamic kernel; the inhomogeneous one nests its layers.
    (r"\.depthwise\.conv1(\.0)?\.(weight|bias)$", r".depthwise.reduce.\2"),
    (r"\.depthwise\.(bn|conv1\.1)\.", ".depthwise.norm."),
    (r"\.depthwise\.conv2(\.0)?\.", ".depthwise.generate."),
)

_REFINER: tuple[Rule, ...] = (
    (r"^patch_embed\.bn(\d)\.", r"stem.patches.norm\1."),
    (r"^patch_embed\.", "stem.patches."),
    (r"^cls_token$", "stem.token"),
    (r"^pos_embed$", "stem.table"),
    (r"^blocks\.", "stages.0.blocks."),
    (r"(\.blocks\.\d+)\.attn\.", r"\1.mixer."),
    (r"\.mlp\.scale_channel$", ".mlp.scale"),
    (r"\.adapt_bn\.", ".norm."),
    (r"\.DLA\.conv_exp\.", ".refine.expand."),
    (r"\.DLA\.bn1\.", ".refine.norm_expand."),
    (r"\.DLA\.depth_sep_conv\.", ".refine.depthwise."),
    (r"\.DLA\.bn2\.", ".refine.norm_depthwise."),
    (r"\.DLA\.conv_pro\.", ".refine.reduce."),
    (r"\.DLA\.bn3\.", ".refine.norm_reduce."),
)

NAMINGS = (
    Naming("ours", r"^stages\.0\.blocks\.0\.", ()),
    Naming("Twins (its authors' and timm's)", r"^patch_embeds\.0\.", _TWINS),
    Naming("CSWin (its authors')", r"^stage1_conv_embed\.", _CSWIN),
    Naming("DWNet (its authors')", r"^layers\.0\.blocks\.0\.attn2conv\.", _DWNET),
    Naming("Refiner-ViT (its authors')", r"^blocks\.0\.mlp\.scale_channel$", _REFINER),
    Naming("Swin (its authors')", r"^layers\.0\.downsample\.", (*_SWIN, _AFTER)),
    Naming("Swin (timm's)", r"^layers\.1\.downsample\.", (*_SWIN, (r"^head\.fc\.", "head."), _BEFORE)),
)


def naming_of(names: Iterable[str]) -> Naming:
    """Return the first naming whose mark one of ``names`` bears.

    Raises:
        CheckpointError: If there is none.
    """
    given = list(names)
    for naming in NAMINGS:
        if any(re.search(naming.mark, name) for name in given):
            return naming
    shown = ", ".join(f"'{name}'" for name in given[:3]) or "none at all"
    known = ", ".join(naming.title for naming in NAMINGS)
    raise CheckpointError(
        f"its parameters (first: {shown}) are named as in no code that is known here: {known}"
    )


def translated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by our names and in our shapes.

    Tensors that come to the same name are parts of one, first to last. Bias tables of square windows,
    ``((2 M - 1)^2, heads)``, become ``(2 M - 1, 2 M - 1, heads)``; a class token and positions, ``(1, N, C)``,
    become a map of one row. A projection that is called ``qkv`` but makes values alone is ``v``.

    Raises:
        CheckpointError: If they are named as in no code that is known here.
    """
    naming, values_alone = naming_of(tensors), _values_alone(tensors)
    parts: dict[str, list[Tensor]] = {}
    for name in sorted(tensors):
        if not _COMPUTED.search(name):
            ours = naming.rename(name)
            if name.rpartition(".")[0] in values_alone:
                ours = ours.replace(".qkv.", ".v.")
            parts.setdefault(ours, []).append(_shaped(name, tensors[name]))
    state = {}
    for name, values in parts.items():
        if len({value.shape[1:] for value in values}) > 1 or (len(values) > 1 and not values[0].ndim):
            raise CheckpointError(f"several of its parameters come to {name} but do not fit together")
        state[name] = torch.cat(values) if len(values) > 1 else values[0]
    return state


def _shaped(name: str, value: Tensor) -> Tensor:
    if name in ("cls_token", "pos_embed") and value.ndim == 3:
        return value.unsqueeze(1)
    if not name.endswith("relative_position_bias_table") or value.ndim != 2:
        return value
    span = isqrt(value.shape[0])
    return value.unflatten(0, (span, span)) if span**2 == value.shape[0] else value


def _values_alone(tensors: Mapping[str, Tensor]) -> set[str]:
    """Return the layers called ``qkv`` that have as many outputs as inputs: Refiner's sharing blocks."""
    weights = {name: value for name, value in tensors.items() if name.endswith(".qkv.weight")}
    return {
        name.removesuffix(".weight")
        for name, value in weights.items()
        if value.ndim == 2 and value.shape[0] == value.shape[1]
    }


def classes_of(state: Mapping[str, Tensor]) -> int:
    """Return how many classes the head of a translated checkpoint tells apart.

    Raises:
        CheckpointError: If it has no head.
    """
    if "head.weight" not in state:
        raise CheckpointError("it has no classifier (head.weight), as backbones of other tasks do")
    return int(state["head.weight"].shape[0])


def loaded(architecture: Architecture, state: Mapping[str, Tensor]) -> Network:
    """Return the network of ``architecture`` with the weights of a translated checkpoint.

    Raises:
        CheckpointError: If a parameter is missing, left over, of another shape or not finite; the sentence
            counts and names them.
    """
    network: Network = build_on_meta(network_blueprint(architecture))
    expected = network.state_dict()
    odd = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{name} is {_size(state[name])}, not {_size(expected[name])}"
            for name in expected
            if name in state and state[name].shape != expected[name].shape
        ],
        "not finite": [name for name in expected if name in state and not state[name].isfinite().all()],
    }
    found = [f"{len(names)} {what} ({_listed(names)})" for what, names in odd.items() if names]
    if found:
        raise CheckpointError(f"its parameters do not match: {'; '.join(found)}")
    # A copy of its own, so that tied or half-precision tensors of the file become ordinary parameters.
    copies = {name: state[name].detach().to(own.dtype).clone() for name, own in expected.items()}
    network.load_state_dict(copies, assign=True)
    return network.eval()


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single value"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
