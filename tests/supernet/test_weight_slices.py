"""Slices of shared weights, by hand."""

from __future__ import annotations

import torch
from torch import nn

from supernet.elastic import Projections
from supernet.skeleton_slices import downsample_slices, head_slices
from supernet.stem import ConvDownsample, PatchMerging
from supernet.subnet import NETWORKS
from supernet.weight_slices import (
    Select,
    centred,
    chain,
    find_part,
    first_entries,
    first_of_groups,
    full,
    materialize,
    narrow,
)


def numbered(module: nn.Module) -> nn.Module:
    """Return the module with each weight's index in place of its value."""
    for parameter in module.parameters():
        parameter.data = torch.arange(parameter.numel(), dtype=torch.float32).view(parameter.shape)
    return module


def test_a_head_keeps_its_channels_at_every_width() -> None:
    # Two groups of four channels each; a map of four channels uses the first two of each group.
    projections = Projections(8, True, head_groups=2)
    numbered(projections)
    joint = materialize(projections.joint(4))
    queries = [0, 1, 4, 5]
    rows = torch.tensor([*queries, *(8 + i for i in queries), *(16 + i for i in queries)])
    assert torch.equal(joint["qkv.bias"], rows.float())
    assert torch.equal(joint["qkv.weight"], 8.0 * rows[:, None] + torch.arange(4))
    assert torch.equal(joint["proj.weight"], 8.0 * torch.arange(4)[:, None] + torch.tensor(queries))
    assert torch.equal(joint["proj.bias"], torch.arange(4.0))
    separate = materialize(projections.separate(4))
    assert separate["q.bias"].tolist() == queries
    assert separate["kv.bias"].tolist() == [8, 9, 12, 13, 16, 17, 20, 21]
    assert materialize(projections.values(4))["v.bias"].tolist() == [16, 17, 20, 21]


def test_the_widest_map_has_all_weights_and_no_copies() -> None:
    projections = Projections(8, True, head_groups=2)
    for slices in (projections.joint(8), projections.values(8), projections.separate(8)):
        for name, weight in materialize(slices).items():
            own = projections.proj if name.startswith("proj") else projections.qkv
            storages = {value.untyped_storage().data_ptr() for value in own.parameters()}
            assert weight.untyped_storage().data_ptr() in storages, name


def test_all_of_a_weight_is_selected_at_no_step() -> None:
    projections, norm = Projections(8, True, head_groups=2), nn.BatchNorm2d(4)
    for slices in (projections.joint(8), first_entries(norm, 4), downsample_slices(PatchMerging(4, 6), 4, 6)):
        assert {name for name, each in slices.items() if each.select is not None} == set()
    assert all(each.select is not None for each in projections.joint(4).values())
    some = first_entries(norm, 2)
    assert {name for name, each in some.items() if each.select is None} == {"num_batches_tracked"}


def test_merging_keeps_the_channels_of_each_neighbour_apart() -> None:
    merging = PatchMerging(4, 6)
    numbered(merging)
    weights = materialize(downsample_slices(merging, 2, 3))
    columns = [0, 1, 4, 5, 8, 9, 12, 13]
    assert weights["norm.weight"].tolist() == columns
    assert weights["reduction.weight"].tolist() == [
        [16 * row + column for column in columns] for row in range(3)
    ]


def test_convolutions_and_classifiers_have_the_first_channels() -> None:
    module = ConvDownsample(4, 6, 2, 0)
    numbered(module)
    weights = materialize(downsample_slices(module, 2, 3))
    assert weights["conv.weight"][:, :, 0, 0].tolist() == [[0, 4], [16, 20], [32, 36]]
    assert weights["conv.bias"].tolist() == weights["norm.bias"].tolist() == [0, 1, 2]
    ends = NETWORKS["mean"](nn.Identity(), [nn.Identity()], [4], [2], 2)
    numbered(ends)
    head = materialize(head_slices(ends, 3))
    assert head["head.weight"].tolist() == [[0, 1, 2], [4, 5, 6]]
    assert head["head.bias"].tolist() == [0, 1] and head["norm.weight"].tolist() == [0, 1, 2]


def test_a_part_is_one_view_however_it_is_cut() -> None:
    weight = nn.Parameter(torch.arange(48.0).view(8, 6))
    cuts: dict[str, tuple[Select, bool]] = {
        "one dimension": (narrow(2, 3), True),
        "two dimensions": (chain(narrow(2, 3), narrow(4, 1, dim=1)), True),
        "the middle": (centred(4, 2), True),
        "groups": (first_of_groups(4, 2), False),
        "groups of a part": (chain(narrow(4, 1, dim=1), narrow(6, 2), first_of_groups(4, 2)), False),
        "all groups": (chain(narrow(4, dim=1), first_of_groups(8, 2)), True),
    }
    for name, (select, is_view) in cuts.items():
        part = find_part(select, weight.shape)
        assert part is not None, name
        assert torch.equal(part.of(weight), select(weight)), name
        shares_memory = part.of(weight).untyped_storage() is weight.untyped_storage()
        assert shares_memory == is_view == (part.shape is None), name
    assert find_part(lambda t: t.index_select(0, torch.tensor([0, 2, 3], device=t.device)), (8, 6)) is None


def test_a_part_is_found_wherever_the_weight_lies() -> None:
    layer = nn.Linear(6, 8)
    some = full(layer)["weight"].then(chain(narrow(4, 1, dim=1), first_of_groups(6, 2)))
    rows, pool = [0, 1, 2, 4, 5, 6], torch.randn(100)
    replaced = {
        "a memory of its own": nn.Parameter(torch.randn(8, 6)),
        "the middle of a memory": nn.Parameter(pool[7:55].view(8, 6)),
        "not contiguous": nn.Parameter(torch.randn(6, 8).t()),
    }
    for where, weight in replaced.items():
        layer.weight = weight
        probe = torch.randn(6, 4)
        assert torch.equal(some(), weight[rows, 1:5]), where
        (gradient,) = torch.autograd.grad(some(), weight, probe)
        expected = torch.zeros(8, 6)
        expected[rows, 1:5] = probe
        assert torch.equal(gradient, expected), where


def test_a_weight_cut_along_two_dimensions_is_one_node_of_the_graph() -> None:
    layer = nn.Linear(6, 8)
    weight = first_entries(layer, 4, 3)["weight"]()
    assert weight.grad_fn is not None
    (leaf, _), *others = weight.grad_fn.next_functions
    assert not others and leaf is not None and getattr(leaf, "variable", None) is layer.weight


def test_statistics_of_a_narrow_map_are_views() -> None:
    norm = nn.BatchNorm2d(4).train()
    weights = materialize(first_entries(norm, 2))
    weights["running_mean"].fill_(7)
    assert norm.running_mean is not None and norm.running_mean.tolist() == [7, 7, 0, 0]
    assert weights["num_batches_tracked"].ndim == 0
