"""A path of the supernet is its subnet, whatever the architecture: output, cost, source and statistics.

Architectures are drawn from a few spaces: the one that a first search runs on, one made of everything else (maps of
several sizes at one place, other norms, no biases, patch merging, dynamic kernels), and two where width, heads and
the size of the images are choices, with and without a class token.
"""

from __future__ import annotations

import copy
import io
import pickle
from functools import cache
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import SpaceError
from search_spaces.space import Space
from search_spaces.stage_maps import reachable_maps
from search_spaces.walk import walk_blocks
from supernet.block import Block
from supernet.functional_module import FunctionalModule
from supernet.resizing import resize_images
from supernet.source import model_source
from supernet.subnet import build_subnet, drop_path_rates
from supernet.supernet import ElasticBlock, Supernet
from tests.helpers.modules import counted_macs, executed, flat, indices, outside, randomised, uncounted_macs

VARIANTS = """
name: variants
blocks:
  mlp_ratio: [1, 1.5]
  operators:
    lsa: {window_size: [2, 3], pos: [none, ape, rpe, cpe, lepe]}
    gsa: {sr_ratio: [1, 2], pos: [none, ape, cpe]}
    cswin: {stripe_width: [1, 3], pos: [none, ape, rpe, cpe, lepe]}
    dwconv:
      {kernel_size: [3, 5], dynamic: [none, homogeneous, inhomogeneous], group_channels: [1, 4], pos: [none, cpe]}
    refiner: {expand_ratio: [1, 2], kernel_size: [1, 3], pos: [none, ape, rpe, cpe]}
scales:
  # Maps of 11x11, 6x6, 7x7 or 11x6, then of 6x6 to 3x3: a stripe of 6 or 3 covers some of them.
  odd:
    images: 11
    stem: [conv3x3_s1, conv3x3_s2, conv3x3_s2_p2, conv3x3_s1x2]
    style: {mixer_norm: none, mlp_norm: batch, qkv_bias: false, norm_eps: 0.001}
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 2], operators: {cswin: {stripe_width: [2, 6]}}}
      - {dim: 12, num_heads: 2, depth: [1, 3], downsample: [conv2x2, conv3x3, merging]}
"""
WIDTHS = """
name: widths
blocks:
  mlp_ratio: [1, 2]
  operators:
    lsa: {window_size: [2, 3], pos: [none, ape, rpe, cpe, lepe]}
    gsa: {sr_ratio: [1, 2], pos: [none, ape, cpe]}
    cswin: {stripe_width: [1, 3], pos: [none, ape, rpe, cpe, lepe]}
    dwconv: {kernel_size: [3, 5], dynamic: [none, homogeneous, inhomogeneous], group_channels: [2, 4], pos: [none, cpe]}
    refiner: {expand_ratio: [1, 2], kernel_size: [1, 3], pos: [none, rpe]}
    swin: {window_size: [2, 3], shift: [none, half], pos: rpe}
    outlook: {kernel_size: 3, stride: [1, 2], pos: none}
    linear: {kernel_size: [3, 5], pos: [none, ape]}
    pool: {pool_size: [3, 5], pos: none}
scales:
  widths:
    images: [16, 24]
    image_size: [12, 16]
    stem: [patch2x2, conv3x3_s2]
    stages:
      # The widest map has fewer heads than another, whose number does not divide it.
      - width: [{dim: 8, num_heads: 4}, {dim: 12, num_heads: 2}, {dim: 12, head_dim: 2}, {dim: 16, num_heads: 4}]
        depth: [1, 2]
        operators: {dwconv: {pos: [none, ape]}}
      - dim: [8, 24]
        head_dim: [2, 4]
        depth: [1, 2]
        downsample: [conv2x2, conv3x3, merging]
        operators: {swin: {window_size: 2}}
  tokens:
    images: [16, 24]
    image_size: [16, 24]
    stem: [patch4x4, refiner4x4]
    style: {mlp_scale: true, residual_scale: 0.5, stem_norm: false, head: dense_token}
    stages:
      - dim: [12, 18]
        num_heads: [3, 6]
        depth: [1, 3]
        operators:
          {lsa: null, cswin: null, dwconv: null, swin: null, outlook: null, gsa: null, linear: null,
           pool: null,
           refiner: {maps: [refined, plain, previous, plain_previous, shared], pos: none}}
"""
SPACES = {
    "nano": load_declaration("twins_cswin").space("nano", 28, 1, 10),
    "variants": parse_declaration(VARIANTS, "variants").space(num_classes=5),
    "widths": parse_declaration(WIDTHS, "widths").space("widths", num_classes=5),
    "tokens": parse_declaration(WIDTHS, "widths").space("tokens", num_classes=5),
}
NETWORKS = [
    *(("nano", "operator"), ("variants", "operator"), ("variants", "block")),
    *(("widths", "operator"), ("widths", "block"), ("tokens", "operator")),
]

