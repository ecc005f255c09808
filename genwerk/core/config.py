"""Typed, frozen, strict configuration: unknown keys are refused with the nearest known name and its line.

    class SFTConfig(Config):
        rank: int = Field(16, ge=1, description="LoRA rank")

`load_yaml` keeps the line of every key, so an error reads `handbook.yaml line 7: retrieval.chunck is not known …`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from genwerk.core.errors import ConfigError

__all__ = ["Config", "Field", "Lines", "Names", "load_yaml"]

Lines = dict[tuple[str | int, ...], int]

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Several names, or one that is written without a list."""


class Config(BaseModel):
    """Base of every config: frozen, strict about names, JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str = "", lines: Lines | None = None) -> Self:
        """Validate `values`; raises ConfigError that names file, line, key and the nearest valid name."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _explain(cls, error, where, lines or {}) from None

    def canonical(self) -> str:
        """The same JSON for the same values, keys sorted; what artifact hashes are made of."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)


def load_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """Read a YAML mapping and the line (from 1) of each key path. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"no recipe at {path}", remedy="Check the path, or write one with `genwerk init NAME --docs FOLDER`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy="It must be a UTF-8 text file.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"not valid YAML: {problem}", where=f"{path}{line}", remedy="Mend that line.") from None
    if not isinstance(values, dict):
        raise ConfigError("a recipe must be a mapping of keys to values", where=str(path), remedy="Start with `name:`.")
    return values, dict(_walk(node, ()))


def _walk(node: Any, prefix: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _walk(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*prefix, index), value.start_mark.line + 1
            yield from _walk(value, (*prefix, index))


def _explain(model: type[BaseModel], error: ValidationError, where: str, lines: Lines) -> ConfigError:
    first = error.errors()[0]
    location = tuple(part for part in first["loc"])
    key = ".".join(str(part) for part in location)
    line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    place = f"{where} line {line}" if where and line else where
    if first["type"] == "extra_forbidden":
        known = _known_names(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"Did you mean `{near[0]}`?" if near else f"Known keys: {', '.join(known)}."
        return ConfigError(f"`{key}` is not a known key", where=place, remedy=hint)
    got = repr(first.get("input"))
    shown = got if len(got) <= 60 else got[:57] + "..."
    return ConfigError(f"`{key}`: {first['msg'].lower()}, got {shown}", where=place, remedy="Correct the value.")


def _known_names(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    current: Any = model
    for part in path:
        if isinstance(part, int) or not (isinstance(current, type) and issubclass(current, BaseModel)):
            continue
        info = current.model_fields.get(str(part))
        if info is None:
            continue  # a union member's tag, not a field
        current = next((kind for kind in _classes(info.annotation)), current)
    return sorted(current.model_fields)


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _classes(argument)
