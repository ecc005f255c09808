"""Four-part music that was drawn: does it keep to the craft as Bach does, what does it copy, and how does it look?

every measure of metrics/music.py, for samples and, as the floor, for held-out passages
copied   steps (sixteenths) of the longest passage that stands in a learned piece, in whichever key

score-N.png, sample-N.mid    the first samples, engraved and to be heard; sample-1.wav   the first one as sound
"""

from __future__ import annotations

import numpy as np

from genwerk.core.workspace import Step
from genwerk.data.chorales import Score, to_score
from genwerk.evaluation.measures import Measure
from genwerk.evaluation.scored import Exhibit
from genwerk.evaluation.scores import draw_score, write_audio, write_midi
from genwerk.evaluation.sequences import Sides, measure
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.music import MEASURES, copied_steps

__all__ = ["measure_craft"]

_WRITTEN = 4
_COMPARED = 200
_LIMITS = [
    "Parallels, crossings and dissonances are counted, not judged: a cadence that leads nowhere breaks no rule here.",
    "A passage counts as copied only where every voice and every rhythm is the same, in whichever key.",
]


def measure_craft(sides: Sides, step: Step) -> tuple[list[Measure], list[Exhibit], list[str]]:
    """Of samples that are chorales; writes the first ones as scores, MIDI files and sound."""
    made, real = ([to_score(words) for words in some[:_COMPARED]] for some in (sides.made.words, sides.real))
    measures = []
    for name, of in MEASURES.items():
        own, floor = ([of(score.voices) for score in some] for some in (made, real))
        how = f"{len(made)} samples and {len(real)} held-out passages"
        measures.append(measure(f"music.{name.replace(' ', '_')}", interval(own), how, float(np.mean(floor))))
    learned = [to_score(piece).voices for piece in sides.learned.pieces()]
    copied, usual = (copied_steps([score.voices for score in some], learned) for some in (made, real))
    how = "the longest passage of each, in any key"
    copies = interval([float(steps) for steps in copied])
    measures.append(measure("music.copied_steps", copies, how, float(np.mean(usual))))
    written = [to_score(*one) for one in zip(sides.made.words[:_WRITTEN], sides.made.labels, strict=False)]
    return measures, _write(written, step), _LIMITS


def _write(scores: list[Score], step: Step) -> list[Exhibit]:
    exhibits = []
    for number, score in enumerate(scores, 1):
        draw_score(score, step.out / f"score-{number}.png")
        write_midi(score, step.out / f"sample-{number}.mid")
        exhibits += [Exhibit(f"score-{number}.png", f"Sample {number}, as it was drawn: none is chosen."),
                     Exhibit(f"sample-{number}.mid", f"sample {number} as a MIDI file")]  # fmt: skip
    if scores:
        write_audio(scores[0], step.out / "sample-1.wav")
        exhibits.append(Exhibit("sample-1.wav", "sample 1 to be heard"))
    return exhibits
