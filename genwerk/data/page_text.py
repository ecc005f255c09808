"""The text that a page of a PDF shows, piece by piece, each with its place, its end and its font.

    place     (x, y) of (0, rise) under text matrix x transformation; the matrix moves on with every string shown
    advance   of a string: (sum of widths / 1000 * size + letters * Tc + blanks * Tw) * Tz, widths from the font
    pieces    a string; strings of one TJ up to a twentieth of the size apart (kerning); letters where Tc is a tenth
              of the size and more, as Ghostscript sets a blank so

Source:   ISO 32000-1, 9.3 and 9.4. pypdf parses the content stream and the fonts; a font is read once per document.
Chosen:   own bookkeeping, as pypdf's layout mode stays where it is after a string that no number follows.
Left out: text turned by 90 degrees (marks in margins); vertical writing; clipping, colour, what is painted over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from genwerk.data.page_layout import Piece

Matrix = tuple[float, float, float, float, float, float]
_SAME: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_TURNED: dict[int, Matrix] = {90: (0, -1, 1, 0, 0, 0), 180: (-1, 0, 0, -1, 0, 0), 270: (0, 1, -1, 0, 0, 0)}
_KERNED, _SPACED = 0.05, 0.1
_DEEPEST = 8
_SLANT = 0.05
_BOLD = re.compile(r"bold|black|heavy|demi|cmbx|sfbx|ecbx|cmssbx", re.IGNORECASE)
_FIXED_NAME = re.compile(r"mono|courier|typewriter|consol|cmtt|sftt|ectt|inconsolata|menlo|fixed", re.IGNORECASE)
_FIXED_PITCH, _FORCE_BOLD = 1, 1 << 18
_ENOUGH_WIDTHS, _WIDEST_PITCH = 12, 700


@dataclass(slots=True)
class Face:
    """A font as it is needed here. `pitch`: how wide all its letters are, in thousandths; 0 where they differ."""

    source: Any
    bold: bool
    pitch: float
    _glyphs: dict[str, tuple[str, float]] = field(default_factory=dict)

    def shown(self, value: bytes) -> tuple[str, float, int, int]:
        """Text, width in thousandths, and how many characters and blanks the string has in the font's own coding."""
        font = self.source
        raw = value.decode(font.encoding if isinstance(font.encoding, str) else "latin-1", "replace")
        text, width = "", 0.0
        for character in raw:
            glyph = self._glyphs.get(character)
            if glyph is None:
                glyph = self._glyphs[character] = self._glyph(character)
            text += glyph[0]
            width += glyph[1]
        return text, width, len(raw), raw.count(font.space_char)

    def _glyph(self, raw: str) -> tuple[str, float]:
        font = self.source
        named = raw if isinstance(font.encoding, str) else font.encoding.get(ord(raw), raw)
        text = "".join(str(font.character_map.get(one, one)) for one in named).replace("\0", "")
        width = font.space_width if raw == font.space_char else font.get_text_width(raw)
        return text, float(width)


Faces = dict[int, Face]
"""The faces of a document, by the number of their object."""


@dataclass(slots=True)
class _State:
    """What `q` keeps a copy of and `Q` brings back."""

    matrix: Matrix
    face: Face | None = None
    size: float = 0.0
    letter: float = 0.0
    word: float = 0.0
    stretch: float = 1.0
    leading: float = 0.0
    rise: float = 0.0


_NUMBERS = {b"Tc": "letter", b"Tw": "word", b"TL": "leading", b"Ts": "rise"}


def page_pieces(page: Any, faces: Faces) -> list[Piece]:
    """The pieces of a page in the order they are shown. `faces` is filled, for the next page."""
    contents = page.get("/Contents")
    if contents is None:
        return []
    reader = _Reader(page.pdf, faces, _TURNED.get(int(page.get("/Rotate", 0)) % 360, _SAME))
    reader.read(contents.get_object(), page.get("/Resources"), ())
    return reader.pieces


