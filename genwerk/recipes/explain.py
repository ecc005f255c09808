"""Every choice of a recipe with its value and its reason, so that no default acts in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from genwerk.core.config import Config


@dataclass(frozen=True)
class Choice:
    """One key of a recipe: where it stands, its value, why, and whether the reader wrote it or it is the default."""

    path: tuple[str, ...]
    value: Any
    reason: str
    given: bool


def choices(config: Config, path: tuple[str, ...] = (), *, given: bool = True) -> Iterator[Choice]:
    """All leaves of a config in the order they are declared; nested configs and lists of configs are walked."""
    for name, info in type(config).model_fields.items():
        value, here = getattr(config, name), (*path, name)
        written = given and name in config.model_fields_set
        if isinstance(value, Config):
            yield from choices(value, here, given=written)
        elif isinstance(value, tuple) and value and isinstance(value[0], Config):
            for number, item in enumerate(value):
                yield from choices(item, (*here, str(number)), given=written)
        else:
            yield Choice(here, value, info.description or "", written)


def print_choices(config: Config, *, title: str = "", source: str = "the recipe") -> None:
    """A table on stderr: key, value, and either `from` its source or the reason of the default."""
    table = Table(
        title=title or f"recipe {getattr(config, 'name', '')}", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("key", "value", "why"):
        table.add_column(heading, overflow="fold")
    for choice in choices(config):
        reason = f"[dim]from {source}[/]" if choice.given else choice.reason
        table.add_row(".".join(choice.path), _shown(choice.value), reason, style="" if choice.given else "dim")
    Console(stderr=True).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)
