"""Normal form: reached in one go, mojibake mended, nothing of the author's lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.data.normalise import normalise

MESSY = st.text(
    alphabet=st.sampled_from("aé ß\t\n\r\x0b\x85\u2028\x00\x1b\ufeff\u00ad\u202e\u2066Ã¤Â€â™“”\ud800e\u0301한"),
    max_size=60,
)


@settings(deadline=None)
@given(MESSY | st.text(max_size=60))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text).text
    again = normalise(once)
    assert again.text == once
    assert again.changes == ()
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "wanted", "rule"),
    [
        ("Gr\u00c3\u00bc\u00c3\u009fe aus K\u00c3\u00b6ln", "Grüße aus Köln", "mojibake"),
        ("a\x00b\x1bc", "abc", "control characters"),
        ("x \ud800 y", "x \ufffd y", "lone surrogates"),
        ("\ufeffstart", "start", ""),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd", ""),
        ("e\u0301", "é", ""),
        ("\n\n  indented \t\n\n", "  indented", ""),
        ("“quotes” — ﬁne…", "“quotes” — ﬁne…", ""),
        ("x\u202egpj.exe\u202c \u2067y\u2069 \u200fא", "xgpj.exe y \u200fא", "direction overrides"),
        ("soft\u00adhyphen", "softhyphen", "control characters"),
    ],
)
def test_known_damage_is_mended_and_named(text: str, wanted: str, rule: str) -> None:
    normal = normalise(text)
    assert normal.text == wanted
    assert [name for name, _ in normal.changes] == ([rule] if rule else [])