every_network = pytest.mark.parametrize(("name", "sharing"), NETWORKS)
several = settings(max_examples=10, deadline=None)
few = settings(max_examples=4, deadline=None)


def architectures(space: Space) -> st.SearchStrategy[Architecture]:
    """Draw every choice of ``space``; a failure shrinks towards the first options."""
    options = {choice.name: st.sampled_from(choice.options) for choice in space.choices}
    return st.fixed_dictionaries(options).map(space.assemble)


@cache
def shared(name: str, sharing: str) -> Supernet:
    """Return a supernet that tests use together: nothing they assert hangs on the weights it holds."""
    return fresh(name, sharing)


def fresh(name: str, sharing: str = "operator", seed: int = 0) -> Supernet:
    return randomised(Supernet(SPACES[name], sharing), seed)


def images(space: Space, batch: int = 3, architecture: Architecture | None = None) -> Tensor:
    """Return random images of the space's largest size, or the same at the size of a design."""
    shape = (batch, space.in_channels, *space.image_size)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return drawn if architecture is None else resize_images(drawn, architecture.image_size)


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def assert_same_weights(supernet: Supernet, subnet: nn.Module, architecture: Architecture) -> None:
    own, path = subnet.state_dict(), supernet.weights(architecture)
    assert own.keys() == path.keys()
    for key, value in path.items():
        assert torch.equal(own[key], value), key


@every_network
@several
@given(data=st.data())
@torch.no_grad()
def test_a_path_equals_its_subnet(name: str, sharing: str, data: st.DataObject) -> None:
    architecture = data.draw(architectures(SPACES[name]))
    supernet, x = shared(name, sharing).eval(), images(SPACES[name])
    own = images(SPACES[name], architecture=architecture)
    assert_equal(supernet(x, architecture), supernet.extract(architecture)(own))


@every_network
@several
@given(data=st.data())
def test_training_a_path_equals_training_its_subnet(name: str, sharing: str, data: st.DataObject) -> None:
    architecture = data.draw(architectures(SPACES[name]))
    x = images(SPACES[name], architecture=architecture)
    supernet = shared(name, sharing).train()
    supernet.zero_grad()
    subnet = supernet.extract(architecture)
    assert subnet.training
    before, found = flat(supernet), indices(supernet, architecture)
    ours, theirs = supernet(x, architecture), subnet(x)
    assert_equal(ours, theirs)
    ours.logsumexp(1).sum().backward()
    theirs.logsumexp(1).sum().backward()
    # Statistics move as the subnet's do, and outside the slice neither they nor gradients change anything.
    assert_same_weights(supernet, subnet, architecture)
    gradients, beyond = flat(supernet, gradients=True), outside(supernet, found)
    assert torch.equal(flat(supernet)[beyond], before[beyond])
    assert (gradients[beyond] == 0).all()
    for key, parameter in subnet.named_parameters():
        assert parameter.grad is not None
        expected = parameter.grad.double()
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(gradients[found[key]], expected, rtol=1e-3, atol=1e-4 * scale)


@every_network
@several
@given(data=st.data())
def test_declared_costs_equal_the_counted_ones(name: str, sharing: str, data: st.DataObject) -> None:
    architecture = data.draw(architectures(SPACES[name]))
    subnet, declared = shared(name, sharing).eval().extract(architecture), costs(architecture)
    assert declared.params == sum(parameter.numel() for parameter in subnet.parameters())
    unseen = sum(uncounted_macs(part.block, part.feature_map) for part in walk_blocks(architecture))
    assert declared.macs == counted_macs(subnet, images(SPACES[name], 1, architecture)) + unseen


