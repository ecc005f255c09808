"""Decoding: every encoding we may meet becomes the right text, and binary data is told from it."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.data.decoding import decode, looks_binary

TEXT = "Grüße aus Köln: 5 € für Bücher, naïve façade. " * 3


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-16"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-32"), "utf-32-le"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_text_comes_out_whatever_its_encoding(data: bytes, encoding: str) -> None:
    decoded = decode(data)
    assert (decoded.text, decoded.encoding) == (TEXT, encoding)
    assert bool(decoded.note) == (encoding != "utf-8")
    assert not looks_binary(data)


def test_single_broken_bytes_do_not_cost_the_rest() -> None:
    decoded = decode("Grüße und ".encode() + b"K\xf6ln" + b" caf\xe9")
    assert decoded.text == "Grüße und Köln café"
    assert decoded.note == "2 bytes that are not UTF-8 were read as cp1252"


@pytest.mark.parametrize(
    "data",
    [b"%PDF-1.4 text", b"PK\x03\x04abc", b"\x89PNG\r\n", b"abc\0\0\0def" * 50, bytes(range(32)) * 20, b"\0" * 99],
)
def test_binary_data_is_told_with_a_reason(data: bytes) -> None:
    assert looks_binary(data)


@given(st.binary(max_size=300))
def test_any_bytes_decode_to_text_without_surrogates(data: bytes) -> None:
    decoded = decode(data)
    assert not any(0xDC80 <= ord(character) <= 0xDCFF for character in decoded.text) or decoded.encoding != "utf-8"
    looks_binary(data)


@given(st.text(max_size=200))
def test_utf8_is_never_taken_for_anything_else(text: str) -> None:
    if "\0" not in text and not text.startswith("\ufeff"):
        assert decode(text.encode()).text == text
