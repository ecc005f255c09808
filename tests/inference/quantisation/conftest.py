"""The small models of the kernels' tests, and text to calibrate on."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "native"))