@every_network
@few
@given(data=st.data())
@torch.no_grad()
def test_the_exported_source_equals_the_path(name: str, sharing: str, data: st.DataObject) -> None:
    architecture = data.draw(architectures(SPACES[name]))
    supernet, x = shared(name, sharing).eval(), images(SPACES[name], architecture=architecture)
    exported = executed(model_source(architecture, (0.5,), (0.2,), "A network"))["create_model"]().eval()
    exported.load_state_dict(supernet.extract(architecture).state_dict())
    assert_equal(exported(x), supernet(x, architecture))


@every_network
@few
@given(data=st.data())
def test_inherit_and_extract_are_a_round_trip(name: str, sharing: str, data: st.DataObject) -> None:
    architecture = data.draw(architectures(SPACES[name]))
    supernet, subnet = fresh(name, sharing), randomised(build_subnet(architecture), seed=1)
    before, beyond = flat(supernet), outside(supernet, indices(supernet, architecture))
    supernet.inherit(subnet, architecture)
    assert_same_weights(supernet, supernet.extract(architecture), architecture)
    assert_same_weights(supernet, subnet, architecture)
    assert torch.equal(flat(supernet)[beyond], before[beyond])


@every_network
@pytest.mark.parametrize("extreme", ["smallest", "largest"])
@torch.no_grad()
def test_the_extreme_paths_run(name: str, sharing: str, extreme: str) -> None:
    supernet, architecture = shared(name, sharing).eval(), getattr(SPACES[name], extreme)
    logits = supernet(images(SPACES[name]), architecture)
    assert logits.shape == (3, SPACES[name].num_classes)
    assert logits.isfinite().all()
    own = images(SPACES[name], architecture=architecture)
    assert_equal(logits, supernet.extract(architecture)(own))


@every_network
def test_every_map_that_a_place_may_have_is_served(name: str, sharing: str) -> None:
    """One block of every kind, on the maps of every stem, size, downsampling and width."""
    space, supernet = SPACES[name], shared(name, sharing)
    for index, (stage, maps) in enumerate(zip(space.stages, reachable_maps(space), strict=True)):
        elastic, first = supernet.stages[index][0], next(iter(maps))
        for feature_map in maps:
            # Every block on some map, and one of every operator and encoding on each.
            shown = {(block.operator, block.pos): block for block in stage.blocks}
            for block in stage.blocks if feature_map is first else shown.values():
                if not block.needs_previous_attention:
                    rows = (
                        (1, feature_map.tokens)
                        if feature_map.class_token
                        else (feature_map.height, feature_map.width)
                    )
                    x = torch.randn(2, *rows, feature_map.dim)
                    assert elastic(x, block, feature_map).shape == x.shape


@every_network
def test_a_subnet_is_a_copy(name: str, sharing: str) -> None:
    supernet, architecture = fresh(name, sharing).eval(), SPACES[name].sample(Random(1))
    before, subnet = flat(supernet), supernet.extract(architecture)
    subnet.train()(images(SPACES[name], architecture=architecture)).sum().backward()
    randomised(subnet, seed=2)
    assert torch.equal(flat(supernet), before)
    assert all(parameter.grad is None for parameter in supernet.parameters())


@every_network
def test_copied_and_pickled_supernets_run_on_weights_of_their_own(name: str, sharing: str) -> None:
    space, supernet = SPACES[name], fresh(name, sharing)
    path, x = space.sample(Random(2)), images(space)
    supernet(x, path).sum().backward()
    saved = io.BytesIO()
    torch.save(supernet, saved)
    saved.seek(0)
    twins = [
        copy.deepcopy(supernet),
        pickle.loads(pickle.dumps(supernet)),
        torch.load(saved, weights_only=False),
    ]
    expected = supernet.eval()(x, path)
    for twin in twins:
        assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in supernet.parameters())
        assert torch.equal(twin.eval()(x, path), expected)
        randomised(twin, seed=3)
        assert not torch.equal(twin(x, path), expected)
    assert torch.equal(supernet(x, path), expected)


def test_supernets_and_paths_interleave() -> None:
    space, x = SPACES["variants"], images(SPACES["variants"])
    networks = [fresh("variants", seed=seed).eval() for seed in (0, 1)]
    paths = [space.sample(Random(seed)) for seed in range(4)]
    alone = {
        (n, path.digest): network.extract(path)(x) for n, network in enumerate(networks) for path in paths
    }
    for path in (*paths, *reversed(paths)):
        for n, network in enumerate(networks):
            assert_equal(network(x, path), alone[n, path.digest])


