"""Records as JSON, one a line. A line ends with \\n and nowhere else: texts hold U+2028 and its like unescaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genwerk.core.atomic import write_text

__all__ = ["read_jsonl", "write_jsonl"]


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """A file that appears whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[Any]:
    """All records. Raises OSError, or ValueError for a line that is no JSON."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        return [json.loads(line) for line in stream]
