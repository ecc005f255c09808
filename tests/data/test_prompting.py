"""The prompt format: passages are numbered as citations count them, wrapped prose is joined, code is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.types import Message
from genwerk.data.prompting import INSTRUCTION, grounded_messages, join_lines, tidy_passage
from genwerk.data.prose import fold


def test_the_format_is_what_models_are_tuned_on() -> None:
    history = (Message("system", "x"), Message("user", "Hi"), Message("assistant", "Hello"))
    assert grounded_messages("Why\n so?", ["One.", "Two."], history) == (
        Message("system", INSTRUCTION),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "[1] One.\n[2] Two.\n\nQuestion: Why so?"),
    )
    assert grounded_messages("Why?", [])[-1].content == "Why?"


def test_wrapped_prose_is_joined_and_structure_kept() -> None:
    passage = """Title
=====

   A sentence that is wrapped by its author because it is longer
   than the page and goes on with a pre-
   compiled word.

   - item that is wrapped as well since it does not fit on one line
     and goes on
   - two

   >>> x = 1
   1
   | a  | b  |
   | cc | dd |
"""
    assert tidy_passage(passage).split("\n") == [
        "Title",
        "A sentence that is wrapped by its author because it is longer than the page and goes on with a pre-",
        "compiled word.",
        "- item that is wrapped as well since it does not fit on one line and goes on",
        "- two",
        ">>> x = 1",
        "1",
        "| a  | b  |",
        "| cc | dd |",
    ]
    assert join_lines("a pre-\n  compiled   word") == "a pre-compiled word"


@given(st.text(alphabet=st.sampled_from("ab. \n-|>=#1`\t"), max_size=200))
def test_tidying_loses_no_word(passage: str) -> None:
    assert fold(tidy_passage(passage)).replace(" ", "") == fold(passage).replace(" ", "")
