"""Lets the evaluation tests use the small whole chain that the serving tests are built on."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
