"""`genwerk generate` for text: a prompt and what any model says after it, as it comes."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from genwerk.core.types import Sampling
from genwerk.inference.engines import load_engine

__all__ = ["continue_text"]


def continue_text(path: Path, prompt: str, sampling: Sampling, receipt: Path | None, **loading: Any) -> None:
    """Write to standard output, and a receipt where one is wanted. loading: as `load_engine` takes it."""
    with closing(load_engine(path, **loading)) as loaded:
        deltas = []
        sys.stdout.write(prompt)
        for delta in loaded.stream_text(prompt, sampling):
            deltas.append(delta)
            sys.stdout.write(delta.text)
            sys.stdout.flush()
        sys.stdout.write("\n")
        if receipt is not None:
            from genwerk.serving.replay import write_receipt  # brings the server, which a text does without

            write_receipt(receipt, loaded, path, prompt, sampling, deltas)
