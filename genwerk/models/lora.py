"""Low-rank adapters: a tuned model is the base model plus a small product per weight.

Source: Hu et al. (2021), LoRA: Low-Rank Adaptation of Large Language Models, eq. 3.

    y = W x + (alpha / r) B A x

A (r, d_in), drawn uniform as a linear layer's weight; B (d_out, r), zero at first; r the rank.

Chosen:   peft's names and files on disk; the A of all parts that share an input are stacked, their B lie on a block
          diagonal, so an adapter costs two products per shared weight, however many parts it tunes.
Left out: DoRA, rank-stabilised scaling, adapters on the embeddings (refused when read).
Try it:   genwerk run recipes/quickstart.yaml --no-serve
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.errors import ModelError
from genwerk.models.arrays import read_json
from genwerk.models.decoder import Decoder
from genwerk.models.linear import Linear
from genwerk.models.weights import read_tensors, write_tensors

__all__ = [
    "LoraConfig",
    "active_adapter",
    "adapter",
    "adapter_parameters",
    "adapter_products",
    "add_adapter",
    "load_adapter",
    "merge_adapter",
    "remove_adapter",
    "save_adapter",
    "use_adapter",
]

_PREFIX = "base_model.model.model."
_KEY = "adapter "  # keeps names such as `keys` apart from the attributes of a ModuleDict


class LoraConfig(Config):
    """Shape of an adapter."""

    rank: int = Field(16, ge=1, description="columns of B and rows of A")
    alpha: float = Field(32.0, gt=0, description="the product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's input that is dropped in training")
    targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="which weights are adapted",
    )


class Adapter(nn.Module):
    """The adapters of one `Linear`: x (..., d_in) -> (..., d_out), to be added to its output."""

    def __init__(self, linear: Linear, config: LoraConfig, like: Tensor) -> None:
        super().__init__()
        self.parts = [part for part in linear.rows if part in config.targets]
        self.sizes = [rows.stop - rows.start for rows in linear.rows.values()]
        self.slots = [self.parts.index(part) if part in self.parts else -1 for part in linear.rows]
        self.rank, self.scale, self.dropout = config.rank, config.alpha / config.rank, config.dropout
        new: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.a = nn.Parameter(torch.empty(len(self.parts) * self.rank, linear.d_in, **new))
        rows = linear.rows
        self.b = nn.ParameterList(
            torch.zeros(rows[part].stop - rows[part].start, self.rank, **new) for part in self.parts
        )
        self._kept: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        return F.linear(F.linear(x, self.a), self.spread())

    def spread(self) -> Tensor:
        """(d_out, parts * rank): the scaled B on a block diagonal. Kept between steps while B does not change."""
        if torch.is_grad_enabled():
            return self._spread()
        version = tuple(part._version for part in self.b)
        if self._kept is None or self._kept[0] != version:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = version, self._spread()
        return self._kept[1]

    def _spread(self) -> Tensor:
        blocks = [
            self.a.new_zeros(size, 0) if slot < 0 else self.b[slot]
            for slot, size in zip(self.slots, self.sizes, strict=True)
        ]
        diagonal: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        return diagonal * self.scale

    def part(self, name: str) -> tuple[Tensor, Tensor]:
        """Views of A (r, d_in) and B (d_out, r) of one part."""
        slot = self.parts.index(name)
        return self.a.detach()[slot * self.rank : (slot + 1) * self.rank], self.b[slot].detach()

    def train(self, mode: bool = True) -> Adapter:
        self._kept = None
        return super().train(mode)


def add_adapter(model: Decoder, name: str, config: LoraConfig, *, seed: int) -> None:
    """Put a fresh adapter on `model`, freeze the base weights and switch the adapter on.

    The model's answers are unchanged until the adapter is trained. Raises ModelError for a taken name or unknown
    targets.
    """
    _install(model, name, config)
    generator = torch.Generator().manual_seed(seed)
    for _, linear in _linears(model):
        if _has(linear, name):
            new = _of(linear, name)
            bound = 1 / math.sqrt(linear.d_in)
            drawn = torch.empty(new.a.shape).uniform_(-bound, bound, generator=generator)
            new.a.data.copy_(drawn)
    for key, parameter in model.named_parameters():
        if ".adapters." not in key:
            parameter.requires_grad_(False)
    use_adapter(model, name)


def use_adapter(model: Decoder, name: str | None) -> None:
    """Switch to the adapter `name`, or to the base model with None. Raises ModelError for an unknown name."""
    linears = list(_linears(model))
    if name is not None and not any(_has(linear, name) for _, linear in linears):
        known = sorted({key for _, linear in linears for key in _names(linear)})
        raise ModelError(f"the model has no adapter `{name}`", remedy=f"Known adapters: {', '.join(known) or 'none'}.")
    for _, linear in linears:
        linear.active = _of(linear, name).forward if name is not None and _has(linear, name) else None


def active_adapter(model: Decoder) -> str | None:
    """The name of the adapter in use."""
    for _, linear in _linears(model):
        for name in _names(linear):
            if linear.active == _of(linear, name).forward:
                return name
    return None


@contextmanager
def adapter(model: Decoder, name: str | None) -> Iterator[None]:
    """Use `name` while the block runs, then what was in use before."""
    before = active_adapter(model)
    use_adapter(model, name)
    try:
        yield
    finally:
        use_adapter(model, before)


def remove_adapter(model: Decoder, name: str) -> None:
    """Take the adapter off the model; if it was in use, the base model is in use after."""
    _require(model, name)
    if active_adapter(model) == name:
        use_adapter(model, None)
    for _, linear in _linears(model):
        if _has(linear, name):
            del linear.adapters[_KEY + name]


def merge_adapter(model: Decoder, name: str) -> None:
    """Add the adapter's product into the base weights, W <- W + (alpha / r) B A, and take the adapter off."""
    _require(model, name)
    with torch.no_grad():
        for _, linear in _linears(model):
            if _has(linear, name):
                one = _of(linear, name)
                for part in one.parts:
                    a, b = one.part(part)
                    linear.weight[linear.rows[part]] += one.scale * (b @ a)
    remove_adapter(model, name)


