"""Which layouts of sequences have a rule that drawing can keep to."""

from __future__ import annotations

from collections.abc import Sequence

from genwerk.generators.family import Rule
from genwerk.generators.smiles_rule import SmilesRule

__all__ = ["rule_for"]


def rule_for(layout: str, vocabulary: Sequence[str]) -> Rule | None:
    """None where the layout has none."""
    return SmilesRule(vocabulary) if layout == "molecules" else None