class _Reader:
    """Follows the operators of a content stream."""

    def __init__(self, pdf: Any, faces: Faces, turned: Matrix) -> None:
        self.pieces: list[Piece] = []
        self._pdf, self._faces = pdf, faces
        self._state, self._kept = _State(turned), list[_State]()
        self._text = self._line = _SAME

    def read(self, stream: Any, resources: Any, within: tuple[str, ...]) -> None:
        """One content stream: the page's, or that of a form `within` others, which it may not be one of."""
        from pypdf.generic import ContentStream

        resources = resources.get_object() if resources is not None else {}
        known = _fonts(resources, self._faces)
        for operands, operator in ContentStream(stream, self._pdf, "bytes").operations:
            if operator in _NUMBERS:
                setattr(self._state, _NUMBERS[operator], float(operands[0]))
            elif operator == b"Tz":
                self._state.stretch = float(operands[0]) / 100
            elif operator == b"Tf":
                self._state.face, self._state.size = known.get(operands[0]), float(operands[1])
            elif operator == b"q":
                self._kept.append(replace(self._state))
            elif operator == b"Q":
                self._state = self._kept.pop() if self._kept else self._state
            elif operator == b"cm":
                self._state.matrix = _times(_matrix(operands), self._state.matrix)
            elif operator == b"Do":
                self._form(operands[0], resources, within)
            else:
                self._move(operator, operands)
                self._show(operator, operands)

    def _form(self, name: str, resources: Any, within: tuple[str, ...]) -> None:
        form = resources["/XObject"].get_object()[name].get_object()
        known = str(form.indirect_reference)
        if form.get("/Subtype") != "/Form" or known in within or len(within) >= _DEEPEST:
            return
        state, kept = self._state, self._kept
        self._state, self._kept = replace(state, matrix=_times(_matrix(form.get("/Matrix", _SAME)), state.matrix)), []
        self.read(form, form.get("/Resources", resources), (*within, known))
        self._state, self._kept = state, kept

    def _move(self, operator: bytes, operands: Any) -> None:
        if operator == b"BT":
            self._text = self._line = _SAME
        elif operator == b"Tm":
            self._text = self._line = _matrix(operands)
        elif operator in (b"Td", b"TD"):
            if operator == b"TD":
                self._state.leading = -float(operands[1])
            self._next_line(float(operands[0]), float(operands[1]))
        elif operator in (b"T*", b"'", b'"'):
            if operator == b'"':
                self._state.word, self._state.letter = float(operands[0]), float(operands[1])
            self._next_line(0.0, -self._state.leading)

    def _next_line(self, x: float, y: float) -> None:
        self._text = self._line = _times((1.0, 0.0, 0.0, 1.0, x, y), self._line)

    def _show(self, operator: bytes, operands: Any) -> None:
        if operator in (b"Tj", b"'", b'"') and operands:
            self._put(operands[-1:])
        elif operator == b"TJ" and operands:
            self._put(operands[0])

    def _put(self, items: Iterable[Any]) -> None:
        """Strings, and numbers between them that move on by thousandths of the size."""
        state, run, width, start, end = self._state, "", 0.0, 0.0, 0.0
        if state.face is None:
            return
        spaced = state.letter > _SPACED * state.size and not isinstance(state.face.source.encoding, str)
        for item in _letters(items) if spaced else items:
            if isinstance(item, (int, float)):
                width -= item / 1000 * state.size * state.stretch
            else:
                value = item if isinstance(item, bytes) else str(item).encode("latin-1", "replace")
                text, advance, letters, blanks = state.face.shown(value)
                if run and abs(width - end) > _KERNED * state.size:
                    self._add(run, start, end)
                    run = ""
                start = start if run else width
                width += (advance / 1000 * state.size + letters * state.letter + blanks * state.word) * state.stretch
                run, end = run + text, width - state.letter * state.stretch
        if run:
            self._add(run, start, end)
        self._text = _times((1.0, 0.0, 0.0, 1.0, width, 0.0), self._text)

    def _add(self, text: str, start: float, end: float) -> None:
        state, face = self._state, self._state.face
        a, b, c, d, e, f = _times(self._text, state.matrix)
        if face is None or not face.source.interpretable or a <= 0 or max(abs(b), abs(c)) > _SLANT * max(a, abs(d)):
            return
        at, base = start * a + e, state.rise * d + start * b + f
        size, scale = abs(state.size * d), a * state.size * state.stretch / 1000
        piece = Piece(at, end * a + e, base, size, text, face.bold, face.pitch * scale, face.source.space_width * scale)
        self.pieces.append(piece)


def _letters(items: Iterable[Any]) -> Iterator[Any]:
    """Strings cut into their letters, for fonts of one byte a letter; longer codes stay."""
    for item in items:
        yield from (item[at : at + 1] for at in range(len(item))) if isinstance(item, bytes) else (item,)


def _fonts(resources: Any, faces: Faces) -> Mapping[str, Face]:
    from pypdf.generic._font import Font

    found: dict[str, Face] = {}
    fonts = resources.get("/Font")
    for name, reference in (fonts.get_object() if fonts is not None else {}).items():
        key = getattr(reference, "idnum", 0)
        face = faces.get(key) or _face(Font.from_font_resource(reference.get_object()))
        if key:
            faces[key] = face
        found[name] = face
    return found


def _face(font: Any) -> Face:
    flags = int(font.font_descriptor.flags or 0)
    widths = {round(width) for raw, width in font.character_widths.items() if width and raw != "default"}
    alike = len(widths) == 1 and len(font.character_widths) >= _ENOUGH_WIDTHS and max(widths) <= _WIDEST_PITCH
    fixed = alike or flags & _FIXED_PITCH or _FIXED_NAME.search(font.name)
    pitch = float(max(widths, default=0) or font.space_width) if fixed else 0.0
    return Face(font, bool(_BOLD.search(font.name)) or bool(flags & _FORCE_BOLD), pitch)


def _matrix(operands: Any) -> Matrix:
    a, b, c, d, e, f = (float(number) for number in operands[-6:])
    return a, b, c, d, e, f


def _times(one: Matrix, other: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    p, q, r, s, t, u = other
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u