def test_gradients_of_several_paths_add_up() -> None:
    space, x, supernet = SPACES["variants"], images(SPACES["variants"]), fresh("variants").eval()
    paths, single = [space.sample(Random(seed)) for seed in range(3)], []
    for path in paths:
        supernet.zero_grad()
        supernet(x, path).sum().backward()
        single.append(flat(supernet, gradients=True))
    supernet.zero_grad()
    sum(supernet(x, path).sum() for path in paths).backward()
    torch.testing.assert_close(flat(supernet, gradients=True), sum(single), rtol=1e-4, atol=1e-3)


def test_sharing_block_ties_the_projections_of_a_place() -> None:
    for sharing, sets in (("operator", 4), ("block", 1)):
        place = shared("variants", sharing).stages[0][0]
        assert isinstance(place, ElasticBlock)
        attention = [mixer for operator, mixer in place.mixers.items() if operator != "dwconv"]
        assert len({id(mixer.projections) for mixer in attention}) == sets


def test_an_unknown_sharing_is_refused() -> None:
    with pytest.raises(SpaceError, match="sharing must be one of operator, block, not 'all'"):
        Supernet(SPACES["nano"], "all")


@pytest.mark.parametrize(
    ("name", "sharing"), NETWORKS[:-1]
)  # other blocks cannot be built with a class token
def test_an_architecture_outside_the_space_is_refused(name: str, sharing: str) -> None:
    supernet, space = shared(name, sharing), SPACES[name]
    inside = space.largest.to_json()

    def changed(**values: object) -> Architecture:
        return Architecture.from_json(copy.deepcopy(inside) | values)

    def with_block(**values: object) -> Architecture:
        stages = copy.deepcopy(inside["stages"])
        stages[0]["blocks"][0] = values  # type: ignore[index]
        return changed(stages=stages)

    foreign = [
        next(other for key, other in SPACES.items() if key != name).smallest,
        changed(num_classes=3),
        changed(in_channels=4),
        changed(image_size=[32, 32]),
        changed(stem="conv7x7_s4", image_size=[64, 64]),
        changed(style={"norm_eps": 0.5}),
        with_block(operator="lsa", window_size=5, pos="none", mlp_ratio=1.5),
        with_block(operator="gsa", sr_ratio=3, pos="none", mlp_ratio=1.5),
        with_block(operator="dwconv", kernel_size=3, dynamic="none", pos="none", mlp_ratio=9),
        changed(stages=inside["stages"][:1]),  # type: ignore[index]
    ]
    x = images(space)
    for architecture in foreign:
        for use in (
            lambda a: supernet(x, a),
            supernet.weights,
            supernet.extract,
            lambda a: supernet.inherit(build_subnet(a), a),
        ):
            with pytest.raises(SpaceError, match=f"architecture {architecture.digest} is not in space"):
                use(architecture)


def test_a_template_refuses_weights_that_are_not_its_own() -> None:
    with pytest.raises(KeyError, match="weights do not match Linear: bias, scale"):
        weights = {"weight": torch.zeros(1, 1), "scale": torch.ones(1)}
        FunctionalModule(nn.Linear(1, 1)).run(weights, False, torch.zeros(1, 1))


@every_network
@torch.no_grad()
def test_a_path_drops_its_blocks_as_its_subnet_does(name: str, sharing: str) -> None:
    """Rates rise linearly over the blocks of the path, whatever its depth, and nothing of a call is left behind."""
    network, x = fresh(name, sharing).train(), images(SPACES[name], 6)
    for seed in range(4):
        path = network.space.sample(Random(seed))
        own = images(SPACES[name], 6, path)
        subnet = network.extract(path)
        blocks = [module for module in subnet.modules() if isinstance(module, Block)]
        for number, block in enumerate(blocks):
            block.drop_path = 0.6 * number / max(1, len(blocks) - 1)
        torch.manual_seed(seed)
        dropped = network(x, path, 0.6)
        torch.manual_seed(seed)
        assert_equal(dropped, subnet(own))
        whole = network(x, path)
        assert_equal(whole, network.extract(path)(own))
        if len(blocks) > 1:  # the first block is never dropped
            assert not torch.allclose(dropped, whole, atol=1e-2)
    network.eval()
    assert torch.equal(network(x, path, 0.6), network(x, path))


def test_drop_path_rises_linearly() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]
