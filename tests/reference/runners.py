"""Our modules with the weights of reference cases: a function for every kind of case, by its name in ``RUNNERS``.

Each makes our module from the original's constructor arguments and returns our outputs by the names of the
original's.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any

from torch import Tensor, nn

from search_spaces.architecture import Block
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from supernet.network import TokenNetwork
from supernet.operators.cswin import CrossShapedWindowAttention
from supernet.operators.dwconv import DepthwiseConvolution, DynamicDepthwise, InhomogeneousDepthwise
from supernet.operators.gsa import GlobalSubsampledAttention
from supernet.operators.lsa import LocallyGroupedAttention
from supernet.operators.outlook import OutlookAttention
from supernet.operators.refiner import (
    AttentionRefinement,
    DenseRefinement,
    RefinedAttention,
    SharedRefinedAttention,
)
from supernet.operators.swin import ShiftedWindowAttention
from supernet.pos import AbsolutePosition, LocallyEnhancedPosition, PositionalEncodingGenerator
from supernet.stem import ConvDownsample, ConvStem, PatchMerging, RefinerStem
from supernet.subnet import backbone_blueprint, block_blueprint, build_subnet
from tests.reference import names, networks
from tests.reference.cases import Case

#: Our outputs, by the names of the original's.
Outputs = dict[str, Tensor]


def tokens(x: Tensor) -> Outputs:
    """Return a map ``(B, H, W, C)`` as the original's output ``(B, H * W, C)``."""
    return {"output": x.flatten(1, 2)}


def lsa(case: Case, mask_padding: bool = True) -> Outputs:
    a = case.arguments
    module = LocallyGroupedAttention(
        a["dim"], a.get("num_heads", 8), a["ws"], qkv_bias=case.qkv_bias, mask_padding=mask_padding
    )
    return tokens(case.load(module)(case.map()))


def lsa_zeropad(case: Case) -> Outputs:
    return lsa(case, mask_padding=False)


def gsa(case: Case) -> Outputs:
    a = case.arguments
    module = GlobalSubsampledAttention(
        a["dim"], a.get("num_heads", 8), a.get("sr_ratio", 1), qkv_bias=case.qkv_bias
    )
    return tokens(case.load(module)(case.map()))


def peg(case: Case) -> Outputs:
    module = PositionalEncodingGenerator(case.arguments["embed_dim"])
    return tokens(case.load(module, names.PEG)(case.map()))


def cswin_stem(case: Case) -> Outputs:
    module = ConvStem(case.input.shape[1], case.arguments["embed_dim"], 7, 4, 2)
    return tokens(case.load(module, names.CSWIN_STEM)(case.input))


def cswin_merge(case: Case) -> Outputs:
    module = ConvDownsample(case.arguments["dim"], case.arguments["dim_out"], 3, 1)
    return tokens(case.load(module)(case.map()))


def stripes(case: Case, qkv: Tensor) -> Outputs:
    """Run one direction of CSWin, all channels, on ``(3, B, H, W, C)``."""
    a = case.arguments
    H, W, dim = qkv.shape[2:]
    height, width = {0: (H, a["split_size"]), 1: (a["split_size"], W), -1: (H, W)}[a["idx"]]
    split = None if a["idx"] == -1 else a["split_size"]
    module = CrossShapedWindowAttention(dim, a["num_heads"], split, lepe=LocallyEnhancedPosition(dim))
    weights = names.translate(case.weights, names.CSWIN_LEPE)
    odd = module.load_state_dict(weights, strict=False)
    assert not odd.unexpected_keys
    assert {name.partition(".")[0] for name in odd.missing_keys} == {"qkv", "proj"}
    joint = qkv.permute(1, 2, 3, 0, 4)
    return tokens(module.eval().attend(joint, height, width, None))


def cswin_lepe(case: Case) -> Outputs:
    return stripes(case, case.input.unflatten(2, case.size(case.input.shape[2])))


def cswin_lepe_padded(case: Case) -> Outputs:
    return stripes(case, case.input.permute(1, 0, 3, 4, 2))


