"""Each instruction set in turn, where this processor has it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from small_models import VARIANTS, usable

from genwerk.inference.native.library import load_library, usable_variants


@pytest.fixture(scope="session", autouse=True)
def _built() -> None:
    """All libraries, compiled side by side where they are not there yet."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(load_library, reversed(usable_variants())))  # the one that takes longest first


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """An instruction set this processor can run."""
    if not usable(str(request.param)):
        pytest.skip(f"this processor lacks {request.param}")
    return str(request.param)
