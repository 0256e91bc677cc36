"""The operators that a space may name.

Those of the project are found by their files here: ``<name>.py`` defines ``OPERATOR``, an ``OperatorSpec`` of
that name. Those of other packages are found by an entry point of the group ``nas.operators``, or imported by
the ``module:NAME`` that a space's YAML gives.
"""

from __future__ import annotations

from search_spaces.operators._base import (
    POSITIONS,
    AttentionTerms,
    Cost,
    FeatureMap,
    Knob,
    Knobs,
    KnobValue,
    OperatorSpec,
    heads_incompatibility,
    kernel_incompatibility,
    linear_params,
    round_up,
    side_incompatibility,
    windowed_tokens,
)
from search_spaces.operators._registry import (
    OPERATORS,
    import_operator,
    is_operator,
    operator,
    operator_names,
    operator_reference,
    state_with_operator,
    state_without_operator,
)

__all__ = [
    "OPERATORS",
    "POSITIONS",
    "AttentionTerms",
    "Cost",
    "FeatureMap",
    "Knob",
    "KnobValue",
    "Knobs",
    "OperatorSpec",
    "heads_incompatibility",
    "import_operator",
    "is_operator",
    "kernel_incompatibility",
    "linear_params",
    "operator",
    "operator_names",
    "operator_reference",
    "round_up",
    "side_incompatibility",
    "state_with_operator",
    "state_without_operator",
    "windowed_tokens",
]
