"""The names of everything an evaluation can measure, what each means in plain words, and the record of one number.

A measure has a dotted name. One with an interval also answers to `NAME.low` and `NAME.high`, so that a gate can ask
for the lower end. `retrieval.ndcg@10` without an arm is the arm that the fit chose to serve.

Source: Wilson (1927), Probable inference, for the interval of a share: it keeps its width at 0 and at 1, where a
bootstrap of equal values has none.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)      p share, n cases, z = 1.96 for 95 %
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from genwerk.core.errors import ConfigError
from genwerk.core.types import ARMS
from genwerk.metrics.bootstrap import Interval

__all__ = [
    "CATALOGUE",
    "ENLARGED",
    "RANKS",
    "RERANKED",
    "RRF",
    "Definition",
    "Measure",
    "definition",
    "flatten",
    "known_names",
]

RRF = "rrf"
RERANKED = "reranked"
RANKS = ("hit@1", "hit@5", "ndcg@10")
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Definition:
    """What a measure is called in the report, what it says in plain words, its unit and which way is better."""

    label: str
    meaning: str
    unit: str = "share"
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Measure:
    """One number: `value` over `n` cases, measured as `how` says, between `low` and `high` by the rule `spread`.

    floor   the same with real ones in place of what is measured: what can be had at best
    """

    name: str
    value: float
    n: int
    how: str
    low: float | None = None
    high: float | None = None
    spread: str = ""
    floor: float | None = None

    @classmethod
    def share(cls, name: str, hits: int, n: int, how: str) -> Measure:
        """`hits` of `n` with Wilson's 95 % interval; nothing counted gives nan, which passes no gate."""
        if n == 0:
            return cls(name, math.nan, 0, how)
        share = hits / n
        centre = share + _Z95**2 / (2 * n)
        half = _Z95 * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n))
        scale = 1 + _Z95**2 / n
        low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
        return cls(name, share, n, how, 0.0 if hits == 0 else low, 1.0 if hits == n else high, "95 % Wilson")

    @classmethod
    def mean(cls, name: str, found: Interval, how: str, floor: float | None = None) -> Measure:
        """A mean with its bootstrap interval, and what real ones reach."""
        return cls(name, found.mean, found.n, how, found.low, found.high, "95 % bootstrap", floor)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Measure:
        """The reverse of `to_json`."""
        value = values["value"]
        return cls(**{**values, "value": math.nan if value is None else value})  # type: ignore[arg-type]

    def to_json(self) -> dict[str, object]:
        """Plain values; what is not finite becomes null, which JSON knows."""
        return {name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in asdict(self).items()}  # fmt: skip


_RANK_WORDS = {
    "hit@1": "the first passage found belongs to the section the question was made from",
    "hit@5": "one of the first five passages found belongs to the section the question was made from",
    "ndcg@10": "how high the right passage stands among the first ten: 1 is first place, 0 is not among them",
}
_RANK_LABELS = {"hit@1": "hit@1", "hit@5": "hit@5", "ndcg@10": "nDCG@10"}
_ARM_LABELS = {
    "bm25": "BM25 (words)", "dense": "dense (meaning)", "hybrid": "hybrid (both)", RRF: "RRF (both by rank)",
    RERANKED: "reranked (cross-encoder)",
}  # fmt: skip


def _bits(label: str, meaning: str) -> Definition:
    return Definition(label, meaning, "bits/byte", higher_is_better=False)


ENLARGED = {
    "drawn": "Drawn", "mean": "Mean of what could be", "bicubic": "Bicubic interpolation", "nearest": "Pixels repeated",
}  # fmt: skip
_FIDELITY = {
    "psnr": ("PSNR", "how near to the real large picture, pixel by pixel", "dB", True),
    "ssim": ("SSIM", "how like the real large picture in light, contrast and structure; 1 is equal", "", True),
    "frechet": ("Fréchet distance", "how far from the real large ones, in features learned on these", "", False),
    "gain": ("PSNR beyond bicubic", "how many decibels nearer than by interpolation, picture by picture", "dB", True),
}

