"""Words that an encoder was taught to find before a question and before a passage, such as `query: ` and `passage: `.

In Hugging Face directories they stand in config_sentence_transformers.json under `prompts`; most encoders have none.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from genwerk.models.arrays import read_json

__all__ = ["NO_PROMPTS", "Prompts", "read_prompts"]

_FILE = "config_sentence_transformers.json"
_PASSAGES = ("passage", "document", "corpus")  # as directories name it


class Prompts(NamedTuple):
    """What stands before a question, and before a passage."""

    query: str = ""
    passage: str = ""


NO_PROMPTS = Prompts()


def read_prompts(path: Path) -> Prompts:
    """Those of a Hugging Face directory. Raises ModelError for a damaged file."""
    given = read_json(path / _FILE).get("prompts") if (path / _FILE).is_file() else None
    found = given if isinstance(given, dict) else {}
    return Prompts(str(found.get("query") or ""), next((str(found[name]) for name in _PASSAGES if found.get(name)), ""))
