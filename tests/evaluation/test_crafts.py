"""What is measured of sequences that were drawn: odd samples are counted, and none stops the report."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genwerk.data.chorales import Note, Score, to_tokens
from genwerk.data.midi import read_midi
from genwerk.data.molecules import split_smiles
from genwerk.data.sequences import END, PAD, SPECIAL, SequenceSet
from genwerk.evaluation import molecules, music
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Scored
from genwerk.evaluation.sequences import Drawn, Sides, _foretold, _form
from genwerk.generators.autoregressive import log_likelihood
from genwerk.generators.sequence_examples import SequenceExamples
from genwerk.generators.storage import Stored, make_family


def sequences(rows: list[tuple[str, ...]], layout: str, starts: list[int] | None = None) -> SequenceSet:
    """With no end where a row has no room for it. starts: of windows of one piece; none: each is one."""
    vocabulary = (*SPECIAL, *sorted({token for row in rows for token in row}))
    tokens = np.full((len(rows), max(map(len, rows))), PAD, np.uint8)
    for place, row in enumerate(rows):
        tokens[place, : len(row) + 1] = [*(vocabulary.index(token) for token in row), END][: tokens.shape[1]]
    places = np.array([(0, start) for start in starts] if starts else [(row, 0) for row in range(len(rows))])
    return SequenceSet(tokens, np.full(len(rows), -1), vocabulary, (), layout, places)


def drawn(rows: list[tuple[str, ...]], label: str = "") -> Drawn:
    return Drawn(rows, np.ones(len(rows), np.bool_), 1.0, [label] * len(rows))


@pytest.fixture
def no_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    monkeypatch.setattr(molecules, "load_filters", list)


def measured(folder: Path, made: list[str], learned: list[str], real: list[str]) -> dict[str, Measure]:
    """By name, of what was written and read again."""
    sides = Sides(drawn([split_smiles(text) for text in made]), None, [split_smiles(text) for text in real],
                  sequences([split_smiles(text) for text in learned], "molecules"), 1.0)  # fmt: skip
    measures, _, _ = molecules.measure_craft(sides, SimpleNamespace(out=folder))  # type: ignore[arg-type]
    Scored({}, measures, "").write(folder)
    return {one.name: one for one in Scored.read(folder).measures}


@pytest.mark.usefixtures("no_filters")
def test_molecules_without_scaffolds_have_no_likeness_of_scaffolds(tmp_path: Path) -> None:
    found = measured(tmp_path, ["CCF", "CCO"], ["CCO", "CCN", "CCC"], ["CCS", "CCCC"])
    assert math.isnan(found["molecules.scaf"].value) and found["molecules.scaf"].floor is None
    assert found["molecules.novel"].value == 0.5


@pytest.mark.usefixtures("no_filters")
def test_what_rdkit_writes_in_other_signs_counts_too(tmp_path: Path) -> None:
    """A bond to platinum is read as a single one and written as one that a nitrogen gives."""
    found = measured(tmp_path, ["CCF", "CN(C)(C)[Pt]", "CCO"], ["CCO", "C[N](C)(C)->[Pt]"], ["CCS", "CCCC"])
    assert found["molecules.novel"].n == 3 and found["molecules.novel"].value == pytest.approx(1 / 3)


@pytest.mark.usefixtures("no_filters")
def test_what_no_file_of_smiles_can_say_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(molecules, "_canonical", lambda drawn: ["C", "C>C"])
    monkeypatch.setattr(molecules, "_likeness", lambda valid, sides: [])
    monkeypatch.setattr(molecules, "draw_molecules", lambda smiles, path: None)
    assert measured(tmp_path, ["C", "C"], ["C", "N"], ["CC"])["molecules.novel"].value == 0.5


def test_a_number_that_is_none_is_written_as_none() -> None:
    odd = Measure("molecules.scaf", 0.5, 2, "", low=-math.inf, high=math.inf, floor=math.nan)
    plain = json.loads(json.dumps(odd.to_json(), allow_nan=False))
    assert (plain["value"], plain["low"], plain["high"], plain["floor"]) == (0.5, None, None, None)


def piece(bars: int) -> tuple[str, ...]:
    """A chord on every quarter."""
    draw = np.random.default_rng(0)
    voices = tuple(tuple(Note(int(draw.integers(40, 70)), 4 * beat, 4) for beat in range(4 * bars)) for _ in range(4))
    return to_tokens(Score(voices, 16 * bars))


def test_a_copy_is_found_across_the_windows_it_was_learned_in(tmp_path: Path) -> None:
    """Two windows of four bars were learned; what was drawn is the second half of one and the first of the other."""
    whole = piece(8)
    learned = sequences([whole[:256], whole[256:]], "chorales", starts=[0, 256])
    sides = Sides(drawn([whole[128:384]], "3/4"), None, [piece(4)], learned, 1.0)
    measures, exhibits, _ = music.measure_craft(sides, SimpleNamespace(out=tmp_path))  # type: ignore[arg-type]
    found = {one.name: one for one in measures}
    assert found["music.copied_steps"].value >= 63  # of 64; how far the first one moved is not in it
    assert {one.file for one in exhibits} == {path.name for path in tmp_path.iterdir()}
    assert read_midi(tmp_path / "sample-1.mid").metres == ("3/4",)


def test_surprise_is_a_tokens_and_its_interval_counts_what_windows_were_cut_from() -> None:
    learned = sequences([("a", "b", "c"), ("c",)], "lines")
    held_out = sequences([("a",), ("b", "c", "a"), ("b", "a", "c")], "lines")
    windows = replace(held_out, places=np.array([(1, 0), (2, 0), (2, 3)]))
    examples = SequenceExamples(learned, windows)
    torch.manual_seed(0)
    family = make_family("autoregressive", {"width": 16, "depth": 1, "heads": 2}, examples.space)
    stored = Stored(family, "autoregressive", "nothing", (), Path())
    (found,) = _foretold(stored, examples, np.array([2, 0, 1]))
    with torch.no_grad():
        batch = examples.batch_of([0, 1, 2], torch.device("cpu"), held_out=True)
        logits = family.network(batch.x, family.network.told(None, 3))  # type: ignore[operator]
    total = -float(log_likelihood(logits, batch.x).sum())
    assert found.value == pytest.approx(total / 8) and found.n == 2  # 8 tokens, one of them an end


def test_what_is_new_is_held_against_what_is_new_of_real_ones() -> None:
    learned = sequences([("a", "b"), ("b", "a")], "lines")
    sides = Sides(drawn([("a", "b"), ("a", "a")]), None, [("b", "a"), ("b", "b")], learned, 1.0)
    assert {one.name: one.floor for one in _form(sides)}["sequences.novel"] == 0.5
