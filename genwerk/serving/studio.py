"""Pictures over HTTP: the promoted generators of a workspace, asked in OpenAI's shape.

    POST /v1/images/generations   {"model", "prompt", "n", "seed", "stream", "partial_images", …}
    GET  /v1/genwerk/studio       what each of them is, how it can be asked, and where its report is

Beside OpenAI's fields: seed, steps, guidance, solver, start and mask (PNG in base64), strength, between (two draws,
with an arc of pictures from one to the other). A field that a generator cannot honour is refused by name.
"""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from genwerk.core.workspace import Workspace
from genwerk.data.picture_files import pixels_of
from genwerk.evaluation.films import film
from genwerk.evaluation.grids import png
from genwerk.generators.family import Ask, check_ask
from genwerk.generators.interpolation import between
from genwerk.generators.picture_examples import to_numbers, to_pixels
from genwerk.generators.storage import Stored, load_family
from genwerk.serving.fields import flag, invalid, no_model, text

__all__ = ["ImageCall", "ImageEvent", "Studio", "chunks", "whole"]

_PIN = "generating-"
_MOST = 64
_NUMBERS = {"guidance": 1.0, "strength": 1.0, "temperature": 1.0}
_KNOWN = frozenset({
    "model", "prompt", "n", "seed", "steps", "guidance", "solver", "start", "mask", "strength", "temperature",
    "between", "stream", "partial_images", "response_format", "size", "user",
})  # fmt: skip


@dataclass(frozen=True)
class ImageCall:
    """A request that was read. stream: previews are wanted; previews: how many, at most."""

    model: str
    stored: Stored
    ask: Ask
    stream: bool
    previews: int


@dataclass(frozen=True, slots=True)
class ImageEvent:
    """Pictures as PNG files after `done` of `of` steps; the last event holds the samples."""

    pictures: tuple[bytes, ...]
    done: int
    of: int

    @property
    def last(self) -> bool:
        return self.done == self.of


