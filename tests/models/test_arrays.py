"""Arrays in safetensors files: what is written is read back, by others too, and begins where vectors begin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from genwerk.models.arrays import LINE, map_arrays, write_arrays

_ARRAYS = {
    "odd": np.arange(7, dtype=np.uint8),
    "one": np.array(64),
    "none": np.zeros((0, 4), np.float32),
    "turned": np.arange(64, dtype=np.float32).reshape(8, 8).T,
    "halves": np.linspace(-1, 1, 96, dtype=np.float16),
    "bytes": np.arange(256, dtype=np.uint8).reshape(2, 128),
}


def test_arrays_come_back_and_are_what_safetensors_reads(tmp_path: Path) -> None:
    write_arrays(tmp_path / "some.safetensors", _ARRAYS)
    mapped, theirs = map_arrays(tmp_path / "some.safetensors"), load_file(tmp_path / "some.safetensors")
    assert mapped.keys() == theirs.keys() == _ARRAYS.keys()
    for name, array in _ARRAYS.items():
        np.testing.assert_array_equal(mapped[name], array)
        np.testing.assert_array_equal(theirs[name], array)
        assert mapped[name].dtype == theirs[name].dtype == array.dtype


@pytest.mark.parametrize("length", range(1, 9))
def test_arrays_of_whole_lines_begin_at_one(tmp_path: Path, length: int) -> None:
    write_arrays(tmp_path / "some.safetensors", _ARRAYS | {"n" * length: np.ones(LINE, np.uint8)})
    mapped = map_arrays(tmp_path / "some.safetensors")
    assert [name for name, array in mapped.items() if array.nbytes % LINE == 0 and array.ctypes.data % LINE] == []
