"""Config, errors and progress: what would break is a message that names the wrong line, key or remedy."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from genwerk.core.config import Config, Field, load_yaml
from genwerk.core.errors import ConfigError, GenwerkError, RequestError, WorkspaceError
from genwerk.core.progress import say, track
from genwerk.core.types import Document


class Inner(Config):
    chunk: int = Field(600, ge=100, description="characters")
    weight: float = 0.5


class Outer(Config):
    name: str
    retrieval: Inner = Inner()
    steps: tuple[Inner, ...] = ()


RECIPE = "name: x\nretrieval:\n  chunk: 300\nsteps:\n  - chunk: 200\n  - weight: 0.1\n"


@pytest.mark.parametrize(
    ("old", "new", "place", "what", "remedy"),
    [
        ("  chunk: 300", "  chunck: 300", "line 3", "`retrieval.chunck` is not a known key", "Did you mean `chunk`?"),
        ("  - weight: 0.1", "  - wait: 0.1", "line 6", "`steps.1.wait` is not a known key", "weight"),
        ("  chunk: 300", "  chunk: many", "line 3", "`retrieval.chunk`", "Correct"),
        ("  chunk: 300", "  chunk: 7", "line 3", "greater than or equal to 100, got 7", "Correct"),
        ("name: x", "nam: x", "line 1", "is not a known key", "Did you mean `name`?"),
    ],
)
def test_a_wrong_recipe_is_told_by_line_and_key(
    tmp_path: Path, old: str, new: str, place: str, what: str, remedy: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new))
    values, lines = load_yaml(path)
    if new == "nam: x":
        values["name"] = "x"
    with pytest.raises(ConfigError) as caught:
        Outer.parse(values, where=str(path), lines=lines)
    assert caught.value.where == f"{path} {place}"
    assert what in caught.value.what and remedy in caught.value.remedy


def test_a_recipe_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for text, word in (("a: [1\nb: 2", "not valid YAML"), ("- a\n- b", "mapping"), ("\x00", "YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=word) as caught:
            load_yaml(path)
        assert str(path) in caught.value.where and caught.value.remedy
    path.write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(path)
    with pytest.raises(ConfigError, match="no recipe"):
        load_yaml(tmp_path / "gone.yaml")


def test_canonical_json_is_the_same_for_the_same_values() -> None:
    a = Outer.parse({"retrieval": {"weight": 0.25, "chunk": 200}, "name": "ä"})
    b = Outer.parse({"name": "ä", "retrieval": {"chunk": 200, "weight": 0.25}})
    assert a.canonical() == b.canonical() and "ä" in a.canonical()
    assert Outer.model_validate_json(a.canonical()) == a
    with pytest.raises(Exception, match="frozen"):
        a.name = "y"  # type: ignore[misc]


def test_errors_say_what_where_and_what_to_do_and_travel_between_processes() -> None:
    error = WorkspaceError("the disk is full", where="/work", remedy="Free some space.")
    assert str(error) == "the disk is full (/work). Free some space."
    assert str(GenwerkError("no place")) == "no place."
    request = RequestError("too hot", remedy="Use 0 to 2.", param="temperature", status=422, code="bad_value")
    for original in (error, request):
        copy = pickle.loads(pickle.dumps(original))
        assert type(copy) is type(original) and str(copy) == str(original) and vars(copy) == vars(original)


def test_progress_off_a_terminal_is_quiet_and_lines_keep_their_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    with track("reading", total=3) as bar:
        bar.advance(3, note="loss 1.0")
    say("kept [bold] as it is", style="yellow")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "kept [bold] as it is\n"


def test_a_document_is_another_at_another_place_or_with_another_text() -> None:
    a, b, c = Document.create("x", "text"), Document.create("y", "text"), Document.create("x", "text!")
    assert len({a.id, b.id, c.id}) == 3 and a.sha256 == b.sha256 != c.sha256
    assert a == Document.create("x", "text") and len(a.id) == 16
