"""The contract of every operator: a test class inherits it and supplies representative settings and maps.

Blocks run both ways, elastic (the supernet's views of shared weights) and static (the subnet's own module).
The elastic block is declared for a larger map, wider MLPs and other operators beside the one under test,
so that every slice is a proper part of what it is cut from.
"""

from __future__ import annotations

import builtins
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.choices import OperatorChoices, StageChoices
from search_spaces.cost import block_cost
from search_spaces.operators import FeatureMap, KnobValue, operator
from search_spaces.skeleton import Style
from supernet.source import model_source
from supernet.subnet import block_blueprint, network_blueprint
from supernet.supernet import ElasticBlock, Supernet

M = TypeVar("M", bound=nn.Module)
OURS = ("nas", "supernet", "search_spaces")
BYSTANDERS = {
    "lsa": OperatorChoices("lsa", (("window_size", (2,)),), ("none", "rpe")),
    "gsa": OperatorChoices("gsa", (("sr_ratio", (2,)),), ("none", "ape")),
    "cswin": OperatorChoices("cswin", (("stripe_width", (2,)),), ("lepe",)),
    "dwconv": OperatorChoices("dwconv", (("kernel_size", (3,)), ("dynamic", ("none",))), ("cpe",)),
}


@dataclass(frozen=True)
class Case:
    """A block and the map it stands on."""

    block: Block
    feature_map: FeatureMap

    @property
    def style(self) -> Style:
        # An epsilon that no torch module has by default, so that one left out shows.
        return Style(norm_eps=1e-3, qkv_bias=self.feature_map.qkv_bias)

    def static(self) -> nn.Module:
        """Return the subnet's block."""
        module: nn.Module = block_blueprint(self.block, self.feature_map, self.style).build()
        return randomised(module)

    def images(
        self, batch: int, height: int = 0, width: int = 0, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return maps of the declared size, or of another."""
        shape = (
            batch,
            height or self.feature_map.height,
            width or self.feature_map.width,
            self.feature_map.dim,
        )
        return torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(dtype)

    def __str__(self) -> str:
        return f"{self.block}@{self.feature_map.height}x{self.feature_map.width}x{self.feature_map.dim}"


def randomised(module: M, seed: int = 0) -> M:
    """Return ``module`` with random parameters and buffers, tables, norms and statistics included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if name.endswith("num_batches_tracked"):
                value.fill_(3)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            else:
                value.normal_(std=0.3, generator=generator)
    return module


def numbered(module: M) -> M:
    """Return a copy whose parameters and buffers hold each value's place in ``flat``."""
    twin, start = copy.deepcopy(module), 0
    for value in tensors(twin):
        places = torch.arange(start, start + value.numel(), dtype=torch.float64)
        value.data = places.view(value.shape)
        start += value.numel()
    return twin


def flat(module: nn.Module, gradients: bool = False) -> Tensor:
    """Return all parameters and buffers, or their gradients (zero where there is none), end to end."""
    values = tensors(module)
    if gradients:
        values = [torch.zeros_like(value) if value.grad is None else value.grad for value in values]
    return torch.cat([value.detach().double().flatten() for value in values])


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def places(module: ElasticBlock | Supernet, *path: Any) -> dict[str, Tensor]:
    """Return where in ``flat`` every weight of a path is cut from."""
    return {name: value.detach().long() for name, value in numbered(module).weights(*path).items()}


def outside(module: nn.Module, found: dict[str, Tensor]) -> Tensor:
    """Return the mask of ``flat`` that is true for everything but ``found``."""
    mask = torch.ones(sum(value.numel() for value in tensors(module)), dtype=torch.bool)
    mask[torch.cat([index.flatten() for index in found.values()])] = False
    return mask


def executed(source: str) -> dict[str, Any]:
    """Execute an exported ``model.py`` in a namespace that cannot import anything of ours."""

    def guarded(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] in OURS:
            raise ImportError(f"the exported source imports {name}")
        return __import__(name, *args, **kwargs)

    namespace: dict[str, Any] = {
        "__name__": "exported_model",
        "__builtins__": {**vars(builtins), "__import__": guarded},
    }
    exec(compile(source, "model.py", "exec"), namespace)
    return namespace


def counted_macs(module: nn.Module, images: Tensor) -> float:
    """Return half the FLOPs that torch counts in one forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(images)
    return counter.get_total_flops() / 2


def uncounted_macs(block: Block, feature_map: FeatureMap) -> int:
    """Return the MACs of an inhomogeneous kernel's product, an element-wise one that torch does not count."""
    knobs = dict(block.knobs)
    if knobs.get("dynamic") != "inhomogeneous":
        return 0
    return feature_map.tokens * feature_map.dim * int(knobs["kernel_size"]) ** 2


class OperatorContract:
    """What an operator holds at every setting, positional encoding and map.

    A subclass gives its name, settings of its knobs and maps. Every setting is tried with every admitted
    encoding on the first map, on the others with those encodings that live inside the operator.
    """

    operator: ClassVar[str]
    settings: ClassVar[tuple[dict[str, KnobValue], ...]]
    feature_maps: ClassVar[tuple[FeatureMap, ...]] = (
        FeatureMap(16, 4, 6, 6),
        FeatureMap(24, 4, 5, 7, qkv_bias=False),
    )

    def whole(self, block: Block) -> tuple[int, int]:
        """Return a size of map, other than the declared one, that the operator divides without a rest."""
        return 5, 8

    @classmethod
    def cases(cls) -> Iterator[Case]:
        for feature_map, knobs, pos in product(cls.feature_maps, cls.settings, operator(cls.operator).pos):
            if feature_map != cls.feature_maps[0] and pos in ("ape", "cpe"):
                continue
            case = Case(Block(cls.operator, tuple(knobs.items()), pos, mlp_ratio=1.5), feature_map)
            assert case.block.incompatibility(feature_map) is None
            yield case

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", list(self.cases()), ids=str)

    def elastic(self, case: Case) -> ElasticBlock:
        """Return the elastic block that offers every setting, and other operators."""
        names = dict.fromkeys(name for knobs in self.settings for name in knobs)
        options = tuple(
            (name, tuple(dict.fromkeys(knobs[name] for knobs in self.settings if name in knobs)))
            for name in names
        )
        own = OperatorChoices(self.operator, options, operator(self.operator).pos)
        others = [choice for name, choice in BYSTANDERS.items() if name != self.operator]
        feature_map = replace(
            case.feature_map, height=case.feature_map.height + 1, width=case.feature_map.width + 2
        )
        choices = StageChoices(
            feature_map.dim, feature_map.num_heads, (1,), (*others[:1], own, *others[1:]), (1.5, 2.0)
        )
        return randomised(ElasticBlock(choices, feature_map, case.style, "operator"))

    def extracted(self, elastic: ElasticBlock, case: Case) -> nn.Module:
        """Return the static block with a copy of the elastic one's weights."""
        static = case.static().train(elastic.training)
        weights = elastic.weights(case.block, case.feature_map)
        static.load_state_dict({name: value.detach().clone() for name, value in weights.items()})
        return static

    @torch.no_grad()
    def test_shape_and_dtype_are_kept(self, case: Case) -> None:
        static = case.static().eval()
        for dtype in (torch.float32, torch.float64):
            x = case.images(2, dtype=dtype)
            y = static.to(dtype)(x)
            assert (y.shape, y.dtype) == (x.shape, dtype)
            assert y.isfinite().all()

    @torch.no_grad()
    def test_bfloat16_autocast_stays_near_float32(self, case: Case) -> None:
        elastic = self.elastic(case).eval()
        static, x = self.extracted(elastic, case), case.images(2)
        exact = static(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = static(x)
            assert torch.equal(elastic(x, case.block, case.feature_map), rounded)
        assert rounded.isfinite().all()
        assert (rounded - exact).norm() < 0.05 * exact.norm()

    def test_weights_have_the_names_and_shapes_of_the_static_module(self, case: Case) -> None:
        weights = self.elastic(case).weights(case.block, case.feature_map)
        built = case.static().state_dict()
        assert {name: value.shape for name, value in weights.items()} == {
            name: value.shape for name, value in built.items()
        }

    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    def test_elastic_slice_equals_static_module(self, case: Case, training: bool) -> None:
        elastic, x = self.elastic(case).train(training), case.images(3)
        static = self.extracted(elastic, case)
        torch.testing.assert_close(elastic(x, case.block, case.feature_map), static(x), rtol=0, atol=1e-5)
        # Statistics included, which training has moved.
        weights, own = elastic.weights(case.block, case.feature_map), static.state_dict()
        for name, value in weights.items():
            assert torch.equal(value, own[name]), name

    def test_gradients_reach_the_slice_and_nothing_else(self, case: Case) -> None:
        elastic, x = self.elastic(case).double().eval(), case.images(3, dtype=torch.float64)
        static, probe = self.extracted(elastic, case).double(), torch.randn_like(x)
        (elastic(x, case.block, case.feature_map) * probe).sum().backward()
        (static(x) * probe).sum().backward()
        gradients, found = flat(elastic, gradients=True), places(elastic, case.block, case.feature_map)
        for name, parameter in static.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
            torch.testing.assert_close(gradients[found[name]], parameter.grad)
        assert (gradients[outside(elastic, found)] == 0).all()
        for name, mixer in elastic.mixers.items():
            for parameter in mixer.parameters() if name != self.operator else ():
                assert parameter.grad is None

    def test_declared_cost_equals_the_counted_one(self, case: Case) -> None:
        cost, static = block_cost(case.block, case.feature_map, case.style), case.static().eval()
        assert cost.params == sum(parameter.numel() for parameter in static.parameters())
        counted = counted_macs(static, case.images(1)) + uncounted_macs(case.block, case.feature_map)
        assert cost.macs == counted

    @torch.no_grad()
    def test_each_image_is_independent_of_its_batch_mates(self, case: Case) -> None:
        static, x = case.static().eval(), case.images(3)
        for y, image in zip(static(x), x, strict=True):
            torch.testing.assert_close(y, static(image[None])[0], rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_any_height_and_width_runs(self, case: Case) -> None:
        elastic = self.elastic(case).eval()
        static = self.extracted(elastic, case)
        for size in ((5, 9), (13, 7), (2, 1)):
            x = case.images(2, *size)
            y = static(x)
            assert y.shape == x.shape
            assert y.isfinite().all()
            torch.testing.assert_close(elastic(x, case.block, case.feature_map), y, rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_a_map_that_divides_is_not_padded(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        static, x = case.static().eval(), case.images(2, *self.whole(case.block))
        y = static(x)

        def refuse(*args: Any, **kwargs: Any) -> Tensor:
            raise AssertionError("a map that divides was padded")

        monkeypatch.setattr(F, "pad", refuse)
        assert torch.equal(static(x), y)

    @torch.no_grad()
    def test_exported_source_gives_the_same_output(self, case: Case) -> None:
        feature_map = case.feature_map
        design = Architecture(
            (Stage(feature_map.dim, feature_map.num_heads, (case.block,)),),
            (feature_map.height, feature_map.width),
            num_classes=4,
            stem="conv3x3_s1",
            style=case.style,
        )
        network = randomised(network_blueprint(design).build()).eval()
        exported = executed(model_source(design, (0.5,) * 3, (0.2,) * 3, "One block"))[
            "create_model"
        ]().eval()
        exported.load_state_dict(network.state_dict())
        images = torch.randn(2, 3, feature_map.height, feature_map.width)
        torch.testing.assert_close(exported(images), network(images), rtol=0, atol=1e-5)
