"""Where a recipe of a generator finds what it learns from: one collection by its name, or files and folders."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from genwerk.core.errors import ConfigError

__all__ = ["places_of"]


def places_of(names: Sequence[str], collections: Container[str], recipe: Path) -> tuple[str, ...]:
    """A collection as it is named; paths, which are relative to the recipe, from the root.

    Raises ConfigError for a collection among others.
    """
    if len(names) > 1 and (named := [one for one in names if one in collections]):
        what = f"the collection {named[0]} cannot be mixed with others"
        raise ConfigError(what, where=str(recipe), remedy="Name it alone, or files and folders.")
    return tuple(one if one in collections else str((recipe.parent / one).resolve()) for one in names)
