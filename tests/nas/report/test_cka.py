"""CKA is the measure that the papers define."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nas.report.cka import centre_gram, compute_gram, compute_similarities
from supernet.block import Stage as StageModule
from supernet.network import Network
from supernet.subnet import build_subnet
from tests.helpers.designs import DEEP, noise


def song(k: Tensor, m: Tensor) -> Tensor:
    """HSIC_1 as Nguyen et al. print it (equation 3)."""
    n = len(k)
    k, m, one = k - k.diagonal().diag(), m - m.diagonal().diag(), torch.ones(n, dtype=k.dtype)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return ((k @ m).trace() + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def test_centring_gives_the_papers_estimator() -> None:
    x, y = noise(9, 5, seed=1).double(), noise(9, 3, seed=2).double() + 4
    k, m = x @ x.T, y @ y.T
    assert torch.allclose((centre_gram(k) * centre_gram(m)).sum() / (9 * 6), song(k, m))
    # The offset that `compute_gram` takes away does not matter.
    assert torch.allclose(centre_gram(compute_gram(y)), centre_gram(m), atol=1e-5)


class Fixed(nn.Module):
    """A block that answers with given features of the images of a batch, one batch after the other."""

    def __init__(self, *batches: Tensor) -> None:
        super().__init__()
        self.batches, self.number = batches, -1

    def forward(self, x: Tensor) -> Tensor:
        self.number += 1
        return self.batches[self.number]


def fixed(*features: Tensor, batches: int = 1) -> list[float | None]:
    """Return the similarities of a network whose blocks answer with ``features`` of all images."""
    blocks = [Fixed(*each.chunk(batches)) for each in features]
    network = Network(nn.Identity(), [StageModule(blocks)], (4,), (1,), 2)
    network.norm, network.head = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    return compute_similarities(network, features[0].chunk(batches))


def test_what_cka_does_not_see() -> None:
    x = noise(64, 2, 2, 4)
    turn = torch.linalg.qr(noise(16, 16, seed=3))[0]
    turned = (x.flatten(1) @ turn).view(64, 1, 1, 16)
    found = fixed(3 * x + 5, turned, x)
    assert found == pytest.approx([1, 1, 1], abs=1e-5)


def test_unrelated_features_are_not_alike_and_constant_ones_say_nothing() -> None:
    x, other, same = noise(64, 2, 2, 4), noise(64, 1, 1, 6, seed=4), torch.ones(64, 1, 1, 2)
    found = fixed(other, same, x)
    assert found[0] == pytest.approx(0, abs=0.1)
    assert found[1] is None
    assert found[2] == pytest.approx(1)


def test_batches_are_averaged_before_the_division() -> None:
    x, y = noise(32, 1, 1, 6), noise(32, 1, 1, 6, seed=6)
    y = x + y
    parts = [
        (a.flatten(1).double(), b.flatten(1).double()) for a, b in zip(x.chunk(4), y.chunk(4), strict=True)
    ]
    cross, own, last = (
        sum(song(p @ p.T, q @ q.T) for p, q in pairs)
        for pairs in (parts, [(a, a) for a, _ in parts], [(b, b) for _, b in parts])
    )
    assert fixed(x, y, batches=4)[0] == pytest.approx(float(cross / (own * last) ** 0.5), abs=1e-5)


def test_small_batches_do_not_make_features_alike() -> None:
    # The biased estimator would say 0.9 here: 8 images, 200 features.
    x, y = noise(256, 1, 1, 200), noise(256, 1, 1, 200, seed=7)
    assert fixed(x, y, batches=32)[0] == pytest.approx(0, abs=0.1)


def test_blocks_of_a_network_are_measured_and_left_without_hooks() -> None:
    network = build_subnet(DEEP)
    found = compute_similarities(network, [noise(8, 3, 16, 16), noise(8, 3, 16, 16, seed=8)])
    assert len(found) == 3
    assert found[-1] == pytest.approx(1)
    assert all(value is not None and -0.5 < value < 1.01 for value in found)
    assert not any(module._forward_hooks for module in network.modules())
