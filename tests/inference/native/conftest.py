"""Each instruction set in turn, where this processor has it."""

from __future__ import annotations

import pytest
from small_models import VARIANTS, usable


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """An instruction set this processor can run."""
    if not usable(str(request.param)):
        pytest.skip(f"this processor lacks {request.param}")
    return str(request.param)
