"""The folder of what can be fetched or made again: assets, compiled kernels, packed weights, hashes."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """$GENWERK_CACHE, else ~/.cache/genwerk."""
    named = os.environ.get("GENWERK_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "genwerk"
