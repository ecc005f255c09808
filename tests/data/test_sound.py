"""Scores become bars of sound: pictures of what is played, with the bass for a class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genwerk.core.artifact import Source
from genwerk.core.errors import DataError
from genwerk.core.workspace import Artifact, Workspace
from genwerk.data.chorales import Note, Score
from genwerk.data.fourier import EDGE, HOP
from genwerk.data.mel import BANDS, mel_picture
from genwerk.data.pictures import load_pictures
from genwerk.data.sequences import SequencesConfig, prepare_sequences
from genwerk.data.sound import TONES, SoundConfig, play_scores
from genwerk.evaluation.scores import write_midi

BAR = 16  # frames: a quarter


def piece(seed: int, quarters: int = 16) -> Score:
    """Four voices in quarters, drawn within their ranges."""
    draw = np.random.default_rng(seed)
    voices = [tuple(Note(int(draw.integers(low, low + 12)), 4 * place, 4) for place in range(quarters))
              for low in (62, 58, 50, 40)]  # fmt: skip
    return Score(tuple(voices), 4 * quarters)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    (root / "scores").mkdir()
    for seed in range(8):
        write_midi(piece(seed), root / "scores" / f"{seed}.mid")
    return root / "scores"


def played(folder: Path, name: str = "work", **settings: Any) -> Artifact:
    workspace = Workspace(folder.parent / name)
    reading = SequencesConfig(layout="chorales", longest=4096, variants=False, holdout=0.3)
    scores = workspace.step(prepare_sequences, reading, Source.of_folder("scores", folder), kind="sequences")
    return workspace.step(play_scores, SoundConfig(**{"frames": BAR, "heard": 5, **settings}), scores, kind="pictures")


def rows(artifact: Artifact, side: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (artifact.path / f"{side}.jsonl").read_text().splitlines()]


def test_bars_are_pictures_and_their_sound_is_kept(folder: Path) -> None:
    made = played(folder)
    learned, held_out = (load_pictures(made.path, side) for side in ("train", "heldout"))
    assert learned.layout == "sound" and learned.pixels.shape[1:] == (1, BANDS, BAR)
    assert len(learned) + len(held_out) == 8 * 16 and len(held_out)
    heard = np.load(made.path / "heldout-sound.npy")
    assert heard.shape == (5, BAR * HOP)
    again = mel_picture(np.pad(heard, [(0, 0), (EDGE, EDGE)])).astype(int)
    whole = slice(2, -2)  # frames that lie within the bar
    assert np.abs(again[..., whole] - held_out.pixels[:5, 0, :, whole]).max() <= 1
    assert 0.1 < np.abs(heard).max() <= 1.0


def test_the_class_is_the_tone_of_the_bass(folder: Path) -> None:
    made = played(folder, frames=16)
    told = {(row["source"]): row["class"] for side in ("train", "heldout") for row in rows(made, side)}
    basses = {tuple(TONES[note.pitch % 12] for note in piece(seed).voices[3]) for seed in range(8)}
    for side in ("train", "heldout"):
        names = sorted({source.split(",")[0] for source in told if source.startswith(side)})
        for name in names:
            assert tuple(told[f"{name}, bar {number}"] for number in range(1, 17)) in basses


def test_the_same_scores_make_the_same_bars(folder: Path) -> None:
    assert played(folder).files == played(folder, "again").files


def test_a_bar_that_was_seen_or_is_silent_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    for seed in range(6):
        own = piece(seed, 8)
        again = tuple(tuple(note._replace(start=note.start + 64) for note in voice) for voice in own.voices)
        voices = [(*voice, *later) for voice, later in zip(own.voices, again, strict=True)]
        voices[0] = (*voices[0][:8], Note(70, 32, 32), *voices[0][8:])  # the others are silent for eight quarters
        write_midi(Score(tuple(voices), 96), tmp_path / "scores" / f"{seed}.mid")
    made = played(tmp_path / "scores")
    rules = [json.loads(line)["rule"] for line in (made.path / "ledger.jsonl").read_text().splitlines()]
    assert rules.count("silent bass") >= 6 * 7 and rules.count("duplicate") >= 1


def test_what_is_no_music_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("".join(f"line {number}\n" for number in range(40)))
    workspace = Workspace(tmp_path / "work")
    source = Source.of_file("lines", tmp_path / "lines.txt")
    lines = workspace.step(prepare_sequences, SequencesConfig(holdout=0.3), source, kind="sequences")
    with pytest.raises(DataError, match="lines cannot be played"):
        workspace.step(play_scores, SoundConfig(), lines, kind="pictures")
    with pytest.raises(DataError, match="no whole bar"):
        (tmp_path / "scores").mkdir()
        for seed in range(8):
            write_midi(piece(seed, 2), tmp_path / "scores" / f"{seed}.mid")
        played(tmp_path / "scores", frames=64)
