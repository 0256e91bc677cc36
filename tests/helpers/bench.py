"""A setup of benches that only shows that they run."""

from __future__ import annotations

import torch

from nas.bench.setup import Setup

QUICK = Setup(torch.device("cpu"), threads=1, rounds=1, quick=True)