def dla(case: Case) -> Outputs:
    a = case.arguments
    heads, kernel = a["inp"], a.get("kernel_size", 3)
    if a.get("refine_mode") == "conv":
        return {"output": case.load(DenseRefinement(heads, kernel))(case.input)}
    module = AttentionRefinement(heads, a.get("expand_ratio", 3), kernel)
    return {"output": case.load(module, names.REFINEMENT)(case.input)}


def refined(case: Case) -> Outputs:
    a, refine = case.arguments, None
    heads, kernel = a.get("num_heads", 8), a.get("kernel_size", 3)
    if a.get("apply_transform", False):
        dense = a.get("refine_mode") == "conv"
        expand = a.get("head_expand", 3)
        refine = DenseRefinement(heads, kernel) if dense else AttentionRefinement(heads, expand, kernel)
    module = RefinedAttention(a["dim"], heads, refine, qkv_bias=case.qkv_bias)
    loaded = case.load(module, names.REFINED)
    output, attention = loaded.attend(case.input, case.tensors.get("attention_in"))
    return {"output": output, "attention": attention}


def refined_share(case: Case) -> Outputs:
    a = case.arguments
    heads = a.get("num_heads", 8)
    module = SharedRefinedAttention(a["dim"], heads, AttentionRefinement(heads, 3, 3), qkv_bias=case.qkv_bias)
    loaded = case.load(module, names.REFINED_SHARE)
    output, attention = loaded.attend(case.input, case.tensors["attention_in"])
    return {"output": output, "attention": attention}


def refiner_stem(case: Case) -> Outputs:
    module = RefinerStem(case.input.shape[1], case.arguments["embed_dim"], case.arguments["patch_size"])
    return {"output": case.load(module, names.REFINER_STEM)(case.input).permute(0, 3, 1, 2)}


def dwblock(case: Case, dynamic: str) -> Outputs:
    a = case.arguments
    dim, kernel = a["dim"], a["window_size"]
    depthwise: nn.Module = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
    if dynamic == "homogeneous":
        depthwise = DynamicDepthwise(dim, kernel)
    elif dynamic == "inhomogeneous":
        depthwise = InhomogeneousDepthwise(
            dim, kernel, a["heads"]
        )  # channels a group, whatever its name says
    module = DepthwiseConvolution(dim, depthwise)
    return {"output": case.load(module, names.DWBLOCK[dynamic])(case.input)}


def dynamic_dwconv(case: Case) -> Outputs:
    module = DynamicDepthwise(case.arguments["dim"], case.arguments["kernel_size"])
    return {"output": case.load(module, names.DYNAMIC_DEPTHWISE)(case.input)}


def inhomogeneous_dwconv(case: Case) -> Outputs:
    a = case.arguments
    module = InhomogeneousDepthwise(a["channels"], a["kernel_size"], a["group_channels"])
    return {"output": case.load(module, names.INHOMOGENEOUS_DEPTHWISE)(case.input)}


def dwnet_merge(case: Case) -> Outputs:
    dim, size = case.arguments["dim"], case.arguments["input_resolution"]
    return tokens(case.load(PatchMerging(dim, 2 * dim))(case.input.unflatten(1, tuple(size))))


def swin_attention(case: Case) -> Outputs:
    a = case.arguments
    bias, size = bool(a.get("qkv_bias", True)), isqrt(case.input.shape[1])
    module = ShiftedWindowAttention(a["dim"], a["num_heads"], size, qkv_bias=bias)
    return tokens(case.load(module, names.SWIN)(case.input.unflatten(1, (size, size))))


def outlook(case: Case) -> Outputs:
    a = case.arguments
    kernel, stride = a.get("kernel_size", 3), a.get("stride", 1)
    module = OutlookAttention(a["dim"], a["num_heads"], kernel, stride, qkv_bias=case.qkv_bias)
    return {"output": case.load(module, names.OUTLOOK)(case.input)}


def planned(
    case: Case,
    block: Block,
    feature_map: FeatureMap,
    style: Style,
    table: names.Names,
    shares_attention: bool = False,
) -> Any:
    """Return our block with the original's weights."""
    return case.load(block_blueprint(block, feature_map, style, shares_attention).build(), table)


