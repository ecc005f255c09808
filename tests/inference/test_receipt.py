from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genwerk import __version__
from genwerk.core.hashing import sha256_file
from genwerk.core.types import Sampling
from genwerk.inference.model_files import files_sha256
from genwerk.inference.receipt import make_receipt, version_differences


def test_a_receipt_names_what_decides_the_tokens() -> None:
    receipt = make_receipt("m", "a", "t", Sampling(seed=5), "native float32 avx512")
    assert (receipt.model, receipt.adapter, receipt.template_sha256, receipt.sampling.seed) == ("m", "a", "t", 5)
    versions = {"genwerk": __version__, "runner": "native float32 avx512", "sampler": f"numpy {np.__version__} PCG64"}
    assert receipt.versions == versions
    assert version_differences(receipt, "native float32 avx512") == []


def test_other_versions_are_named_one_by_one() -> None:
    receipt = make_receipt("m", None, "t", Sampling(), "native float32 avx512")
    said = "runner: the receipt has native float32 avx512, this process has native int8 avx2"
    assert version_differences(receipt, "native int8 avx2") == [said]


def test_tokens_drawn_by_other_random_numbers_are_told_apart() -> None:
    receipt = make_receipt("m", None, "t", Sampling(temperature=1.0), "native float32 avx512")
    older = replace(receipt, versions={"genwerk": __version__, "runner": "native float32 avx512"})
    (said,) = version_differences(older, "native float32 avx512")
    assert said == f"sampler: the receipt has none, this process has {receipt.versions['sampler']}"
    assert "sampler" not in make_receipt("m", None, "t", Sampling(), "vllm 0.32 float32 cpu").versions


def test_the_hash_of_a_model_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genwerk.inference.model_files.cache_directory", lambda: tmp_path / "cache")
    read: list[Path] = []
    monkeypatch.setattr(
        "genwerk.inference.model_files.sha256_file", lambda file: read.append(file) or sha256_file(file)
    )
    model, other = tmp_path / "model", tmp_path / "other"
    for folder in (model, other):
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "README.md"):
            (folder / name).write_text(f"{name} and more")
    first = files_sha256(model)
    assert files_sha256(model) == first and len(read) == 2, "a file is read once"
    (other / "README.md").write_text("nothing that decides a token")
    assert files_sha256(other) == first
    (other / "model.safetensors").write_text("other weights, of another size")
    assert files_sha256(other) != first
    for kept in (tmp_path / "cache" / "hashes").iterdir():
        kept.write_text("damaged")
    assert files_sha256(model) == first
