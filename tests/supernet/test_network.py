"""The plain network as timm's users know models: features, heads, maps of stages, new classifiers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.skeleton import Style
from supernet.network import Network
from supernet.subnet import build_subnet
from tests.helpers.modules import randomised

BLOCK = Block("lsa", (("window_size", 2),), "rpe")
PYRAMID = Architecture(
    (Stage(8, 2, (BLOCK,)), Stage(12, 2, (BLOCK,), "conv2x2"), Stage(16, 2, (BLOCK,), "merging")),
    image_size=(32, 32),
    num_classes=5,
    stem="conv7x7_s4",
)
REFINER = (Block("refiner", (("maps", "plain"),)),)
TOKEN = Architecture(
    (Stage(8, 2, REFINER),), (32, 32), num_classes=5, stem="refiner8x8", style=Style(head="token")
)
HEADS = {"mean": PYRAMID, "token": TOKEN, "dense_token": replace(TOKEN, style=Style(head="dense_token"))}
every_head = pytest.mark.parametrize("head", HEADS)
IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def network(head: str) -> Network:
    return randomised(build_subnet(HEADS[head])).eval()


@every_head
@torch.no_grad()
def test_features_and_head_are_the_network_in_two_parts(head: str) -> None:
    model = network(head)
    features = model.forward_features(IMAGES)
    assert features.shape == (2, model.num_features, *((2, 3) if head == "mean" else (1, 25)))
    assert torch.equal(model.forward_head(features), model(IMAGES))
    vectors = model.forward_head(features, pre_logits=True)
    assert vectors.shape == (2, model.num_features)
    # By hand: the mean of positions, or the first of them.
    by_hand = features.mean((2, 3)) if head == "mean" else features[:, :, 0, 0]
    torch.testing.assert_close(vectors, by_hand)


@torch.no_grad()
def test_the_dense_head_adds_the_largest_logits_of_positions() -> None:
    model = network("dense_token")
    sequence = model.forward_features(IMAGES)[:, :, 0].transpose(1, 2)
    head, auxiliary = model.get_classifier().children()
    by_hand = head(sequence[:, 0]) + auxiliary(sequence[:, 1:]).max(dim=1).values / 2
    torch.testing.assert_close(model(IMAGES), by_hand)


@every_head
@torch.no_grad()
def test_maps_of_stages_have_the_channels_and_strides_that_are_said(head: str) -> None:
    model = network(head)
    last, maps = model.forward_intermediates(IMAGES)
    assert torch.equal(last, model.forward_features(IMAGES))
    assert [entry["num_chs"] for entry in model.feature_info] == [x.shape[1] for x in maps]
    assert [(32 // entry["reduction"], 48 // entry["reduction"]) for entry in model.feature_info] == [
        tuple(x.shape[2:]) for x in maps
    ]
    modules = [model.get_submodule(entry["module"]) for entry in model.feature_info]
    assert modules == list(model.stages)
    for nchw, nhwc in zip(maps, model.forward_intermediates(IMAGES, output_fmt="NHWC")[1], strict=True):
        assert torch.equal(nchw, nhwc.permute(0, 3, 1, 2))


@torch.no_grad()
def test_maps_are_what_the_stages_return() -> None:
    model, seen = network("mean"), []
    for stage in model.stages:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output))
    maps = model.forward_intermediates(IMAGES, intermediates_only=True)
    assert all(torch.equal(x, y.permute(0, 3, 1, 2)) for x, y in zip(maps, seen, strict=True))
    token = network("token")
    token.stages[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    (x,) = token.forward_intermediates(IMAGES, intermediates_only=True)
    assert torch.equal(x.flatten(2), seen[-1][:, 0, 1:].transpose(1, 2))


@torch.no_grad()
def test_stages_are_chosen_by_index_or_number() -> None:
    model = network("mean")
    every = model.forward_intermediates(IMAGES, intermediates_only=True)
    for indices, expected in ((2, (1, 2)), ([0, -1], (0, 2)), ((1,), (1,)), (None, (0, 1, 2))):
        given = model.forward_intermediates(IMAGES, indices, intermediates_only=True)
        assert all(torch.equal(x, every[index]) for x, index in zip(given, expected, strict=True))
    normed = model.forward_intermediates(IMAGES, [1, 2], norm=True, intermediates_only=True)
    assert torch.equal(normed[0], every[1]) and torch.equal(normed[1], model.forward_features(IMAGES))
    for wrong in ([3], [-4], 4, 0, []):
        with pytest.raises(ValueError, match="there are 3 stages, from 0 to 2"):
            model.forward_intermediates(IMAGES, wrong)
    with pytest.raises(ValueError, match="output_fmt is NCHW or NHWC, not 'NLC'"):
        model.forward_intermediates(IMAGES, output_fmt="NLC")


@torch.no_grad()
def test_stages_after_the_last_one_asked_for_are_not_run_or_not_kept() -> None:
    model, runs = network("mean"), []
    model.stages[2].register_forward_hook(lambda *_: runs.append(1))
    first = model.forward_intermediates(IMAGES, [0, 1], stop_early=True, intermediates_only=True)
    assert not runs
    assert model.prune_intermediate_layers([0, -2], prune_norm=True) == [0, 1]
    assert len(model.stages) == 2 and not list(model.head.parameters()) and not list(model.norm.parameters())
    assert torch.equal(model.forward_intermediates(IMAGES, intermediates_only=True)[1], first[1])


@every_head
def test_a_new_classifier(head: str) -> None:
    model = network(head).double()
    images = IMAGES.double()
    model.reset_classifier(7)
    assert model.num_classes == 7 and model(images).shape == (2, 7)
    model(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.get_classifier().parameters())
    model.reset_classifier(0)
    vectors = model.forward_head(model.forward_features(images), pre_logits=True)
    assert torch.equal(model(images), vectors) and vectors.shape == (2, model.num_features)
    model.reset_classifier(0, "")
    assert torch.equal(model(images), model.forward_features(images))
    with pytest.raises(ValueError, match="a classifier reads vectors"):
        model.reset_classifier(3, "")
    with pytest.raises(ValueError, match=r"global_pool is .* or empty, not 'max'"):
        model.reset_classifier(3, "max")


def test_strides_of_every_kind_of_stem_and_downsampling() -> None:
    assert PYRAMID.strides() == ((4, 4), (8, 8), (16, 16))
    assert TOKEN.strides() == ((8, 8),)
    assert isinstance(network("mean").get_classifier(), nn.Linear)