def adapter_parameters(model: Decoder, name: str) -> list[nn.Parameter]:
    """All weights of the adapter, in the order of the layers."""
    _require(model, name)
    return [
        parameter for _, linear in _linears(model) if _has(linear, name) for parameter in _of(linear, name).parameters()
    ]


class Products(NamedTuple):
    """y += b (a x): a (r, d_in), b (d_out, r) with the scale in it; r counts the ranks of all adapted parts."""

    a: Tensor
    b: Tensor


def adapter_products(linear: Linear, name: str) -> Products | None:
    """What the adapter `name` adds to this weight's output, or None if it leaves it alone."""
    if not _has(linear, name):
        return None
    one = _of(linear, name)
    with torch.no_grad():
        return Products(one.a.detach(), one.spread().detach())


def save_adapter(model: Decoder, name: str, path: Path, base_model_name: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors as peft does."""
    _require(model, name)
    tensors: dict[str, Tensor] = {}
    first: Adapter | None = None
    targets: set[str] = set()
    for prefix, linear in _linears(model):
        if _has(linear, name):
            first = first or _of(linear, name)
            for part in _of(linear, name).parts:
                a, b = _of(linear, name).part(part)
                targets.add(part)
                tensors[f"{_PREFIX}{prefix}.{part}.lora_A.weight"] = a.contiguous().cpu()
                tensors[f"{_PREFIX}{prefix}.{part}.lora_B.weight"] = b.contiguous().cpu()
    assert first is not None
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / "adapter_model.safetensors", tensors)
    write_json(
        path / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base_model_name,
            "r": first.rank,
            "lora_alpha": _whole(first.scale * first.rank),
            "lora_dropout": first.dropout,
            "target_modules": sorted(targets),
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "init_lora_weights": True,
            "use_rslora": False,
            "use_dora": False,
            "modules_to_save": None,
        },
    )


def load_adapter(model: Decoder, name: str, path: Path) -> None:
    """Read an adapter directory (ours or peft's) under `name`; it is not switched on.

    Raises ModelError for missing, truncated or unsupported files and for shapes that do not fit the model.
    """
    settings = read_json(path / "adapter_config.json")
    config = _read_config(settings, path / "adapter_config.json")
    tensors = read_tensors(path / "adapter_model.safetensors")
    _install(model, name, config)
    try:
        _fill(model, name, tensors, path / "adapter_model.safetensors")
    except ModelError:
        remove_adapter(model, name)
        raise


def _fill(model: Decoder, name: str, tensors: dict[str, Tensor], file: Path) -> None:
    used = set()
    for prefix, linear in _linears(model):
        if not _has(linear, name):
            continue
        for part in _of(linear, name).parts:
            for letter, slot in zip("AB", _of(linear, name).part(part), strict=True):
                key = f"{_PREFIX}{prefix}.{part}.lora_{letter}.weight"
                found = tensors.get(key)
                if found is None or found.shape != slot.shape:
                    got = "is missing" if found is None else f"is {tuple(found.shape)}"
                    raise ModelError(
                        f"adapter weight {key} {got}, the model needs {tuple(slot.shape)}",
                        where=str(file),
                        remedy="Use the adapter with the base model it was tuned on.",
                    )
                slot.copy_(found)
                used.add(key)
    left = sorted(set(tensors) - used)
    if left:
        raise ModelError(
            f"the adapter has weights the model has no place for, such as {left[0]}",
            where=str(file),
            remedy="Use the adapter with the base model it was tuned on.",
        )


def _read_config(settings: dict[str, Any], file: Path) -> LoraConfig:
    unsupported = [key for key in ("use_dora", "use_rslora", "fan_in_fan_out", "modules_to_save") if settings.get(key)]
    unsupported += [key for key in ("rank_pattern", "alpha_pattern", "layers_to_transform") if settings.get(key)]
    if settings.get("bias", "none") != "none":
        unsupported.append("bias")
    if settings.get("peft_type", "LORA") != "LORA" or unsupported:
        named = ", ".join(unsupported) or f"peft_type {settings['peft_type']}"
        raise ModelError(f"the adapter uses {named}", where=str(file), remedy="Only plain LoRA adapters can be read.")
    targets = settings.get("target_modules") or ()
    if isinstance(targets, str):
        raise ModelError("target_modules is a pattern", where=str(file), remedy="List the names of the modules.")
    return LoraConfig.parse(
        {
            "rank": settings.get("r"),
            "alpha": settings.get("lora_alpha"),
            "dropout": settings.get("lora_dropout", 0.0),
            "targets": tuple(sorted(targets)),
        },
        where=str(file),
    )


def _install(model: Decoder, name: str, config: LoraConfig) -> None:
    linears = list(_linears(model))
    if any(_has(linear, name) for _, linear in linears):
        raise ModelError(f"the model already has an adapter `{name}`", remedy="Take another name or remove it first.")
    if not name or "." in name:
        raise ModelError(f"`{name}` cannot name an adapter", remedy="Use letters, digits, - and _.")
    known = {part for _, linear in linears for part in linear.rows}
    unknown = sorted(set(config.targets) - known)
    if unknown:
        raise ModelError(
            f"the model has no weight named {', '.join(unknown)}", remedy=f"Known targets: {', '.join(sorted(known))}."
        )
    for _, linear in linears:
        if linear.rows.keys() & set(config.targets):
            linear.adapters[_KEY + name] = Adapter(linear, config, linear.weight).train(linear.training)


def _linears(model: Decoder) -> Iterator[tuple[str, Linear]]:
    """(path of the parts in Hugging Face names, as `layers.0.self_attn`; the shared weight)."""
    for path, module in model.named_modules():
        if isinstance(module, Linear):
            yield path.rpartition(".")[0], module


def _has(linear: Linear, name: str) -> bool:
    return _KEY + name in linear.adapters


def _names(linear: Linear) -> list[str]:
    return [key.removeprefix(_KEY) for key in linear.adapters]


def _of(linear: Linear, name: str) -> Adapter:
    found = linear.adapters[_KEY + name]
    assert isinstance(found, Adapter)
    return found


def _require(model: Decoder, name: str) -> None:
    if not any(_has(linear, name) for _, linear in _linears(model)):
        raise ModelError(f"the model has no adapter `{name}`", remedy="Add or load it first.")


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
