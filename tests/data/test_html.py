"""HTML: headings, tables and code survive; scripts and navigation do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.data.html import html_to_markdown

PAGE = """<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html><head><title> The  page </title>
<style>p {color: red}</style><script>alert("x")</script></head><body><nav>Home | Away</nav><!-- hidden -->
<main><h1>Care of <em>pumps</em></h1><p>Clean the <a href="x">filter</a> weekly.<br>Then dry it.</p>
<h2>Parts</h2><table><tr><th>Part</th><th>Price</th></tr><tr><td><p>Seal</p></td><td>4|5 €</td></tr></table>
<ul><li>one</li><li>two <b>bold</b></li></ul><pre>x = 1
  y</pre>tail text<script>var x = "no";</script> after</main><footer>Imprint</footer></body></html>"""


def test_main_text_with_structure() -> None:
    page = html_to_markdown(PAGE)
    assert page.title == "The page"
    assert page.text.split("\n\n") == [
        "# Care of pumps",
        "Clean the filter weekly.\nThen dry it.",
        "## Parts",
        "| Part | Price |\n| Seal | 4/5 € |",
        "- one\n- two bold",
        "```\nx = 1\n  y\n```",
        "tail text after",
    ]


def test_article_is_taken_only_where_it_is_most_of_the_page() -> None:
    long = "<p>" + "words " * 50 + "</p>"
    assert "Menu" not in html_to_markdown(f"<body>Menu<article>{long}</article></body>").text
    assert "Teaser" in html_to_markdown(f"<body>{long}<article>Teaser</article></body>").text


@pytest.mark.parametrize("source", ["", "   ", "<", "<html></html>", "<script>x</script>", "\0", "<!-- x -->"])
def test_pages_without_text_give_none(source: str) -> None:
    assert html_to_markdown(source).text.strip() in {"", "<"}


def test_deep_nesting_does_not_break_it() -> None:
    assert "inner" in html_to_markdown("<div>" * 5000 + "inner" + "</div>" * 5000).text


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/ab= \"'&;!-trdhp1"), max_size=80))
def test_any_text_is_read_without_an_error(source: str) -> None:
    html_to_markdown(source)