def twins_block(case: Case) -> Outputs:
    a, size = case.arguments, case.size(case.input.shape[1])
    block = networks.twins_block(a.get("sr_ratio", 1), a["ws"], "none", a["mlp_ratio"])
    feature_map = FeatureMap(a["dim"], a["num_heads"], *size, qkv_bias=case.qkv_bias)
    style = Style(a.get("norm_eps", 1e-5), case.qkv_bias)
    return tokens(planned(case, block, feature_map, style, names.TWINS_BLOCK)(case.map()))


def cswin_block(case: Case, side: int) -> Outputs:
    """Run a block declared for maps of ``side`` positions a side."""
    a = case.arguments
    width = side if a.get("last_stage", False) else a["split_size"]
    block = Block("cswin", (("stripe_width", width),), "lepe", a.get("mlp_ratio", 4.0))
    bias = bool(a.get("qkv_bias", False))
    feature_map, style = FeatureMap(a["dim"], a["num_heads"], side, side, bias), Style(1e-5, bias)
    return tokens(planned(case, block, feature_map, style, names.CSWIN_BLOCK)(case.map()))


def cswin_block_padded(case: Case) -> Outputs:
    """Run the segmentation code's block, in which a stripe as wide as the map still is a stripe."""
    a = case.arguments
    a["qkv_bias"] = True  # whatever is asked
    return cswin_block(case, max(a["patches_resolution"], a["split_size"] + 1))


def dwnet_block(case: Case) -> Outputs:
    a, dynamic = case.arguments, dynamic_form(case)
    group = {"group_channels": a.get("heads", a.get("inhomo_heads"))} if dynamic == "inhomogeneous" else {}
    knobs = {"kernel_size": a["window_size"], "dynamic": dynamic, **group}
    block = Block("dwconv", tuple(knobs.items()), mlp_ratio=a.get("mlp_ratio", 4.0))
    height, width = a["input_resolution"]
    feature_map, style = (
        FeatureMap(a["dim"], 1, height, width),
        Style(1e-5, mixer_norm="none", mlp_norm="batch"),
    )
    module = planned(case, block, feature_map, style, names.DWNET_BLOCK[dynamic])
    return tokens(module(case.input.unflatten(1, (height, width))))


def dynamic_form(case: Case) -> str:
    """Return the form of DWNet's kernels: by its weights, as the published class may build another than asked."""
    made = [name.partition("attn2conv.conv.")[2] for name in case.weights]
    return (
        "inhomogeneous" if "conv1.0.weight" in made else "homogeneous" if "conv1.weight" in made else "none"
    )


def swin_block(case: Case) -> Outputs:
    a = case.arguments
    shift = "half" if a.get("shift_size", 0) else "none"
    window = min(a.get("window_size", 7), *case.input.shape[1:3])  # timm cuts it down to smaller maps
    knobs = (("window_size", window), ("shift", shift))
    feature_map = FeatureMap(a["dim"], a.get("num_heads", 4), *case.input.shape[1:3])
    bias = bool(a.get("qkv_bias", True))
    block = Block("swin", knobs, "rpe", a.get("mlp_ratio", 4.0))
    module = planned(case, block, feature_map, Style(1e-5, bias), names.SWIN_BLOCK)
    module.mixer.shift_size = a.get("shift_size", 0)  # timm takes any; the published networks half a window
    return {"output": module(case.input)}


def refiner_block(case: Case) -> Outputs:
    a, given = case.arguments, case.tensors.get("attention_in")
    shared = bool(a.get("share", False))
    block = networks.refiner_block(a, shared, a.get("apply_transform", False), first=given is None)
    feature_map = FeatureMap(a["dim"], a["num_heads"], 1, case.input.shape[1])
    style = networks.refiner_style(a)
    module = planned(case, block, feature_map, style, names.refiner_block(shared), shares_attention=True)
    output, maps = module(case.input.unsqueeze(1), given)
    return {"output": output.squeeze(1), "attention": maps}


