"""Text recognition by tesseract, a program of its own: `apt-get install tesseract-ocr` (and `tesseract-ocr-deu`, ...).

Pictures of text are refused unless `ocr` is on, for what is recognised is a guess: the ledger has its mean confidence.
Blocks and paragraphs are tesseract's own. Pages of a TIFF are places.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from genwerk.core.errors import DataError
from genwerk.data.office import joined_parts
from genwerk.data.raw import RawDocument, ReadOptions, Unreadable, damaged

_NAMES = {
    "ar": "ara", "bg": "bul", "ca": "cat", "cs": "ces", "da": "dan", "de": "deu", "el": "ell", "en": "eng", "es": "spa",
    "et": "est", "fi": "fin", "fr": "fra", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun", "id": "ind", "is": "isl",
    "it": "ita", "ja": "jpn", "ko": "kor", "lt": "lit", "lv": "lav", "nl": "nld", "no": "nor", "pl": "pol", "pt": "por",
    "ro": "ron", "ru": "rus", "sk": "slk", "sl": "slv", "sr": "srp", "sv": "swe", "th": "tha", "tr": "tur", "uk": "ukr",
    "vi": "vie", "zh": "chi_sim",
}  # fmt: skip
_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Recognised:
    """Paragraphs with a blank line between them; `confidence` is the mean over their words, 0 to 1."""

    text: str
    confidence: float


def read_picture(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The text of a picture. Raises DataError where `ocr` is on and tesseract, or a language of it, is missing."""
    if not options.ocr:
        yield Unreadable("needs text recognition", "pictures of text are read only with data.ocr: true")
        return
    from PIL import Image, ImageSequence

    data = path.read_bytes()
    pages: list[Recognised] = []
    try:
        with Image.open(io.BytesIO(data)) as image:
            for number, frame in enumerate(ImageSequence.Iterator(image), start=1):
                options.tick(f"page {number}")
                pages.append(recognise(frame, options.languages))
    except DataError:
        raise
    except Exception as error:  # a damaged or huge picture makes Pillow raise almost anything
        yield damaged("picture", error)
        return
    found = joined_parts(
        [(f"page {n}", page.text) for n, page in enumerate(pages, start=1)], "", "no text is recognised"
    )
    if isinstance(found, RawDocument):
        confidence = min(page.confidence for page in pages if page.text)
        note = (("text recognition", f"confidence {confidence:.0%}"),)
        found = RawDocument(found.text, "", "", "plain", note, found.places if len(pages) > 1 else ())
    yield found


def recognise(image: Any, languages: Sequence[str] = ()) -> Recognised:
    """The text in a Pillow image. Raises DataError without tesseract, or without its data for one of `languages`."""
    program = shutil.which("tesseract")
    if program is None:
        remedy = "Run `apt-get install tesseract-ocr tesseract-ocr-deu`, or set data.ocr to false."
        raise DataError("text recognition needs tesseract, which is not installed", remedy=remedy)
    buffer = io.BytesIO()
    image.convert("L").save(buffer, format="PNG")
    command = [program, "stdin", "stdout", "-l", _language(program, tuple(languages)), "tsv"]
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(
        command, input=buffer.getvalue(), capture_output=True, timeout=_SECONDS, env=environment, check=False
    )
    if done.returncode:
        raise ValueError(f"tesseract: {done.stderr.decode('utf-8', 'replace').strip()[-200:]}")
    return _from_table(done.stdout.decode("utf-8", "replace"))


def _from_table(table: str) -> Recognised:
    """From tesseract's table of words (one a row, with its block, paragraph and confidence)."""
    paragraphs: dict[tuple[str, str], list[str]] = {}
    confidences: list[float] = []
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        word, confidence = (row.get("text") or "").strip(), float(row.get("conf") or -1)
        if word and confidence >= 0:
            paragraphs.setdefault((row["block_num"], row["par_num"]), []).append(word)
            confidences.append(confidence)
    text = "\n\n".join(" ".join(words) for words in paragraphs.values())
    return Recognised(text, sum(confidences) / len(confidences) / 100 if confidences else 0.0)


@cache
def _language(program: str, languages: tuple[str, ...]) -> str:
    listed = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=60, check=False).stdout
    there = set(listed.split("\n")[1:]) - {"", "osd"}
    wanted = [_NAMES.get(code, code) for code in languages]
    if missing := [name for name in wanted if name not in there]:
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in missing)
        what = f"tesseract has no data for {', '.join(missing)}"
        raise DataError(what, remedy=f"Run `apt-get install {packages}`, or change data.languages.")
    return "+".join(wanted or sorted(there, key=lambda name: (name != "eng", name))[:4]) or "eng"
