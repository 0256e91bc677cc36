"""Lets the tests of this folder import the contract that operators inherit."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]
# The repository stands first: a folder of tests has the name of the package that it tests.
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

# Maps here are tiny: a second thread costs more than it computes.
torch.set_num_threads(1)
