"""The loss curve of a run: one JSON object per finished step in `loss.jsonl`, the same bytes for the same run.

    {"step": 120, "loss": 3.1847, "lr": 0.00098, "grad_norm": 1.31, "clipped": true, "tokens": 245760,
     "val_bits_per_byte": 1.92}

`step` counts finished steps (0: before the first, only validation). `clipped` is there when the gradient was cut,
`val_*` where validation ran. There is no clock in it. While a run is alive the file lies in its scratch directory and
grows line by line; `resume` cuts it back to the last checkpoint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from genwerk.core.atomic import write_text

__all__ = ["LossCurve", "read_curve"]

Row = Mapping[str, float | int | bool]


class LossCurve:
    """Appends rows to `path`; give `after` = the step of the checkpoint that the run goes on from (0: anew)."""

    def __init__(self, path: Path, *, after: int | None = None) -> None:
        kept = [] if after is None or not path.exists() else [row for row in read_curve(path) if row["step"] <= after]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(_line(row) for row in kept))
        self.path = path
        self.rows: list[Row] = list(kept)
        self._file = path.open("a", encoding="utf-8")

    def add(self, row: Row) -> None:
        """Append one row; it is visible to readers at once."""
        self._file.write(_line(row))
        self._file.flush()
        self.rows.append(row)

    def sync(self) -> None:
        """Make the rows durable; called before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def finish(self, path: Path) -> None:
        """Close, and leave the whole curve at `path`."""
        self._file.close()
        write_text(path, "".join(_line(row) for row in self.rows))


def read_curve(path: Path) -> list[Row]:
    """All complete rows; a last line cut short by a kill is left out."""
    rows: list[Row] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"
