"""One picture file to pixels: any mode and bit depth becomes grey or RGB of 8 bits, and what was done to it is said.

palette, CMYK, YCbCr, HSV, LAB → RGB;   16, 32 bits and floats → 8;   transparent → on white;   turned as EXIF says
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

__all__ = ["Pixels", "RawPicture", "UnreadablePictureError", "fit_square", "pixels_of", "read_picture"]

Pixels = NDArray[np.uint8]  # (C, H, W)

_GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class UnreadablePictureError(Exception):
    """Why a file gives no picture, in words."""


@dataclass(frozen=True, slots=True)
class RawPicture:
    """`image` is of mode L or RGB; changes: what was done to it, for the ledger."""

    image: Image.Image
    changes: tuple[tuple[str, str], ...] = ()


def read_picture(path: Path, *, most_pixels: int = 100_000_000) -> RawPicture:
    """Decode a file whole. Raises UnreadablePictureError: no picture, cut short, too large, or with values that are
    not finite."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > most_pixels:
                    raise UnreadablePictureError(f"{image.width} × {image.height} pixels are too many")
                frames = getattr(image, "n_frames", 1)
                image.load()
                turned = ImageOps.exif_transpose(image)
                mode = image.mode
                assert turned is not None
                plain, changes = _plain(turned)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadablePictureError(str(error).splitlines()[0] or type(error).__name__) from error
    if frames > 1:
        changes.append(("first frame", f"of {frames}"))
    if mode not in ("L", "RGB"):
        changes.append(("mode", f"{mode} became {plain.mode}"))
    return RawPicture(plain, tuple(changes))


def _plain(image: Image.Image) -> tuple[Image.Image, list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []
    if image.mode in ("I", "F", "I;16", "I;16B", "I;16L", "I;16N"):
        values = np.asarray(image, np.float64)
        if not np.isfinite(values).all():
            raise UnreadablePictureError("it holds values that are not finite")
        top = _top(image.mode, values)
        changes.append(("depth", f"values up to {top:g} became 8 bits"))
        return Image.fromarray((values * (255.0 / top)).clip(0, 255).round().astype(np.uint8)), changes
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        through = image.convert("RGBA")
        if np.asarray(through)[..., 3].min(initial=255) < 255:
            changes.append(("transparent", "on white"))
        white = Image.new("RGBA", through.size, (255, 255, 255, 255))
        flat = Image.alpha_composite(white, through).convert("RGB")
        return (flat.convert("L") if image.mode in ("LA", "La") else flat), changes
    return image.convert("L" if image.mode in _GREY else "RGB"), changes


def _top(mode: str, values: NDArray[np.float64]) -> float:
    """The value that stands for white: of 16 bits where there are more than 8; of floats 1 where none is above."""
    most = float(values.max(initial=0.0))
    if mode == "F":
        return 1.0 if most <= 1.0 else most
    if mode.startswith("I;16") or most > 255.0:
        return 65535.0 if most <= 65535.0 else most
    return 255.0


def pixels_of(image: Image.Image, *, grey: bool) -> Pixels:
    """(1, H, W) or (3, H, W)."""
    values = np.asarray(image.convert("L" if grey else "RGB"), np.uint8)
    return np.ascontiguousarray(values[None] if grey else values.transpose(2, 0, 1))


def fit_square(image: Image.Image, size: int) -> tuple[Image.Image, str]:
    """`image` at size × size: the shorter side is scaled, the middle of the longer one kept; and what was done."""
    if image.size == (size, size):
        return image, ""
    across, down = image.size
    side = min(across, down)
    left, top = (across - side) // 2, (down - side) // 2
    box = (left, top, left + side, top + side)
    done = f"{across} × {down} became {size} × {size}" + ("" if across == down else ", the middle of it")
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box), done