CATALOGUE: dict[str, Definition] = {
    "perplexity.base_bits_per_byte": _bits(
        "Base model, bits per byte", "How many bits the base model needs for one byte of your held-out text."
    ),
    "perplexity.tuned_bits_per_byte": _bits(
        "Tuned model, bits per byte", "The same with the adapter on. Tuning on answers need not lower it."
    ),
    "pretrained.bits_per_byte": _bits(
        "Model trained here, bits per byte", "The same for the small model trained from scratch on your documents."
    ),
    "perplexity.base_answer_loss": Definition(
        "Answer loss before tuning", "How surprised the base model is by the right answer.", "nats/token", False
    ),
    "perplexity.tuned_answer_loss": Definition(
        "Answer loss after tuning", "The same with the adapter on: what tuning was meant to lower.", "nats/token", False
    ),
    "quantised.kl": Definition(
        "Divergence of what is served",
        "How far what answers, its weights or its cache rounded, is from the same model in float32; 0 is not at all.",
        "nats/token",
        False,
    ),
    **{
        f"retrieval.{rank}": Definition(
            f"Retrieval {_RANK_LABELS[rank]}", f"For the search that is served: {_RANK_WORDS[rank]}."
        )
        for rank in RANKS
    },
    **{
        f"retrieval.{arm}.{rank}": Definition(
            f"{_ARM_LABELS[arm]}, {_RANK_LABELS[rank]}", f"{_ARM_LABELS[arm]}: {_RANK_WORDS[rank]}."
        )
        for arm in (*ARMS, RRF, RERANKED)
        for rank in RANKS
    },
    "citations.valid": Definition(
        "Citations that re-slice exactly", "Every citation was cut out of its document again and compared byte by byte."
    ),
    "citations.per_answer": Definition("Citations per answer", "How many quotations an answer carries.", "citations"),
    "citations.supported_sentences": Definition(
        "Model sentences kept",
        "Sentences of the model that a passage supports and that were asked for; others are dropped.",
    ),
    "citations.fallback": Definition(
        "Answers quoted instead",
        "Answers where nothing the model wrote could be supported, so the best passage was quoted.",
        higher_is_better=False,
    ),
    "citations.grounding": Definition(
        "Grounding score", "How well quotations hold the sentences that cite them, in words and meaning; 1: wholly.", ""
    ),
    "citations.language": Definition(
        "In the language asked", "Answers in the language of their question; a quotation is in that of its document."
    ),
    "citations.gold": Definition(
        "Cites the right section", "Answers with a citation from the very section the question was made from."
    ),
    "abstention.when_removed": Definition(
        "Silent when the source is gone",
        "Questions left unanswered, as they should be, when the document that answers them is taken out of the index.",
    ),
    "abstention.false": Definition(
        "Silent though the source is there",
        "Questions left unanswered although the document that answers them is indexed.",
        higher_is_better=False,
    ),
    "speed.first_token_ms": Definition(
        "First token", "Time from the question to the first token of the answer.", "ms", False
    ),
    "speed.decode_tokens_per_second": Definition("Decoding", "Tokens written per second after the first.", "tokens/s"),
    "speed.answer_seconds": Definition(
        "Whole answer", "Time from the question to the last checked sentence.", "s", False
    ),
    "pictures.frechet": Definition(
        "Fréchet distance",
        "How far samples lie from held-out pictures, in features learned on these pictures.", "", False,
    ),
    "pictures.frechet_ratio": Definition(
        "Fréchet distance to its floor", "How many times as far as real pictures lie from each other; 1 is as near.",
        "times", False,
    ),
    "pictures.kernel": Definition(
        "Kernel distance", "The same by another measure, without a bias of its own.", "", False
    ),
    "pictures.precision": Definition("Precision", "Samples that lie where real pictures do."),
    "pictures.density": Definition("Density", "How thickly real pictures lie around samples.", "times"),
    "pictures.recall": Definition("Recall", "Real pictures that lie where samples do."),
    "pictures.coverage": Definition("Coverage", "Real pictures with a sample nearby: how much of the real is made."),
    "pictures.classes": Definition("Classes found", "Classes that samples are taken for.", "classes"),
    "pictures.duplicates": Definition(
        "Duplicates", "Samples nearer to another sample than 999 of 1,000 real pictures are to another.",
        higher_is_better=False,
    ),
    "pictures.nearer_to_learned": Definition(
        "Nearer to what was learned",
        "Samples nearer to a learned picture than to a held-out one; 0.5 where none is copied.",
        higher_is_better=False,
    ),
    "pictures.copy_p": Definition("Chance of that", "Chance of so many nearer ones if nothing were copied.", "p"),
    "pictures.as_asked": Definition("As asked", "Samples that are taken for the class that was asked for."),
    "pictures.text_retrieved": Definition(
        "Text found again",
        "Samples whose own text is among the ten likeliest of all held-out texts, by their features.",
    ),
    "pictures.train_on_synthetic": Definition(
        "Train on synthetic", "Real pictures told right by a classifier that learned from samples only."
    ),
    "pictures.augmentation_gain": Definition(
        "Gain by augmentation", "How many more are told right when samples are added to 200 real pictures."
    ),
    "pictures.features_accuracy": Definition(
        "Features", "Held-out pictures that the network of features tells right; all else stands on it."
    ),
    "pictures.negative_elbo": Definition(
        "Bound, one draw", "−ELBO: nats for a held-out picture by the bound with one draw.", "nats", False
    ),
    "pictures.negative_iwae": Definition(
        "Bound, 64 draws", "−IWAE: the same by the tighter bound with 64 draws.", "nats", False
    ),
    "pictures.rate": Definition(
        "Rate", "Bits a number of a held-out picture that its codes take, by what draws codes.", "bits", False
    ),
    "pictures.distortion": Definition(
        "Distortion", "Root of the mean squared error of a held-out picture that comes back, of black to white.",
        "share", False,
    ),
    "pictures.codes_in_use": Definition("Codes in use", "How many codes there would be, were each as frequent.", ""),
    "pictures.calls": Definition("Calls", "Calls of the network, one after the other, for a sample.", "calls", False),
    "pictures.milliseconds": Definition("Time of a sample", "64 made together, on this machine.", "ms", False),
    "pictures.parameters": Definition("Parameters", "Of all networks.", "", False),
    **{
        f"enlarged.{arm}.{name}": Definition(f"{said}, {label}", f"{said}: {meaning}.", unit, better)
        for name, (label, meaning, unit, better) in _FIDELITY.items()
        for arm, said in ENLARGED.items()
        if name != "gain" or arm in ("drawn", "mean")
    },
    "enlarged.inconsistent": Definition(
        "Apart from the small picture", "How far the drawn one, averaged down, is from what was enlarged.",
        "grey levels", False,
    ),
    "transfer.pixels": Definition(
        "To the true picture, pixels",
        "How far a picture in another style lies from the true one: the root of the mean square, of the whole range.",
        "", False,
    ),
    "transfer.pixels_untouched": Definition("The same, untouched", "Where nothing is done.", "", False),
    "transfer.pixels_redrawn": Definition(
        "The same, redrawn", "After the same way there and back in its own style: what smoothing alone does.", "", False
    ),
    "transfer.pixels_random": Definition("The same, another", "For another real picture of that style.", "", False),
    "transfer.pixels_gain": Definition(
        "Nearer in pixels", "How much nearer than the untouched picture, pair by pair; above 0 it is worth it.", ""
    ),
    "transfer.features": Definition(
        "To the true picture, features", "The same in features that tell turns apart, not styles.", "", False
    ),
    "transfer.features_untouched": Definition("The same, untouched", "Where nothing is done.", "", False),
    "transfer.features_redrawn": Definition("The same, redrawn", "In its own style.", "", False),
    "transfer.features_random": Definition("The same, another", "For another real picture of that style.", "", False),
    "transfer.features_gain": Definition("Nearer in features", "How much nearer than the untouched picture.", ""),
    "transfer.style": Definition("Style as asked", "Pictures that are taken for the style they were brought to."),
    "transfer.style_untouched": Definition(
        "The same, untouched", "Of pictures that nothing is done to.", higher_is_better=False
    ),
    "transfer.found": Definition(
        "Own picture found", "Pictures whose true one is the nearest of all of that style, in pixels."
    ),
    "transfer.found_untouched": Definition("The same, untouched", "Of pictures that nothing is done to."),
    "transfer.there_and_back": Definition(
        "Drawn again as it is", "How far a picture lies from itself, back to its noise and there again.", "", False
    ),
    "attribute.has": Definition(
        "Has the attribute", "Pictures without it that are taken for having it, at the largest amount."
    ),
    "attribute.had": Definition("Had it before", "The same at amount 0.", "share", False),
    "attribute.rest": Definition(
        "The rest moved", "How far features move beside the attribute, in distances between two real pictures.",
        "times", False,
    ),
    "attribute.told": Definition(
        "Attribute told right", "Held-out pictures with and without it, halves, by features: all else stands on it."
    ),
    "sequences.nats": Definition(
        "Surprise", "How surprised the model is by a token of a held-out sequence; of a VAE, at most so much.",
        "nats/token", False,
    ),
    "sequences.ended": Definition("Ended", "Samples that come to an end within the longest length."),
    "sequences.unique": Definition("Unique", "Samples that are no other sample again."),
    "sequences.novel": Definition("Novel", "Samples that are not among what was learned."),
    "sequences.length": Definition("Length", "Tokens of a sample.", "tokens"),
    "sequences.milliseconds": Definition("Time of a sample", "Many made together, on this machine.", "ms", False),
    "sequences.parameters": Definition("Parameters", "Of all networks.", "", False),
    "molecules.valid": Definition("Valid", "Samples that are molecules."),
    "molecules.valid_by_rule": Definition("Valid by the rule", "The same of samples that were drawn by the rule."),
    "molecules.unique_1k": Definition("Unique among 1,000", "Different ones among the first 1,000 valid samples."),
    "molecules.unique_10k": Definition("Unique among 10,000", "Different ones among the first 10,000 valid samples."),
    "molecules.novel": Definition("Novel molecules", "Different valid samples that were not learned from."),
    "molecules.filters": Definition("Filters", "Valid samples without groups that chemists avoid (MCF, PAINS)."),
    "molecules.internal_diversity": Definition("Internal diversity", "How unlike each other valid samples are."),
    "molecules.internal_diversity_2": Definition("Internal diversity, p = 2", "The same with squares of likeness."),
    "molecules.nearest": Definition("Nearest (SNN)", "How like its nearest held-out molecule a sample is, on average."),
    "molecules.frag": Definition("Fragments", "How alike fragments are distributed; 1 is the same."),
    "molecules.scaf": Definition("Scaffolds", "How alike scaffolds are distributed; 1 is the same."),
    "molecules.logp": Definition("Partition apart", "Distance of the distributions of logP.", "", False),
    "molecules.sa": Definition("Ease of synthesis apart", "The same of the score of synthesis.", "", False),
    "molecules.qed": Definition("Drug-likeness apart", "The same of drug-likeness.", "", False),
    "molecules.weight": Definition("Weight apart", "The same of molecular weight.", "Da", False),
    "clips.same_digit": Definition(
        "Same digit", "Frames that are taken for what the most of their clip are taken for."
    ),
    "clips.off_the_line": Definition(
        "Off the line", "How far the centre of light is from lines with two bounces in each direction.", "pixels", False
    ),
    "clips.flicker": Definition("Flicker", "How much the light of a clip's frames differs.", "of the light", False),
    "clips.speed": Definition("Speed", "How far the centre of light goes; as far as in real clips is best.", "pixels"),
    "sound.in_tune": Definition("In tune", "Energy within 30 cents of a tone of equal temperament; by chance 0.6."),
    "sound.voices": Definition("Voices", "Tones that are heard at once; as many as in real bars is best.", "tones"),
    "sound.convergence": Definition(
        "Spectra missed", "How far the sound that was found is from what the picture asks for.", "of it", False
    ),
    "sound.way_back_in_tune": Definition(
        "In tune after the way back", "Real bars through the picture and back; the floor is how they were played."
    ),
    "sound.way_back_voices": Definition("Voices after the way back", "The same of tones heard at once.", "tones"),
    "music.pitch_class_entropy": Definition("Pitch classes", "How many tones are used, and how evenly.", "bits"),
    "music.out_of_range": Definition("Out of range", "Notes that a voice does not sing in Bach.", "share", False),
    "music.voice_crossings": Definition("Crossings", "Steps at which a voice lies below the next.", "share", False),
    "music.parallel_fifths": Definition(
        "Parallel fifths", "Two voices that move from a fifth to a fifth.", "in 100 changes", False
    ),
    "music.parallel_octaves": Definition(
        "Parallel octaves", "Two voices that move from an octave to an octave.", "in 100 changes", False
    ),
    "music.dissonant_onsets": Definition(
        "Dissonances", "Chords with a second, a seventh or a tritone.", "share", False
    ),
    "music.copied_steps": Definition(
        "Longest copy", "Sixteenths of the longest passage that is in a learned piece, in any key.", "sixteenths", False
    ),
}  # fmt: skip


def known_names() -> list[str]:
    """Every name a gate may use, with the ends of the intervals."""
    return [name for base in CATALOGUE for name in (base, f"{base}.low", f"{base}.high")]


def definition(name: str, *, where: str = "") -> Definition:
    """What `name` (or its `.low`/`.high`) means. Raises ConfigError with the nearest name."""
    base = name.removesuffix(".low").removesuffix(".high")
    if base in CATALOGUE:
        return CATALOGUE[base]
    near = difflib.get_close_matches(name, known_names(), n=1, cutoff=0.4)
    hint = f"Did you mean `{near[0]}`?" if near else f"Known measures: {', '.join(CATALOGUE)}."
    raise ConfigError(f"`{name}` is not a known measure", where=where, remedy=hint)


def flatten(measures: Iterable[Measure]) -> dict[str, float]:
    """Measures as flat dotted names to numbers, with `.low` and `.high` where there is an interval."""
    flat: dict[str, float] = {}
    for item in measures:
        flat[item.name] = item.value
        if item.floor is not None:
            flat[f"{item.name}.floor"] = item.floor
        if item.low is not None and item.high is not None:
            flat[f"{item.name}.low"], flat[f"{item.name}.high"] = item.low, item.high
    return flat
