"""Sequences: every token comes back, no sequence is on both sides, windows cover all, and bad input is said aloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genwerk.core.artifact import Artifact, Source
from genwerk.core.errors import ConfigError, DataError
from genwerk.core.workspace import Workspace
from genwerk.data.chorales import HOLD, RANGES, to_score
from genwerk.data.ledger import Ledger
from genwerk.data.sequence_sources import READERS
from genwerk.data.sequences import (
    END,
    PAD,
    SPECIAL,
    SequencesConfig,
    SequenceSet,
    _windows,
    load_sequences,
    prepare_sequences,
    words_of,
)  # fmt: skip
from genwerk.evaluation.scores import write_midi


def prepared(tmp_path: Path, config: SequencesConfig, **files: str) -> Artifact:
    folder = tmp_path / "lines"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    workspace = Workspace(tmp_path / "work")
    return workspace.step(prepare_sequences, config, Source.of_folder("lines", folder), kind="sequences")


def test_every_line_comes_back_on_one_side(tmp_path: Path) -> None:
    lines = [f"{word}-{number}" for word in ("über", "a b", "日本") for number in range(40)]
    made = prepared(tmp_path, SequencesConfig(holdout=0.3), some="\n".join([*lines, "", lines[0]]))
    sides = [load_sequences(made.path, side) for side in ("train", "heldout")]
    texts = [["".join(side.words(row)) for row in range(len(side))] for side in sides]
    assert sorted(texts[0] + texts[1]) == sorted(lines) and len(texts[1]) > 10
    assert sides[0].vocabulary[:3] == SPECIAL and list(sides[0].vocabulary[3:]) == sorted(sides[0].vocabulary[3:])
    for side in sides:
        ends = (np.asarray(side.tokens) == END).sum(1)
        assert (ends == 1).all() and side.tokens.shape[1] == max(map(len, lines)) + 1
    ledger = (made.path / "ledger.jsonl").read_text()
    assert "duplicate" in ledger and made.metrics["dropped"] == 1


def test_files_are_classes_and_only_those_asked_for_are_kept(tmp_path: Path) -> None:
    files = {name: "\n".join(f"{name}{n}" for n in range(30)) for name in ("up", "down", "odd")}
    made = prepared(tmp_path, SequencesConfig(classes=("up", "down"), holdout=0.2), **files)
    train = load_sequences(made.path, "train")
    assert train.classes == ("down", "up")
    for row in range(len(train)):
        assert "".join(train.words(row)).startswith(train.classes[train.labels[row]])


@given(st.integers(1, 80), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_every_token_and_only_the_last_one_ends(count: int, size: int, stride: int) -> None:
    stride = min(stride, size)
    row = np.arange(3, count + 3).astype(np.uint16)
    parts = list(_windows(row, size, stride))
    for number, part in enumerate(parts):
        start = number * stride
        inner = part[part != END]
        assert (inner == row[start : start + size]).all() and len(inner) > 0 and len(part) <= size
    assert all(END not in part for part in parts[:-1])
    assert len(parts[-1]) == size or parts[-1][-1] == END
    assert set(np.concatenate(parts).tolist()) >= set(row.tolist())


def test_no_row_is_longer_than_the_window_and_each_is_known_to_be_there(tmp_path: Path) -> None:
    lines = ["".join(row) for row in np.random.default_rng(0).choice(list("abcdef"), (60, 20))]
    made = prepared(tmp_path, SequencesConfig(window=10, holdout=0.3), some="\n".join(lines))
    for side in (load_sequences(made.path, "train"), load_sequences(made.path, "heldout")):
        assert side.tokens.shape[1] == 10
        assert all(side.words(row) in side for row in range(len(side)))


@pytest.mark.parametrize("stride", [0, 4, 8])
def test_windows_become_the_pieces_they_were_cut_from(stride: int, tmp_path: Path) -> None:
    """Though each is there in other keys too."""
    draw = np.random.default_rng(0)
    for number in range(12):
        chords = [[str(draw.integers(low + 4, high - 4)) for low, high in RANGES] for _ in range(9)]
        tokens = [token for chord in chords for token in (*chord, *(HOLD,) * 12)]
        write_midi(to_score(tokens), tmp_path / f"{number:02}.mid")
    workspace, source = Workspace(tmp_path / "work"), Source.of_folder("scores", tmp_path)
    config = SequencesConfig(layout="chorales", window=16, stride=stride, holdout=0.4)
    made = workspace.step(prepare_sequences, config, source, kind="sequences")
    found = [piece for side in ("train", "heldout") for piece in load_sequences(made.path, side).pieces()]
    assert sorted(found) == sorted(one.tokens for one in READERS["chorales"]((tmp_path,), Ledger()))
    train = load_sequences(made.path, "train")
    assert len(train) > 3 * sum(len(piece) for piece in train.pieces()) // 16


@pytest.mark.parametrize(("values", "what"), [
    ({"stride": 5}, "cannot be more than `window`, 0"), ({"window": 4, "stride": 5}, "cannot be more than `window`, 4"),
    ({"layout": "chorales", "window": 510}, "a multiple of 4"),
    ({"layout": "chorales", "window": 512, "stride": 2}, "a multiple of 4"),
])  # fmt: skip
def test_windows_lose_no_token_and_cut_no_chord(values: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        SequencesConfig.parse(values)


def test_files_are_classes_however_they_are_named(tmp_path: Path) -> None:
    for name in ("up", "down"):
        (tmp_path / f"{name}.txt").write_text("\ufeffabc\n", encoding="utf-8")
    paths = (tmp_path / "up.txt", tmp_path / "down.txt")
    found = {(one.source, one.label, one.tokens) for one in READERS["lines"](paths, Ledger())}
    assert found == {("up.txt:1", "up", ("a", "b", "c")), ("down.txt:1", "down", ("a", "b", "c"))}
    assert set(READERS["lines"]((tmp_path,), Ledger())) == set(READERS["lines"](paths, Ledger()))


def test_too_long_ones_are_left_out_by_name(tmp_path: Path) -> None:
    text = "\n".join(["abcde", "abcdef", "ab", "ba", "aab"])
    made = prepared(tmp_path, SequencesConfig(longest=6, holdout=0.4), some=text)
    assert made.metrics["dropped"] == 1 and "too long" in (made.path / "ledger.jsonl").read_text()


def test_those_beyond_most_are_counted_in_one_entry(tmp_path: Path) -> None:
    made = prepared(tmp_path, SequencesConfig(most=10, holdout=0.2), some="\n".join(f"{n:03}" for n in range(100)))
    ledger = (made.path / "ledger.jsonl").read_text().splitlines()
    assert made.metrics["train"] == 10 and len(ledger) == 1
    assert made.metrics["dropped"] == 90 - int(made.metrics["heldout"])
    assert f"{made.metrics['dropped']} sequences: 10 are enough" in ledger[0]


def test_there_must_be_something_on_both_sides(tmp_path: Path) -> None:
    for text in ("", "one", "one\none\n"):
        with pytest.raises(DataError, match="can be learned from"):
            prepared(tmp_path, SequencesConfig(), some=text)
    with pytest.raises(DataError, match="no layout"):
        prepared(tmp_path, SequencesConfig(layout="waves"), some="a\nb")


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    text = "\n".join(f"line {number}" for number in range(50))
    first, second = (prepared(tmp_path / name, SequencesConfig(), some=text) for name in ("one", "two"))
    for name in ("train.npy", "heldout.npy", "vocabulary.json", "train.sources"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_words_end_where_the_sequence_does() -> None:
    assert words_of([3, 4, END, PAD], ("<pad>", "<begin>", "<end>", "a", "b")) == ("a", "b")
    assert words_of([3, 3], ("<pad>", "<begin>", "<end>", "a")) == ("a", "a")


def test_a_set_knows_what_it_holds() -> None:
    rows = np.array([[3, 4, END], [4, END, PAD], [4, 4, 4]], np.uint8)
    one = SequenceSet(rows, np.full(3, -1), (*SPECIAL, "a", "bc"), (), "lines", np.zeros((3, 2), np.int64))
    assert ("a", "bc") in one and ("bc",) in one
    assert ("bc", "bc", "bc") in one  # a window fills its row, and does not end
    assert ("bc", "bc") not in one and () not in one and ("x",) not in one and ("bc",) * 4 not in one
