"""Redaction: finds what it names, leaves numbers of other kinds alone, and is done when it is done."""

from __future__ import annotations

import itertools
import pydoc_data.topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.data.redact import find_pii, is_iban, redact


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mail a.b+c@example.co.uk now", "mail [email] now"),
        ("<müller@beispiel.de>, 'x@y.org'.", "<[email]>, '[email]'."),
        ("+49 (0)30 1234567 or 030/123456-0", "[phone] or [phone]"),
        ("ring 0171-1234567, 01711234567", "ring [phone], [phone]"),
        ("+1-555-123-4567, (212) 555-0100, 212-555-0100", "[phone], [phone], [phone]"),
        ("Paris 01 23 45 67 89", "Paris [phone]"),
        ("Tel.: 4711 22 33, Fax 030 12345-67", "Tel.: [phone], Fax [phone]"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [iban] please"),
        ("GB82WEST12345698765432.", "[iban]."),
    ],
)
def test_personal_data_is_replaced(text: str, wanted: str) -> None:
    assert redact(text).text == wanted


@pytest.mark.parametrize(
    "text",
    [
        "Python 3.11.7, v1.2.3-4567890 and 2024.01.15",
        "2024-01-15, 15.01.2024, 01/15/2024, 10:20:30",
        "ISBN 978-3-16-148410-0 and ISBN 0-306-40615-2, ISBN-10 0306406152",
        "192.168.100.200 and 0x12345678 and 1e+10000000",
        "x[0123456789], id=0301234567, f(030, 1234567)",
        "DE89 3704 0044 0532 0130 01 has a wrong checksum",
        "a @ b, @decorator.name, user@localhost",
        "in 1,234,567,890 cases of 12 345 678 901",
    ],
)
def test_other_numbers_and_signs_stay(text: str) -> None:
    assert find_pii(text) == []


def test_python_reference_holds_no_personal_data() -> None:
    assert [pii for text in pydoc_data.topics.topics.values() for pii in find_pii(text)] == []


def test_kinds_are_chosen_and_counted() -> None:
    text = "a@b.de a@b.de +49 30 1234567"
    assert redact(text, ["email"]).counts == {"email": 2}
    assert redact(text, ["email"]).text.endswith("+49 30 1234567")
    assert [pii.kind for pii in find_pii(text)] == ["email", "email", "phone"]


@given(st.text(alphabet=st.sampled_from("ab@.de+0123456789 -/()[]DE\nTel:GB"), max_size=120))
def test_redaction_is_idempotent_and_spans_are_exact(text: str) -> None:
    found = find_pii(text)
    assert all(0 <= pii.start < pii.end <= len(text) for pii in found)
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    once = redact(text).text
    assert redact(once).text == once
    assert find_pii(once) == []


@pytest.mark.parametrize("unit", ["a", "1 ", "@", "a@", "11 ", "0", "DE12 ", "tel 1 ", "+49 ", "(030) "])
def test_hostile_repetition_takes_linear_work(unit: str) -> None:
    assert find_pii(unit * 20_000) is not None


@pytest.mark.parametrize("text", ["DE89370400440532013000", "NL91 ABNA 0417 1643 00", "AT61 1904 3002 3457 3201"])
def test_iban_checksum_accepts_known_numbers_and_no_neighbour(text: str) -> None:
    assert is_iban(text)
    last = str((int(text[-1]) + 1) % 10)
    assert not is_iban(text[:-1] + last)
