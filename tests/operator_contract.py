"""The contract of every operator: a test class inherits it and supplies what only the operator knows.

Blocks run both ways, elastic (the supernet's views of shared weights) and static (the subnet's own module).
The elastic block is declared for a larger map, wider MLPs and other operators beside the one under test,
so that every slice is a proper part of the shared weight. The operator's own module, without the block around it,
is compared with its plain formulation and with the naive reference of the test class.
"""

from __future__ import annotations

import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.choices import OperatorChoices, StageChoices
from search_spaces.cost import block_cost
from search_spaces.operators import FeatureMap, KnobValue, operator
from search_spaces.widths import CombinedWidths
from supernet.kernels import plain_attention
from supernet.operators import mixer
from supernet.source import model_source
from supernet.subnet import network_blueprint
from supernet.supernet import ElasticBlock
from tests.helpers.modules import (
    counted_macs,
    executed,
    flat,
    indices,
    macs_by_kernel,
    outside,
    randomised,
    uncounted_macs,
)
from tests.helpers.operator_cases import AROUND, BYSTANDERS, SIZES, Case, MixerCase, trace

#: Tests that take half a second a module: of each operator's modules the first three are fast, the others slow.
SLOW_BEYOND_A_FEW = ("test_export_round_trip_at_another_batch_size",)


