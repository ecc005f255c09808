"""Archives that cannot be read are told apart from members that are missing, whatever in them is wrong."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from genwerk.core.asset_spec import parse_spec
from genwerk.core.unpack import BrokenArchiveError, unpack_member

WHEEL, PACKAGE = parse_spec("pypi:tiny==1.0!inside.txt"), parse_spec("npm:tiny@1.0!inside.txt")
TEXT = bytes(range(256)) * 64


def _wheel(how: int = zipfile.ZIP_DEFLATED) -> bytearray:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", how) as wheel:
        wheel.writestr("inside.txt", TEXT)
    return bytearray(memory.getvalue())


def _marked(place: int, value: bytes) -> bytes:
    """A wheel with `value` at this place behind the version of its header and of its entry in the list."""
    data = _wheel()
    for begin in (data.index(b"PK\3\4") + 6, data.index(b"PK\1\2") + 8):
        data[begin + place : begin + place + len(value)] = value
    return bytes(data)


def _garbled(how: int) -> bytes:
    data = _wheel(how)
    begin = data.index(b"inside.txt") + len("inside.txt") + 12
    data[begin : begin + 40] = b"\xff" * 40
    return bytes(data)


def _package() -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as tar:
        entry = tarfile.TarInfo("package/inside.txt")
        entry.size = len(TEXT)
        tar.addfile(entry, io.BytesIO(TEXT))
    return gzip.compress(memory.getvalue())


SPOILT: dict[str, Callable[[], bytes]] = {
    "encrypted": lambda: _marked(0, b"\1\0"),
    "of strong encryption": lambda: _marked(0, b"\x41\0"),
    "of a compression that there is not": lambda: _marked(2, b"\x63\0"),
    "cut off": lambda: bytes(_wheel()[:-30]),
    "deflate, garbled": lambda: _garbled(zipfile.ZIP_DEFLATED),
    "lzma, garbled": lambda: _garbled(zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_wheel_that_cannot_be_read_is_spoilt(kind: str, tmp_path: Path) -> None:
    archive = tmp_path / "tiny.whl"
    archive.write_bytes(SPOILT[kind]())
    with pytest.raises(BrokenArchiveError, match="spoilt"):
        unpack_member(archive, WHEEL, tmp_path / "out.txt")


@pytest.mark.parametrize("change", ["cut off", "garbled"])
def test_a_package_that_cannot_be_read_is_spoilt(change: str, tmp_path: Path) -> None:
    archive, data = tmp_path / "tiny.tgz", bytearray(_package())
    data = data[:-200] if change == "cut off" else data[:40] + b"\xff" * (len(data) - 40)
    archive.write_bytes(data)
    with pytest.raises(BrokenArchiveError, match="spoilt"):
        unpack_member(archive, PACKAGE, tmp_path / "out.txt")


def test_whole_ones_are_read(tmp_path: Path) -> None:
    for name, data, spec in (("a.whl", bytes(_wheel()), WHEEL), ("b.tgz", _package(), PACKAGE)):
        (tmp_path / name).write_bytes(data)
        unpack_member(tmp_path / name, spec, tmp_path / "out.txt")
        assert (tmp_path / "out.txt").read_bytes() == TEXT
