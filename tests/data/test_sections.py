"""Sections: they tile every text, and titles are found and clean in every format."""

from __future__ import annotations

import pydoc_data.topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.types import Document
from genwerk.data.sections import clean_title, headings_over, split_sections

FORMATS = ("markdown", "rst", "docstrings", "python", "plain")


def document(text: str, kind: str = "markdown", title: str = "Doc") -> Document:
    return Document.create("folder/file", text, metadata={"format": kind, "title": title})


def titles(text: str, kind: str = "markdown", title: str = "Doc") -> list[tuple[str, int]]:
    return [(section.title, section.level) for section in split_sections(document(text, kind, title))]


@given(
    st.lists(
        st.sampled_from(
            ["# A", "## B `c`", "Title", "=====", "-----", "***", "", "   indented", "a.b(c)", "class X", "def f():",
             "@dec", "```", "text here.", "# mod.x(a)", "é"]
        ),
        max_size=20,
    ).map("\n".join),
    st.sampled_from(FORMATS),
)  # fmt: skip
def test_sections_tile_the_text(text: str, kind: str) -> None:
    sections = split_sections(document(text, kind))
    assert "".join(text[section.start : section.end] for section in sections) == text
    assert all(section.start <= section.body <= section.end and section.title for section in sections)
    assert [s.start for s in sections] == [0, *[s.end for s in sections[:-1]]][: len(sections)]


def test_python_reference_tiles_with_clean_titles() -> None:
    for name, text in pydoc_data.topics.topics.items():
        sections = split_sections(document(text, "rst", name))
        assert "".join(text[section.start : section.end] for section in sections) == text
        assert all(not section.title.startswith(("*", "=", "-", "#")) for section in sections)


def test_markdown_headings_outside_fences() -> None:
    text = "Intro.\n\n# One **bold** [link](x)\n\ntext\n\n```\n# not a title\n```\n\nTwo\n---\n\n### Three ###\n"
    assert titles(text) == [("Doc", 0), ("One bold link", 1), ("Two", 2), ("Three", 3)]


def test_rst_levels_follow_first_use_and_definitions_end_at_column_zero() -> None:
    text = (
        "Top\n***\n\nIntro.\n\nSub\n===\n\na.f(x)\na.g(x)\n\n   Does it.\n\nBack in sub."
        "\n\n=====\nOver\n=====\n\nText.\n"
    )
    assert titles(text, "rst") == [("Top", 1), ("Sub", 2), ("a.f, a.g", 3), ("Sub", 2), ("Over", 3)]


def test_string_methods_become_sections() -> None:
    found = dict(titles(pydoc_data.topics.topics["string-methods"], "rst"))
    assert found["String Methods"] == 1
    assert {"str.center", "str.format_map", "str.zfill"} <= set(found)


def test_docstring_headings_only_count_for_their_module() -> None:
    text = (
        "# json\n\nAbout.\n\n# Not one\n\n## json.dumps(obj, *, indent=None)\n\nText.\n\n### json.X.y(self)\n\nText.\n"
    )
    assert titles(text, "docstrings", "json") == [("json", 1), ("json.dumps", 2), ("json.X.y", 3)]


def test_python_source_is_cut_at_its_definitions() -> None:
    text = '"""Doc."""\n\nimport x\n\n@a\n@b\ndef f():\n    pass\n\nclass C:\n    def g(self): pass\n'
    assert titles(text, "python") == [("Doc", 0), ("f", 1), ("C", 1)]
    assert text[split_sections(document(text, "python"))[1].start :].startswith("@a")


@pytest.mark.parametrize(
    ("title", "wanted"),
    [("`code` and **bold**", "code and bold"), ("[Name](http://x) ¶", "Name"), ("__init__ here", "__init__ here"),
     ("snake_case_name", "snake_case_name"), ("  Two   words: ", "Two words")],
)  # fmt: skip
def test_titles_lose_their_markup_but_no_name(title: str, wanted: str) -> None:
    assert clean_title(title) == wanted


def test_text_without_headings_is_one_section() -> None:
    assert titles("Just text.\n\nMore.", "plain") == [("Doc", 0)]
    assert split_sections(document("")) == []


def test_headings_over_a_passage_are_those_that_all_of_it_stands_under() -> None:
    text = "# Pumps\n\nAll.\n\n## Care\n\nWeekly.\n\n### Oil\n\nSpring.\n\n### Filter\n\nAutumn.\n\n# Valves\n\nNone.\n"
    made = document(text)

    def over(first: str, last: str) -> list[str]:
        return headings_over(made, text.index(first), text.index(last) + len(last))

    assert over("Spring.", "Spring.") == ["Pumps", "Care", "Oil"]
    assert over("Spring.", "Autumn.") == ["Pumps", "Care"]
    assert over("Spring.", "None.") == []
    assert over("# Pumps", "All.") == ["Pumps"]
    assert headings_over(document(text, title="Pumps"), text.index("Autumn."), text.index("Autumn.") + 7) == [
        "Care", "Filter",
    ]  # fmt: skip
    assert headings_over(document("No heading."), 0, 11) == headings_over(document(""), 0, 0) == []


@given(st.text("# \nab=-", max_size=60), st.sampled_from(FORMATS), st.integers(0, 60), st.integers(0, 60))
def test_every_span_of_every_text_has_its_headings(text: str, kind: str, start: int, length: int) -> None:
    start = min(start, len(text))
    found = headings_over(document(text, kind), start, min(start + length, len(text)))
    titles_there = [section.title for section in split_sections(document(text, kind))]
    assert set(found) <= set(titles_there)