def net(case: Case) -> Outputs:
    """Run a classifier; the original's class says which."""
    a, family = case.arguments, case.about["class_name"].split()[0]
    if family == "Refiner_ViT":
        return refiner_net(case)
    if family == "DWNet":
        form = dynamic_form(case)
        architecture, table = networks.dwnet(a, form), names.dwnet(a["depths"], form)
    elif family == "CSWinTransformer":
        architecture, table = networks.cswin(a), names.cswin(a["depth"])
    else:
        architecture, table = networks.twins(a), names.twins(a["depths"])
    network = build_subnet(architecture)
    if a.get("ape"):
        # Declared for larger images where the kernels ask for them; positions are those of the original's.
        side = a["img_size"] // a.get("patch_size", 4)
        network.stages[0].blocks[0].before = AbsolutePosition(side, side, a["embed_dim"])
    case.load(network, table)
    features = network.forward_intermediates(case.input, output_fmt="NHWC", intermediates_only=True)
    return {"output": network(case.input), **staged(case, features)}


def staged(case: Case, features: list[Tensor]) -> Outputs:
    """Return the maps ``(B, H, W, C)`` of the stages in the layouts of the original's."""
    found = {}
    for number, x in enumerate(features, start=1):
        name = f"feature.stage{number}"
        found[name] = x.permute(0, 3, 1, 2) if case.tensors[name].ndim == 4 else x.flatten(1, 2)
    return found


def refiner_net(case: Case) -> Outputs:
    a, found = case.arguments, {}
    shares, _ = networks.refiner_flags(a)
    network = case.load(
        build_subnet(networks.refiner(a)), names.refiner(shares, bool(a.get("use_cnn_embed", True)))
    )
    assert isinstance(network, TokenNetwork)
    for number, block in enumerate(network.stages[0].blocks, start=1):

        def keep(module: nn.Module, inputs: Any, output: Any, name: str = f"feature.block{number}") -> None:
            if isinstance(output, tuple):
                x, maps = output
            else:  # a lone block, which hands nothing on
                x, maps = (
                    output,
                    module.mixer.forward_with_attention(module.norm1(inputs[0] * module.residual_scale))[1],
                )
            found[name], found["attention"] = x.squeeze(1), maps

        block.register_forward_hook(keep)
    return {"output": network(case.input), **found}


def net_seg(case: Case) -> Outputs:
    """Run a backbone for dense prediction; CSWin's norms its outputs, Twins' leaves its classifier unused."""
    a = case.arguments
    if case.about["class_name"] == "CSWin":
        network = backbone_blueprint(networks.cswin_backbone(a), norms=True).build()
        case.load(network, names.cswin(a["depth"]))
    else:
        network = backbone_blueprint(networks.twins(a)).build()
        used = {k: v for k, v in case.tensors.items() if not k.startswith(("weights.norm.", "weights.head."))}
        Case(case.about, used).load(network, names.twins(a["depths"]))
    maps = network(case.input)
    return {"output": maps[-1], **{f"feature.stage{i}": x for i, x in enumerate(maps, start=1)}}


RUNNERS: dict[str, Callable[[Case], Outputs]] = {
    "lsa": lsa,
    "lsa_masked": lsa,
    "lsa_zeropad": lsa_zeropad,
    "gsa": gsa,
    "peg": peg,
    "cswin_stem": cswin_stem,
    "cswin_merge": cswin_merge,
    "cswin_lepe": cswin_lepe,
    "cswin_lepe_padded": cswin_lepe_padded,
    "dla": dla,
    "refined": refined,
    "refined_prev": refined,
    "refined_share": refined_share,
    "refiner_stem": refiner_stem,
    "dwblock_static": lambda case: dwblock(case, "none"),
    "dwblock_dynamic": lambda case: dwblock(case, "homogeneous"),
    "dwblock_inhomogeneous": lambda case: dwblock(case, "inhomogeneous"),
    "dynamic_dwconv": dynamic_dwconv,
    "inhomogeneous_dwconv": inhomogeneous_dwconv,
    "dwnet_merge": dwnet_merge,
    "swin_attention": swin_attention,
    "outlook": outlook,
    "twins_block": twins_block,
    "cswin_block": lambda case: cswin_block(case, case.arguments["reso"]),
    "cswin_block_padded": cswin_block_padded,
    "dwnet_block": dwnet_block,
    "swin_block": swin_block,
    "refiner_block": refiner_block,
    "net": net,
    "net_seg": net_seg,
}
