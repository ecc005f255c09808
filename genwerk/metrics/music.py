"""Four-part music, measured: does it keep to the craft of part-writing, and is it new?

Source: Yang and Lerch (2020), On the evaluation of generative models in music; Wu and Yang (2020), The Jazz Transformer
(entropy of pitch classes); Aldwell, Schachter and Cadwallader (2011), Harmony and Voice Leading, on part-writing.

    pitch class entropy   - Σ p log2 p of the twelve pitch classes of the notes; from 0 to 3.58 bits
    out of range          share of the notes beyond what their voice sings in Bach's chorales
    voice crossings       share of the steps at which a voice lies below the next lower one
    parallel fifths       pairs of voices that move the same way from a fifth to a fifth, per 100 changes of chord
    parallel octaves      the same of octaves and unisons
    dissonant onsets      share of the chords in which two voices are a second, a seventh or a tritone apart
    copied                the longest run, found anywhere in what was learned; in whichever key, since all is intervals

No value is good by itself: Bach breaks each rule at times, so real pieces give what to compare with.

A piece is its voices, the highest first; a voice is its notes (pitch, start, length) in steps of a grid. One value a
piece, for an interval over pieces; 0 where there is nothing to count.
Left out: figured harmony (which needs a key), and hidden fifths.
Try it:   pytest tests/metrics/test_music.py
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACH_RANGES", "MEASURES", "Voices", "copied_melody", "copied_steps", "dissonant_onsets", "out_of_range",
           "parallel_fifths", "parallel_octaves", "pitch_class_entropy", "voice_crossings"]  # fmt: skip

Voices = Sequence[Sequence[tuple[int, int, int]]]

# All notes of Bach's chorales lie within, but for one of a soprano. Textbooks are stricter by about a third.
BACH_RANGES = ((60, 81), (53, 74), (48, 69), (36, 64))

_SILENT = -1
_DISSONANT = (1, 2, 6, 10, 11)


def pitch_class_entropy(voices: Voices) -> float:
    """In bits; low where few tones are used, highest where all twelve are used alike."""
    counts = np.bincount([note[0] % 12 for voice in voices for note in voice], minlength=12)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def out_of_range(voices: Voices, ranges: Sequence[tuple[int, int]] = BACH_RANGES) -> float:
    """ranges: lowest and highest pitch of each voice. Raises ValueError where they are not as many as the voices."""
    out = [not low <= note[0] <= high for voice, (low, high) in zip(voices, ranges, strict=True) for note in voice]
    return sum(out) / max(len(out), 1)


def voice_crossings(voices: Voices) -> float:
    """Of the steps at which two neighbouring voices sound at least."""
    pitches, _ = _grid(voices)
    both = (pitches[:, :-1] != _SILENT) & (pitches[:, 1:] != _SILENT)
    crossed = both & (pitches[:, :-1] < pitches[:, 1:])
    return float(crossed.any(1).sum() / max(both.any(1).sum(), 1))


def parallel_fifths(voices: Voices) -> float:
    """Per 100 changes of chord, over all pairs of voices."""
    return _parallels(voices, 7)


def parallel_octaves(voices: Voices) -> float:
    """Per 100 changes of chord, over all pairs of voices."""
    return _parallels(voices, 0)


def dissonant_onsets(voices: Voices) -> float:
    """Of the steps at which a note begins."""
    pitches, onsets = _grid(voices)
    chords = pitches[onsets.any(1)]
    dissonant = np.zeros(len(chords), bool)
    for upper, lower in _pairs(chords):
        sounds = (upper != _SILENT) & (lower != _SILENT)
        dissonant |= sounds & np.isin((upper - lower) % 12, _DISSONANT)
    return float(dissonant.sum() / max(len(chords), 1))


MEASURES: Mapping[str, Callable[[Voices], float]] = {
    "pitch class entropy": pitch_class_entropy,
    "out of range": out_of_range,
    "voice crossings": voice_crossings,
    "parallel fifths": parallel_fifths,
    "parallel octaves": parallel_octaves,
    "dissonant onsets": dissonant_onsets,
}


def copied_steps(made: Sequence[Voices], learned: Sequence[Voices]) -> list[int]:
    """For each piece the steps of its longest passage that is in a piece that was learned, note by note in all voices.

    A step is what is held and what begins, above its lowest note, and how far that moved since the step before.
    """
    return _longest_runs([_steps(voices) for voices in made], [_steps(voices) for voices in learned])


def copied_melody(made: Sequence[Voices], learned: Sequence[Voices]) -> list[int]:
    """For each piece the longest run of intervals of its highest voice that is in one that was learned, in any rhythm.

    Tunes are shared by many settings, so real pieces have long runs too.
    """
    return _longest_runs([_intervals(voices) for voices in made], [_intervals(voices) for voices in learned])


def _grid(voices: Voices) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(T, V): the pitch that sounds at each step, or _SILENT; and whether it begins there."""
    steps = max((start + length for voice in voices for _, start, length in voice), default=0)
    pitches = np.full((steps, len(voices)), _SILENT, np.int64)
    onsets = np.zeros((steps, len(voices)), np.bool_)
    for place, voice in enumerate(voices):
        for pitch, start, length in voice:
            pitches[start : start + length, place] = pitch
            onsets[start, place] = True
    return pitches, onsets


def _pairs(chords: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    voices = range(chords.shape[1])
    return [(chords[:, upper], chords[:, lower]) for lower in voices for upper in range(lower)]


def _parallels(voices: Voices, interval: int) -> float:
    pitches, _ = _grid(voices)
    changes = np.flatnonzero((pitches[1:] != pitches[:-1]).any(1))
    before, after = pitches[changes], pitches[changes + 1]
    count = 0
    for (upper, lower), (upper_after, lower_after) in zip(_pairs(before), _pairs(after), strict=True):
        sounds = np.stack([upper, lower, upper_after, lower_after]).min(0) != _SILENT
        together = (upper_after - upper) * (lower_after - lower) > 0
        apart, apart_after = abs(upper - lower), abs(upper_after - lower_after)  # crossed or not
        kept = (apart % 12 == interval) & (apart_after % 12 == interval)
        count += int((sounds & together & kept).sum())
    return 100 * count / max(len(changes), 1)


def _steps(voices: Voices) -> list[Hashable]:
    pitches, onsets = _grid(voices)
    out: list[Hashable] = []
    before = 0
    for step, begins in zip(pitches.tolist(), onsets.tolist(), strict=True):
        lowest = min((pitch for pitch in step if pitch != _SILENT), default=before)
        above = tuple(_SILENT if pitch == _SILENT else pitch - lowest for pitch in step)
        out.append((above, tuple(begins), lowest - before if out else 0))
        before = lowest
    return out


def _intervals(voices: Voices) -> list[Hashable]:
    pitches = [note[0] for note in voices[0]]
    return [after - before for before, after in pairwise(pitches)]


def _longest_runs(made: Sequence[list[Hashable]], learned: Sequence[list[Hashable]]) -> list[int]:
    """Exact: each symbol becomes a character, so that searching for a run is searching for a string."""
    characters: dict[Hashable, str] = {}

    def text_of(symbols: list[Hashable]) -> str:
        return "".join(characters.setdefault(one, chr(len(characters) + 1)) for one in symbols)

    text = "\0".join(map(text_of, learned))
    found: list[int] = []
    for piece in map(text_of, made):
        longest = 0
        for start in range(len(piece)):
            while start + longest < len(piece) and piece[start : start + longest + 1] in text:
                longest += 1
        found.append(longest)
    return found
