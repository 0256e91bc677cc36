"""What all tests share: one thread each, since two of them run side by side."""

from __future__ import annotations

import pytest
import torch
from torch import nn

torch.set_num_threads(1)


@pytest.fixture
def nothing_compiled() -> None:
    """Forget what other tests compiled."""
    torch.compiler.reset()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture modules without a compiler: when they are captured does not depend on what they are turned into."""
    compiled = nn.Module.compile

    def capture(self: nn.Module, options: object = None, **how: bool) -> None:
        compiled(self, backend="eager", **how)  # options are the compiler's

    monkeypatch.setattr(nn.Module, "compile", capture)