class OperatorContract(ABC):
    """What an operator holds at every setting, positional encoding and map.

    A subclass gives its name, settings of its knobs, maps, and a naive reference. Every setting is tried with
    every admitted encoding on the first map, on the others with those encodings that live inside the operator.
    """

    operator: ClassVar[str]
    settings: ClassVar[tuple[dict[str, KnobValue], ...]]
    feature_maps: ClassVar[tuple[FeatureMap, ...]] = (
        FeatureMap(16, 4, 6, 6),
        FeatureMap(24, 4, 5, 7, qkv_bias=False),
    )
    #: Modules of the operator that no block of an architecture asks for.
    variants: ClassVar[tuple[MixerCase, ...]] = ()
    #: Whether it attends by ``supernet.kernels.attention``, which fused back ends may compute.
    uses_fused_attention: ClassVar[bool] = True

    @abstractmethod
    def naive(self, module: Any, x: Tensor) -> Tensor:
        """Return what ``module`` should give for a map of any size, written out in loops and explicit sums.

        Only its weights and plain projections may come from the module.
        """

    def dividing_size(self, block: Block) -> tuple[int, int]:
        """Return a size of map, other than the declared one, that the operator divides without a rest."""
        return 5, 8

    @classmethod
    def cases(cls) -> Iterator[Case]:
        for feature_map, knobs, pos in product(cls.feature_maps, cls.settings, operator(cls.operator).pos):
            if feature_map != cls.feature_maps[0] and pos in AROUND:
                continue
            case = Case(Block(cls.operator, tuple(knobs.items()), pos, mlp_ratio=1.5), feature_map)
            assert case.block.incompatibility(feature_map) is None
            yield case

    def mixer_cases(self) -> Iterator[MixerCase]:
        for case in self.cases():
            if case.block.pos not in AROUND:
                yield MixerCase(
                    str(case), case.mixer, self.dividing_size(case.block), dim=case.feature_map.dim
                )
        yield from self.variants

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", list(self.cases()), ids=str)
        if "mixer_case" in metafunc.fixturenames:
            cases: list[Any] = list(self.mixer_cases())
            if metafunc.function.__name__ in SLOW_BEYOND_A_FEW:
                late = (pytest.param(case, marks=pytest.mark.slow) for case in cases[3:])
                cases = [*cases[:3], *late]
            metafunc.parametrize("mixer_case", cases, ids=str)

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
            CombinedWidths((feature_map.dim,), (feature_map.num_heads,)),
            (1,),
            (*others[:1], own, *others[1:]),
            (1.5, 2.0),
        )
        return randomised(ElasticBlock(choices, feature_map, case.style, "operator"))

    def extracted(self, elastic: ElasticBlock, case: Case) -> nn.Module:
        """Return the static block with a copy of the elastic one's weights."""
        static = case.static().train(elastic.training)
        weights = elastic.weights(case.block, case.feature_map)
        static.load_state_dict({name: value.detach().clone() for name, value in weights.items()})
        return static

    # -- the block, elastic and static -----------------------------------------------------------------

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
        gradients, found = flat(elastic, gradients=True), indices(elastic, case.block, case.feature_map)
        for name, parameter in static.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
            torch.testing.assert_close(gradients[found[name]], parameter.grad)
        assert (gradients[outside(elastic, found)] == 0).all()
        for name, other in elastic.mixers.items():
            for parameter in other.parameters() if name != self.operator else ():
                assert parameter.grad is None

    def test_declared_cost_equals_the_counted_one(self, case: Case) -> None:
        cost, static = block_cost(case.block, case.feature_map, case.style), case.static().eval()
        assert cost.params == sum(parameter.numel() for parameter in static.parameters())
        counted = counted_macs(static, case.images(1)) + uncounted_macs(case.block, case.feature_map)
        assert cost.macs == counted

    def test_attention_terms_are_what_torch_counts_in_attention(self, case: Case) -> None:
        spec, knobs, pos = operator(self.operator), case.block.settings, case.block.pos
        terms = spec.attention_terms(knobs, pos, case.feature_map)
        # Projections and convolutions are neither batched products nor fused attention.
        counted = macs_by_kernel(case.static().eval(), case.images(1))
        products = sum(n for kernel, n in counted.items() if "bmm" in kernel or "attention" in kernel)
        assert terms.local + terms.globally == products
        assert 0 <= terms.convolutions <= spec.cost(knobs, pos, case.feature_map).macs - products

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
        static, x = case.static().eval(), case.images(2, *self.dividing_size(case.block))
        y = static(x)

        def refuse(*args: Any, **kwargs: Any) -> Tensor:
            raise AssertionError("a map that divides was padded")

        monkeypatch.setattr(F, "pad", refuse)
        assert torch.equal(static(x), y)

    @torch.no_grad()
    def test_a_trace_runs_at_any_batch_size(self, case: Case) -> None:
        static = case.static().eval()
        for size in ((0, 0), (5, 9)):
            x = case.images(5, *size)
            traced = trace(static, x[:2])
            for batch in (1, 5):
                torch.testing.assert_close(traced(x[:batch]), static(x[:batch]), rtol=0, atol=1e-5)

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
        namespace = executed(model_source(design, (0.5,) * 3, (0.2,) * 3, "One block"))
        exported = namespace["create_model"]().eval()
        exported.load_state_dict(network.state_dict())
        images = torch.randn(2, 3, feature_map.height, feature_map.width)
        torch.testing.assert_close(exported(images), network(images), rtol=0, atol=1e-5)
        assert "plain" not in namespace and "MIXER" not in namespace
        assert type(exported.stages[0].blocks[0].mixer).__module__ == namespace["__name__"]

    # -- the operator's module by itself ---------------------------------------------------------------

    @torch.no_grad()
    def test_naive_reference_equals_the_module(self, mixer_case: MixerCase) -> None:
        module = mixer_case.module()
        for size in ((6, 6), (5, 4), (2, 3)):
            x = mixer_case.images(2, *size)
            torch.testing.assert_close(module(x), self.naive(module, x))

    @pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
    @torch.no_grad()
    def test_plain_formulation_equals_the_module(self, mixer_case: MixerCase, training: bool) -> None:
        module = mixer_case.module().train(training)
        x = mixer_case.images(3, *mixer_case.size)
        torch.testing.assert_close(mixer(self.operator).plain(module, x), module(x))

    @pytest.mark.parametrize(("H", "W"), SIZES)
    @torch.no_grad()
    def test_any_size_keeps_shape_and_dtype(self, mixer_case: MixerCase, H: int, W: int) -> None:
        for dtype in (torch.float32, torch.float64):
            x = mixer_case.images(2, H, W, dtype=dtype)
            y = mixer_case.module(dtype)(x)
            assert (y.shape, y.dtype) == (x.shape, dtype)
            assert y.isfinite().all()

    @torch.no_grad()
    def test_the_module_treats_each_image_by_itself(self, mixer_case: MixerCase) -> None:
        module, x = mixer_case.module(), mixer_case.images(3, 7, 10)
        together = module(x)
        for index in range(len(x)):
            torch.testing.assert_close(together[index : index + 1], module(x[index : index + 1]))

    @torch.no_grad()
    def test_layout_in_memory_does_not_matter(self, mixer_case: MixerCase) -> None:
        module, x = mixer_case.module(), mixer_case.images(2, 7, 10)
        strided = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        assert not strided.is_contiguous()
        torch.testing.assert_close(module(strided), module(x))

    def test_gradients_reach_every_weight_and_the_input(self, mixer_case: MixerCase) -> None:
        module, x = mixer_case.module().train(), mixer_case.images(2, 8, 9).requires_grad_()
        (module(x) * torch.randn_like(x)).sum().backward()
        assert x.grad is not None and x.grad.abs().sum() > 0
        for key, weight in module.named_parameters():
            assert weight.grad is not None and weight.grad.isfinite().all(), key
            assert weight.grad.abs().sum() > 0, key

    @torch.no_grad()
    def test_fused_attention_equals_plain(
        self, mixer_case: MixerCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module, x = mixer_case.module(), mixer_case.images(2, 7, 10)
        source = importlib.import_module(type(module).__module__)
        assert self.uses_fused_attention == hasattr(source, "attention")
        if not self.uses_fused_attention:
            return
        fused, calls = module(x), []

        def counted(*args: Tensor | None) -> Tensor:
            calls.append(args)
            return plain_attention(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(source, "attention", counted)
        torch.testing.assert_close(module(x), fused)
        assert calls

    @torch.no_grad()
    def test_export_round_trip_at_another_batch_size(self, mixer_case: MixerCase) -> None:
        module, x = mixer_case.module(torch.float32), mixer_case.images(3, 7, 10, torch.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.export's own tracing
            program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("B", max=64)},))
        other = mixer_case.images(5, 7, 10, torch.float32)
        torch.testing.assert_close(program.module()(other), module(other))

    @torch.no_grad()
    def test_a_trace_of_the_module_runs_at_any_batch_size(self, mixer_case: MixerCase) -> None:
        module, x = mixer_case.module(), mixer_case.images(5, 7, 10)
        traced = trace(module, x[:2])
        for batch in (1, 5):
            torch.testing.assert_close(traced(x[:batch]), module(x[:batch]))
