"""A trained family on disk: what it is, its weights, and averages of them to choose from.

family.json            family, its config, space, names of classes, how it is asked; layout, of sequences vocabulary
weights.safetensors    the average that is used
averages/W-N.safetensors   averages of width W after N steps, see ema.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.atomic import write_json
from genwerk.core.config import Config
from genwerk.core.errors import ModelError, RequestError
from genwerk.generators.captions import CaptionEncoder
from genwerk.generators.ema import Kept, average_afterwards
from genwerk.generators.family import Family, Space
from genwerk.models.weights import read_tensors, write_tensors

__all__ = ["CODECS", "FAMILIES", "PICTURES", "SEQUENCES", "Stored", "load_family", "make_family", "save_family",
           "settings_of"]  # fmt: skip

PICTURES = {
    "vae": "genwerk.generators.vae:VAE",
    "gan": "genwerk.generators.gan:GAN",
    "diffusion": "genwerk.generators.diffusion:Diffusion",
    "flow": "genwerk.generators.flow:Flow",
    "latent": "genwerk.generators.latent:Latent",
    "codes": "genwerk.generators.codes:Codes",
    "super_resolution": "genwerk.generators.super_resolution:SuperResolution",
}
SEQUENCES = {
    "autoregressive": "genwerk.generators.autoregressive:Autoregressive",
    "sequence_vae": "genwerk.generators.sequence_vae:SequenceVAE",
}
CODECS = {"latent": "vae", "codes": "vq"}
"""Families of pictures that draw codes, to the family of the codec that is trained before them."""
FAMILIES = PICTURES | SEQUENCES | {"vq": "genwerk.generators.vq:VQ"}
"""Name in recipes to where the class is; its config is the class of the same name with `Config` behind it."""


@dataclass(frozen=True)
class Stored:
    """A family that was loaded. by: class, text or nothing; classes: their names in order, or the only one there is;
    encoder: of texts."""

    family: Family
    name: str
    by: str
    classes: tuple[str, ...]
    path: Path
    encoder: str = ""
    layout: str = ""
    vocabulary: tuple[str, ...] = ()

    def asked_by(self, prompt: str) -> list[str]:
        """What a prompt asks for, draw after draw: a text, classes with commas between, or every class in turn."""
        if not prompt:
            return list(self.classes) if self.by == "class" else []
        return [prompt] if self.by == "text" else [name.strip() for name in prompt.split(",")]

    def given_of(self, labels: NDArray[np.int64], texts: Sequence[str] = ()) -> Tensor | None:
        """What asks for pictures of these classes (N,) and texts, in the way this one is asked; none where it is not.

        Raises as `given` does.
        """
        if self.by == "text":
            return self.given(texts)
        return torch.from_numpy(labels) if self.by == "class" else None

    def labels(self, prompt: str, n: int) -> list[str]:
        """Of each of n draws: what it is asked by; where nothing is, the only class there is, or ``."""
        names = self.asked_by(prompt) or self.classes or [""]
        return [names[index % len(names)] for index in range(n)]

    def given(self, names: Sequence[str]) -> Tensor:
        """(N,) classes by name, or (N, D) vectors of texts; `` for none.

        Raises RequestError for a class that is not known, a text that is too long, AssetError without the encoder.
        """
        if self.by == "text":
            return self._captions.embed(names)
        number = {name: index for index, name in enumerate(self.classes)} | {"": -1}
        if unknown := [name for name in names if name not in number]:
            known = ", ".join(self.classes) or "none: the model was trained without"
            raise RequestError(f"there is no class `{unknown[0]}`", param="prompt", remedy=f"Known classes: {known}.")
        return torch.tensor([number[name] for name in names])

    @cached_property
    def _captions(self) -> CaptionEncoder:
        known = self.encoder in KNOWN or ":" in self.encoder
        return CaptionEncoder(fetch(self.encoder) if known else Path(self.encoder))


def make_family(name: str, config: Config | Mapping[str, Any], space: Space) -> Family:
    """An untrained one, with weights drawn by torch's global generator. Raises ModelError for an unknown name."""
    settings = config if isinstance(config, Config) else settings_of(name, config)
    module, _, kind = _place(name)
    family: Family = getattr(import_module(module), kind)(settings, space)
    return family


