"""Step 1 for sound: scores of four voices are played, and cut into bars, each a picture of pitch over time.

    train.npy, heldout.npy   (N, 1, BANDS, T) uint8, see mel.py; the class is the tone that the bass holds longest
    heldout-sound.npy        (n, T HOP) float32: the first of what is held out, as it was played
    else as pictures.py

A sixteenth takes four frames, so beats lie on a grid, and a picture of 64 frames is a bar of four quarters.

Chosen:   bars of the same piece stay on one side, as the sequences were split; a bar that was seen, or whose bass is
          silent, is left out. A class that can be heard is one whose obedience can be measured.
Left out: other keys, tempi and instruments; recordings, for which there is no licence to be had here.
Try it:   genwerk run recipes/chorale-sound.yaml
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from genwerk.core.artifact import Artifact
from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import track
from genwerk.core.workspace import Step
from genwerk.data.chorales import STEPS_PER_QUARTER, Score, to_score
from genwerk.data.fourier import EDGE, HOP, RATE
from genwerk.data.ledger import Ledger
from genwerk.data.mel import mel_picture
from genwerk.data.pictures import SIDES, Side, write_side
from genwerk.data.sequences import SequenceSet, load_sequences
from genwerk.data.synthesis import render

__all__ = ["TONES", "SoundConfig", "play_scores"]

TONES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_FRAMES = 4  # of a picture in a sixteenth
_TEMPO = 60 * RATE / (STEPS_PER_QUARTER * _FRAMES * HOP)  # quarters a minute
_LOUDNESS = 1 / 8  # of a voice, so that four together stay below 1


class SoundConfig(Config):
    """How long, and how much is kept to be heard."""

    frames: int = Field(64, ge=8, multiple_of=4, description="of 40 ms in a picture; 64 are a bar of four quarters")
    heard: int = Field(200, ge=1, description="held-out bars whose sound is kept, to tell what the way back costs")


def play_scores(config: SoundConfig, step: Step, sequences: Artifact) -> Mapping[str, float | int | str]:
    """Write the bars of a sequences artifact. Raises DataError for what is no music of four voices, or too short."""
    ledger, seen, counts = Ledger(), set[str](), dict[str, int]()
    for side in SIDES:
        found = load_sequences(sequences.path, side)
        if found.layout != "chorales":
            raise DataError(f"{found.layout} cannot be played", remedy="Give scores: `chorales`, or a folder of them.")
        counts[side] = _play_side(config, step, found, side, ledger, seen)
    if not all(counts.values()):
        remedy = "Give more pieces, or fewer `frames`."
        raise DataError("there is no whole bar on both sides", where=str(sequences.path), remedy=remedy)
    shape = list(np.load(step.out / "train.npy", mmap_mode="r").shape[1:])
    meta = {"shape": shape, "classes": sorted(TONES), "texts": False, "layout": "sound"}
    write_json(step.out / "meta.json", meta)
    ledger.write(step.out / "ledger.jsonl")
    dropped = ledger.counts("dropped")
    write_json(step.out / "card.json", {**counts, **meta, "dropped": dropped, "inputs": {"sequences": sequences.id},
                                        "config": config.model_dump(mode="json")})  # fmt: skip
    return {**counts, "classes": len(TONES), "shape": " × ".join(map(str, shape)), "dropped": sum(dropped.values())}


def _play_side(config: SoundConfig, step: Step, found: SequenceSet, side: Side, ledger: Ledger, seen: set[str]) -> int:
    pictures, rows, heard = list[NDArray[np.uint8]](), list[dict[str, str]](), list[NDArray[np.float32]]()
    with track("playing scores", total=len(found), unit="pieces") as bar:
        for piece in range(len(found)):
            score = to_score(found.words(piece))
            for number, (picture, sound) in enumerate(_bars(score, config.frames), 1):
                source = f"{side} piece {piece + 1}, bar {number}"
                sha256 = hashlib.sha256(picture.tobytes()).hexdigest()
                tone = _held_longest(score, (number - 1) * config.frames // _FRAMES, config.frames // _FRAMES)
                if tone is None or sha256 in seen:
                    ledger.drop(source, "duplicate" if sha256 in seen else "silent bass", "")
                    continue
                seen.add(sha256)
                pictures.append(picture[None])
                rows.append({"source": source, "sha256": sha256, "class": TONES[tone], "text": ""})
                if side == "heldout" and len(heard) < config.heard:
                    heard.append(sound.astype(np.float32))
            bar.advance()
    if rows:
        write_side(step.out, side, np.stack(pictures), rows)
    if heard:
        np.save(step.out / "heldout-sound.npy", np.stack(heard))
    return len(rows)


def _bars(score: Score, frames: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Whole bars as pictures (BANDS, T) and as they sound (T HOP,)."""
    sound = np.pad(_LOUDNESS * render(score, RATE, tempo=_TEMPO), (EDGE, EDGE))
    picture = mel_picture(sound)
    for start in range(0, min(picture.shape[1], score.steps * _FRAMES) - frames + 1, frames):
        begin = EDGE + start * HOP
        yield picture[:, start : start + frames], sound[begin : begin + frames * HOP]


def _held_longest(score: Score, start: int, steps: int) -> int | None:
    """Pitch class of the bass between these steps; none where it rests."""
    held = [0] * 12
    for pitch, begin, length in score.voices[3]:
        held[pitch % 12] += max(0, min(begin + length, start + steps) - max(begin, start))
    return held.index(max(held)) if any(held) else None
