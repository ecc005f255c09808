"""Token shards: what is written is read back, damage is told, windows are shifted by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.errors import DataError
from genwerk.core.types import Document
from genwerk.data.shards import TokenDataset, tokenize_documents, write_shards


@given(arrays=st.lists(st.lists(st.integers(0, 65535), max_size=20), max_size=8), wide=st.booleans())
def test_tokens_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, arrays: list[list[int]], wide: bool) -> None:
    path = tmp_path_factory.mktemp("shard") / "train.bin"
    count = write_shards(
        (np.asarray(array, dtype=np.int64) for array in arrays), path, np.uint32 if wide else np.uint16
    )
    assert count == sum(map(len, arrays))
    assert TokenDataset(path).tokens.tolist() == [token for array in arrays for token in array]


def test_documents_end_with_eos_and_bytes_are_counted(tmp_path: Path) -> None:
    documents = [Document.create("a", "ab"), Document.create("b", "ü")]
    counts = tokenize_documents(documents, lambda text: [ord(letter) for letter in text], 0, tmp_path / "x.bin")
    assert TokenDataset(tmp_path / "x.bin").tokens.tolist() == [97, 98, 0, 252, 0]
    assert (counts.documents, counts.tokens, counts.bytes) == (2, 5, 4)


def test_targets_are_inputs_one_token_later_and_draws_repeat(tmp_path: Path) -> None:
    write_shards([np.arange(100)], tmp_path / "x.bin")
    data = TokenDataset(tmp_path / "x.bin")
    x, y = data.sample_batch(4, 8, np.random.default_rng(3))
    again, _ = data.sample_batch(4, 8, np.random.default_rng(3))
    assert x.shape == y.shape == (4, 8) and x.dtype == np.int64
    assert (y == x + 1).all() and (x == again).all()
    first, last = data.sample_batch(500, 99, np.random.default_rng(0))
    assert (first[:, 0] == 0).all() and (last[:, -1] == 99).all()


def test_token_too_large_for_its_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="70000 does not fit uint16"):
        write_shards([np.asarray([1, 70000])], tmp_path / "x.bin")
    with pytest.raises(DataError, match="float32"):
        write_shards([np.asarray([1])], tmp_path / "x.bin", np.float32)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing", "short"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "train.bin"
    write_shards([np.arange(50)], path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "foreign":
        path.write_bytes(b"x" * 200)
    elif damage == "short":
        path.write_bytes(b"GW")
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"shard.*train\.bin"):
        TokenDataset(path)


def test_too_few_tokens_for_a_window_says_both_numbers(tmp_path: Path) -> None:
    write_shards([np.arange(5)], tmp_path / "x.bin")
    with pytest.raises(DataError, match="5 tokens are fewer than one window of 6"):
        TokenDataset(tmp_path / "x.bin").sample_batch(1, 5, np.random.default_rng(0))