class Studio:
    """The generators of a workspace; any thread may use it. One request computes at a time, each as it came."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._loaded: dict[str, Stored] = {}
        self._loading, self._turn = threading.Lock(), threading.Lock()

    def names(self) -> list[str]:
        """Of all that were promoted."""
        return sorted(name.removeprefix(_PIN) for name in self.workspace.pins() if name.startswith(_PIN))

    def get(self, name: str) -> Stored:
        """Loaded once for each promotion. Raises RequestError (404) for a name that is not there."""
        names = self.names()
        if not name and len(names) == 1:
            name = names[0]
        if name not in names:
            raise no_model(name, names or ["none; run a recipe with `family:` first"])
        path = self.workspace.find(str(self.workspace.pinned(_PIN + name)["generator"])).path
        with self._loading:
            if name not in self._loaded or self._loaded[name].path != path:
                self._loaded[name] = load_family(path)
            return self._loaded[name]

    def entries(self) -> list[dict[str, Any]]:
        """As they stand in OpenAI's list of models."""
        pins = {name: self.workspace.pinned(_PIN + name) for name in self.names()}
        return [
            {"id": name, "object": "model", "created": 0, "owned_by": "genwerk",
             "genwerk": {"kind": "generator", "parent": None, "artifact": pin["generator"]}}
            for name, pin in pins.items()
        ]  # fmt: skip

    def info(self) -> list[dict[str, Any]]:
        """For the page: what each is, how it is asked, what it can do, and its report."""
        found = []
        for name in self.names():
            stored, pin = self.get(name), self.workspace.pinned(_PIN + name)
            config: Any = getattr(stored.family, "config", None)
            found.append({
                "id": name, "family": stored.name, "by": stored.by, "classes": list(stored.classes),
                "shape": list(stored.family.space.shape), "uses": sorted(stored.family.uses),
                "steps": getattr(config, "steps", None), "solver": getattr(config, "solver", None),
                "generator": pin["generator"], "report": pin["report"],
            })  # fmt: skip
        return found

    def read(self, body: Mapping[str, Any]) -> ImageCall:
        """Raises RequestError for what is not known, of a wrong kind, or cannot be done by this generator."""
        if unknown := sorted(body.keys() - _KNOWN):
            raise invalid(unknown[0], "it is not a known field", f"Known: {', '.join(sorted(_KNOWN))}.")
        name = text(body, "model")
        stored = self.get(name)
        n = _whole(body, "n", 1, 1, _MOST)
        asked: dict[str, Any] = {key: _number(body, key, usual) for key, usual in _NUMBERS.items()}
        asked |= {"seed": _whole(body, "seed", 0, 0, 2**63 - 1), "solver": text(body, "solver") or None}
        if body.get("steps") is not None:
            asked["steps"] = _whole(body, "steps", 1, 1, 1000)
        if text(body, "response_format") not in ("", "b64_json"):
            raise invalid("response_format", "pictures are sent in base64 only", "Use b64_json.")
        _check_size(body, stored)
        if names := stored.asked_by(text(body, "prompt")):
            asked["given"] = stored.given([names[index % len(names)] for index in range(n)])
        shape = stored.family.space.picture
        if start := text(body, "start"):
            asked["start"] = _decoded("start", start, shape).expand(n, -1, -1, -1)
        if mask := text(body, "mask"):
            asked["keep"] = (_decoded("mask", mask, (1, *shape[1:])) <= 0).expand(n, *shape)
        if body.get("between") is not None:
            asked["noise"] = between(stored.family, asked["seed"], *_draws(body["between"]), n)
        usual = {one.name: one.default for one in fields(Ask)}
        ask = Ask(n, **{key: value for key, value in asked.items() if value is not usual[key]})
        check_ask(stored.family, ask)
        previews = _whole(body, "partial_images", 0, 0, 1000)
        return ImageCall(name or self.names()[0], stored, ask, flag(body, "stream", False), previews)

    def make(self, call: ImageCall, stop: threading.Event) -> Generator[ImageEvent, None, None]:
        """Previews where they are wanted, evenly over the steps, and the samples; ends early once `stop` is set."""
        with self._turn:
            frames = _without_gradient(call.stored.family.frames(call.ask))
            for frame in frames:
                if stop.is_set():
                    return
                last = frame.done == frame.of
                every = max(1, frame.of // (call.previews + 1))
                if last or (call.stream and call.previews and frame.done % every == 0):
                    yield ImageEvent(tuple(_png(one) for one in frame.x), frame.done, frame.of)


def whole(call: ImageCall, event: ImageEvent) -> dict[str, Any]:
    """OpenAI's reply."""
    data = [{"b64_json": base64.b64encode(picture).decode()} for picture in event.pictures]
    return {"created": int(time.time()), "data": data, "output_format": "png",
            "genwerk": {"model": call.model, "seed": call.ask.seed, "steps": event.of}}  # fmt: skip


def chunks(call: ImageCall, event: ImageEvent) -> Iterator[dict[str, Any]]:
    """OpenAI's events: of previews one for each picture, and of the samples too."""
    kind = "image_generation.completed" if event.last else "image_generation.partial_image"
    for index, picture in enumerate(event.pictures):
        yield {"type": kind, "b64_json": base64.b64encode(picture).decode(), "image_index": index,
               "partial_image_index": event.done - 1, "step": event.done, "steps": event.of,
               "seed": call.ask.seed, "created_at": int(time.time()), "output_format": "png"}  # fmt: skip


def _without_gradient(frames: Iterator[Any]) -> Iterator[Any]:
    """A generator's body runs in whoever asks for its next item, so the mode is set around each."""
    while True:
        with torch.no_grad():
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _png(x: Tensor) -> bytes:
    """Of a clip one that moves."""
    pixels = to_pixels(x)
    if len(pixels) not in (1, 3):
        return film([x], "PNG")
    return png(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def _decoded(name: str, encoded: str, shape: tuple[int, int, int]) -> Tensor:
    """(1, C, H, W) from -1 to 1. Raises RequestError: no base64, no picture, another size."""
    channels, height, width = shape
    try:
        data = base64.b64decode(encoded.removeprefix("data:image/png;base64,"), validate=True)
        image = Image.open(io.BytesIO(data))
        if image.size != (width, height):  # before a pixel of it is unpacked
            what = f"it has {image.width} × {image.height} pixels, the model makes {width} × {height}"
            raise invalid(name, what, "Bring it to that size first.")
        image.load()
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise invalid(name, "it is not a picture in base64", "Send a PNG file in base64.") from error
    return to_numbers(pixels_of(image, grey=channels == 1))[None]


def _check_size(body: Mapping[str, Any], stored: Stored) -> None:
    _, height, width = stored.family.space.picture
    size = text(body, "size")
    if size not in ("", "auto", f"{width}x{height}"):
        raise invalid("size", f"this generator makes {width}x{height}", "Leave it out.")


def _whole(body: Mapping[str, Any], name: str, usual: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return usual
    if type(value) is not int or not least <= value <= most:
        raise invalid(name, f"it is {value!r}", f"Use a whole number from {least} to {most}.")
    return value


def _number(body: Mapping[str, Any], name: str, usual: float) -> float:
    value = body.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e6:
        raise invalid(name, f"it is {value!r}", "Use a number.")
    return float(value)


def _draws(value: object) -> tuple[int, int]:
    if isinstance(value, list) and len(value) == 2 and all(type(one) is int and one >= 0 for one in value):
        return value[0], value[1]
    raise invalid("between", f"it is {value!r}", "Use two draws, such as [0, 5].")