def settings_of(
    name: str, values: Mapping[str, Any], *, makes: Literal["pictures", "sequences", "samples"] = "samples"
) -> Config:
    """The config of a family. Raises ModelError for an unknown one, and for one that makes something else; ConfigError
    for keys and values unknown to it."""
    able = {"pictures": PICTURES, "sequences": SEQUENCES, "samples": FAMILIES}[makes]
    if name in FAMILIES and name not in able:
        raise ModelError(f"`{name}` makes no {makes}", where="family", remedy=f"Known: {', '.join(able)}.")
    module, _, kind = _place(name)
    settings: Config = getattr(import_module(module), f"{kind}Config").parse(values, where=f"settings of {name}")
    return settings


def _place(name: str) -> tuple[str, str, str]:
    if name not in FAMILIES:
        raise ModelError(f"there is no family `{name}`", remedy=f"Known: {', '.join(FAMILIES)}.")
    return FAMILIES[name].partition(":")


def save_family(
    out: Path,
    name: str,
    config: Config,
    family: Family,
    *,
    by: str,
    classes: Sequence[str],
    encoder: str = "",
    kept: Sequence[Kept] = (),
    layout: str = "",
    vocabulary: Sequence[str] = (),
) -> None:
    """Write `family` with the weights that it holds."""
    record = {"family": name, "config": config.model_dump(mode="json"), "space": asdict(family.space), "by": by}
    record |= {"classes": list(classes), "encoder": encoder, "layout": layout, "vocabulary": list(vocabulary)}
    write_json(out / "family.json", record)
    write_tensors(out / "weights.safetensors", _plain(family.network.state_dict()))
    if kept:
        (out / "averages").mkdir(exist_ok=True)
    for one in kept:
        write_tensors(out / "averages" / f"{one.width:g}-{one.step}.safetensors", _plain(one.mean))


def load_family(path: Path, *, average: float | None = None) -> Stored:
    """What `save_family` wrote, ready to draw. average: another width than the one that was chosen in training.

    Raises ModelError: not there, spoilt, of an unknown family, weights that do not fit, or not finite.
    """
    try:
        record = json.loads((path / "family.json").read_text(encoding="utf-8"))
        shape = tuple(record["space"].pop("shape"))
        family = make_family(record["family"], record["config"], Space(shape, **record["space"]))
        weights = read_tensors(path / "weights.safetensors") if average is None else _averaged(path, average)
        family.network.load_state_dict(weights)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        remedy = "Name an artifact of a generator: `genwerk ls --kind generator` lists them."
        raise ModelError(
            f"no generator can be loaded: {str(error).splitlines()[0]}", where=str(path), remedy=remedy
        ) from error
    if not all(weight.isfinite().all() for weight in weights.values() if weight.is_floating_point()):
        raise ModelError("its weights are not finite", where=str(path), remedy="Train it again.")
    family.network.eval().requires_grad_(False)
    return Stored(family, record["family"], record["by"], tuple(record["classes"]), path, record["encoder"],
                  record.get("layout", ""), tuple(record.get("vocabulary", ())))  # fmt: skip


def _averaged(path: Path, width: float) -> dict[str, Tensor]:
    files = sorted((path / "averages").glob("*.safetensors"))
    places = [file.name.removesuffix(".safetensors").split("-") for file in files]
    kept = [Kept(int(step), float(wide), read_tensors(file)) for file, (wide, step) in zip(files, places, strict=True)]
    return average_afterwards(kept, max((one.step for one in kept), default=0), width)


def _plain(weights: Any) -> dict[str, Tensor]:
    return {name: weight.detach().cpu() for name, weight in weights.items()}
