"""What all tests share: one thread each, since two of them run side by side."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
