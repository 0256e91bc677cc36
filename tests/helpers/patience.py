"""How long tests wait for a command that trains or searches, on a machine that may be busy with much else."""

from __future__ import annotations

#: Seconds after which it is taken to hang; a guard, which says nothing of how long it should take.
PATIENCE = 1800.0
