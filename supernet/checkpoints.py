"""Published checkpoints: the names and shapes of other code, translated to those of our subnets.

A ``Naming`` describes how one repository names the parameters of a network: a pattern by which it is recognised
and rules that rewrite its names. Twins' authors and timm use the same names; timm names Swin's downsamplings
after the stage that they begin, its authors after the one that they end. Of Refiner-ViT the published networks
are known, which have convolutions in their stem.
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
from supernet.network import Network
from supernet.subnet import build_on_meta, network_blueprint

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

#: What other code stores although it can be computed: the index of Swin's bias table and its masks.
_COMPUTED = re.compile(r"(^|\.)(relative_position_index|attn_mask)$")

#: Our name of the convolution that reads the image.
_FIRST_CONVOLUTION = re.compile(r"^stem\.(patches\.)?conv1?\.weight$")


@dataclass(frozen=True)
class Naming:
    """How one repository names the parameters of its networks.

    Args:
        title: For people.
        mark: A pattern that matches one of its names, and no name of the namings listed after it.
        rules: Patterns and their replacements, applied to every name one after the other.
    """

    title: str
    mark: str
    rules: tuple[Rule, ...]

    def rename(self, name: str) -> str:
        """Return our name of the parameter called ``name``."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name


def _shift_number(pattern: str, replacement: str, by: int) -> Rule:
    """Return a rule that puts its first group, a number, increased by ``by``, into the ``{}`` of the replacement."""
    return pattern, lambda match: replacement.format(int(match[1]) + by)


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
    _shift_number(r"^stage(\d+)\.", "stages.{}.blocks.", -1),
    (r"(\.blocks\.\d+)\.(qkv|proj)\.", r"\1.mixer.\2."),
    # One LePE for each direction; ours holds the filters of both.
    (r"(\.blocks\.\d+)\.attns\.[01]\.get_v\.", r"\1.mixer.lepe."),
)

# Swin's skeleton, which DWNet shares.
_LAYERS: tuple[Rule, ...] = (
    (r"^patch_embed\.proj\.", "stem.conv."),
    (r"^patch_embed\.norm\.", "stem.norm."),
    (r"^layers\.(\d+)\.blocks\.", r"stages.\1.blocks."),
)
_AFTER = _shift_number(r"^layers\.(\d+)\.downsample\.", "stages.{}.downsample.", 1)
_BEFORE = _shift_number(r"^layers\.(\d+)\.downsample\.", "stages.{}.downsample.", 0)

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
    # The layers that compute a dynamic kernel; the inhomogeneous form nests them.
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


def recognise_naming(names: Iterable[str]) -> Naming:
    """Return the first naming whose mark matches one of ``names``.

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


def translate_checkpoint(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by our names and in our shapes.

    Tensors that are renamed to the same name are concatenated in their order. Bias tables of square windows,
    ``((2 M - 1)^2, heads)``, become ``(2 M - 1, 2 M - 1, heads)``; a class token and positions, ``(1, N, C)``,
    become a map of one row. A projection that is called ``qkv`` but computes only values is ``v``.

    Raises:
        CheckpointError: If they are named as in no code that is known here.
    """
    naming, value_projections = recognise_naming(tensors), _value_projections(tensors)
    by_name: dict[str, list[Tensor]] = {}
    for name in sorted(tensors):
        if not _COMPUTED.search(name):
            ours = naming.rename(name)
            if name.rpartition(".")[0] in value_projections:
                ours = ours.replace(".qkv.", ".v.")
            by_name.setdefault(ours, []).append(_reshape(name, tensors[name]))
    state = {}
    for name, values in by_name.items():
        if len({value.shape[1:] for value in values}) > 1 or (len(values) > 1 and not values[0].ndim):
            raise CheckpointError(f"several of its parameters come to {name} but do not fit together")
        state[name] = torch.cat(values) if len(values) > 1 else values[0]
    return state


def _reshape(name: str, value: Tensor) -> Tensor:
    if name in ("cls_token", "pos_embed") and value.ndim == 3:
        return value.unsqueeze(1)
    if not name.endswith("relative_position_bias_table") or value.ndim != 2:
        return value
    span = isqrt(value.shape[0])
    return value.unflatten(0, (span, span)) if span**2 == value.shape[0] else value


def _value_projections(tensors: Mapping[str, Tensor]) -> set[str]:
    """Return the layers called ``qkv`` that have as many outputs as inputs: Refiner's sharing blocks."""
    weights = {name: value for name, value in tensors.items() if name.endswith(".qkv.weight")}
    return {
        name.removesuffix(".weight")
        for name, value in weights.items()
        if value.ndim == 2 and value.shape[0] == value.shape[1]
    }


def count_classes(state: Mapping[str, Tensor]) -> int:
    """Return the number of classes of a translated checkpoint's head.

    Raises:
        CheckpointError: If it has no head.
    """
    if "head.weight" not in state:
        raise CheckpointError("it has no classifier (head.weight), as backbones of other tasks do")
    return int(state["head.weight"].shape[0])


def count_channels(state: Mapping[str, Tensor], architecture: Architecture) -> int:
    """Return the channels of the images that a translated checkpoint's stem takes; the design's where it has none."""
    stems = (value for name, value in state.items() if _FIRST_CONVOLUTION.search(name) and value.ndim == 4)
    return next((int(value.shape[1]) for value in stems), architecture.in_channels)


def load_network(architecture: Architecture, state: Mapping[str, Tensor]) -> Network:
    """Return the network of ``architecture`` with the weights of a translated checkpoint.

    Raises:
        CheckpointError: If a parameter is missing, unexpected, of another shape or not finite; the sentence
            counts and names them.
    """
    network: Network = build_on_meta(network_blueprint(architecture))
    expected = network.state_dict()
    odd = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{name} is {_format_shape(state[name])}, not {_format_shape(expected[name])}"
            for name in expected
            if name in state and state[name].shape != expected[name].shape
        ],
        "not finite": [name for name in expected if name in state and not state[name].isfinite().all()],
    }
    found = [f"{len(names)} {what} ({_format_names(names)})" for what, names in odd.items() if names]
    if found:
        raise CheckpointError(f"its parameters do not match: {'; '.join(found)}")
    # Copies, so that tied or half-precision tensors of the file become ordinary parameters.
    copies = {name: state[name].detach().to(own.dtype).clone() for name, own in expected.items()}
    network.load_state_dict(copies, assign=True)
    return network.eval()


def _format_shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single value"


def _format_names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
