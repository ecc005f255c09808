"""`genwerk init`: a recipe in which every choice is visible, with its reason beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from genwerk.core.atomic import write_text
from genwerk.core.config import Config
from genwerk.core.errors import ConfigError
from genwerk.recipe import Recipe, TuneStep

_HEADER = """\
# {name}: from your documents to a served model. Run it with:   genwerk run {name}.yaml
# Every key is shown with its default and its reason; delete what you do not want to decide.
"""


def write_recipe(name: str, documents: Sequence[str], folder: Path, *, force: bool = False) -> Path:
    """Write NAME.yaml into `folder`. Raises ConfigError on a bad name, a missing folder or an existing recipe."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ConfigError(f"`{name}` cannot name a recipe", remedy="Use small letters, digits, `-` and `_`.")
    for item in documents:
        if not item.startswith("python:") and not Path(item).exists():
            raise ConfigError(f"there is no {item}", remedy="Give --docs a folder or file that exists.")
    path = folder / f"{name}.yaml"
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already", remedy="Choose another name, or overwrite it with --force.")
    recipe = Recipe(name=name, documents=tuple(documents), tune=(TuneStep.model_validate({"sft": {}}),))
    write_text(path, _HEADER.format(name=name) + "\n".join(_lines(recipe, 0)) + "\n")
    return path


def _lines(config: Config, depth: int) -> list[str]:
    indent, lines = "  " * depth, []
    for key, info in type(config).model_fields.items():
        value, why = getattr(config, key), f"  # {info.description}" if info.description else ""
        if isinstance(value, Config):
            lines += [f"{indent}{key}:{why}", *_lines(value, depth + 1)]
        elif isinstance(value, tuple) and value and isinstance(value[0], Config):
            lines.append(f"{indent}{key}:{why}")
            for item in value:
                first, *rest = _lines(item, depth + 2)
                lines += [f"{indent}  - {first.strip()}", *rest]
        elif value is None:
            lines.append(f"{indent}# {key}: none{why}")
        else:
            lines.append(f"{indent}{key}: {_scalar(value)}{why}")
    return lines


def _scalar(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    dumped = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return dumped.removesuffix("\n").removesuffix("...").strip()
