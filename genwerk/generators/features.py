"""Features that reports compare pictures by: a small network that learned to tell the real ones' classes, then frozen.

    features (B, 128)   what it says just before the classes;    classes (B,)   what it takes a picture for

It learns from the pictures that families learn from, and its accuracy on held-out ones is printed beside every number
that stands on it. Pictures without classes, or whose classes should not matter, are turned by quarters, and the network
learns to tell how far.

Source: Heusel et al. (2017) for distances in a classifier's features; Gidaris et al. (2018), RotNet, for turns.

Chosen:   numbers made with such features say which of two families is nearer to these pictures; they compare with no
          number of another collection, and are never called FID.
Left out: features of a network that saw other pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from genwerk.core.atomic import write_json
from genwerk.core.config import Config, Field
from genwerk.core.workspace import Artifact, Step
from genwerk.data.pictures import PictureSet
from genwerk.generators.augment import augment
from genwerk.generators.picture_examples import PictureExamples, to_numbers
from genwerk.models.arrays import read_json
from genwerk.models.convnet import PictureEncoder
from genwerk.models.weights import read_tensors, write_tensors
from genwerk.training.device import choose_device
from genwerk.training.gradients import check_finite, clip_gradients
from genwerk.training.optimiser import make_adamw, set_lr
from genwerk.training.resume import RunState
from genwerk.training.schedule import cosine_with_warmup
from genwerk.training.seeding import deterministic, seed_step
from genwerk.training.watch import watch_run

__all__ = ["FeatureNetwork", "FeaturesConfig", "Seen", "load_features", "see", "train_features"]

_TURNS = 4


class FeaturesConfig(Config):
    """How the network learns; a minute or two on two cores."""

    steps: int = Field(600, ge=1, description="optimiser steps")
    batch: int = Field(128, ge=1, description="pictures in a step")
    width: int = Field(32, ge=1, description="channels at half the size, doubled with every halving")
    lr: float = Field(2e-3, gt=0, description="highest learning rate")
    tell: Literal["classes", "turns"] = Field("classes", description="what is told apart; turns where there are none")
    checkpoint_every: int = Field(200, ge=1, description="steps that a kill can cost at most")
    seed: int = Field(0, ge=0, description="initial weights and order of the pictures")


class FeatureNetwork(nn.Module):
    """(B, C, H, W) to features (B, 128) and scores of classes (B, classes)."""

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int) -> None:
        super().__init__()
        self.encoder = PictureEncoder(shape, 128, width=width)
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = F.silu(self.encoder(x))
        return features, self.head(F.dropout(features, 0.2, self.training))


@dataclass(frozen=True, slots=True)
class Seen:
    """features (N, 128) float64; classes (N,): what each is taken for."""

    features: NDArray[np.float64]
    classes: NDArray[np.int64]


def train_features(config: FeaturesConfig, step: Step, pictures: Artifact) -> Mapping[str, float | int | str]:
    """Train on a pictures artifact; killed and started again it ends in the same files."""
    train = PictureExamples.open(pictures.path, "nothing").train
    turned = len(train.classes) < 2 or config.tell == "turns"
    ways = () if train.layout == "sound" else ("shift",)  # a pitch is where it lies
    examples = PictureExamples.open(pictures.path, "nothing" if turned else "class")
    classes = _TURNS if turned else len(examples.train.classes)
    device = choose_device("float32")
    with deterministic(device.where):
        seed_step(config.seed)
        network = FeatureNetwork(examples.space.picture, classes, config.width).to(device.where).train()
        optimiser = make_adamw(network.parameters(), config.lr, 0.05)
        state = RunState(step.scratch, network=network, optimiser=optimiser)
        with watch_run("features", step.events, total=config.steps, done=state.step, unit="pictures") as watch:
            while state.step < config.steps:
                lr = config.lr * cosine_with_warmup(state.step, config.steps, 50)
                set_lr(optimiser, lr)
                seed_step(config.seed, state.step)
                with watch.step(config.batch):
                    batch = examples.batch(config.batch, config.seed, turn=state.step, device=device.where)
                    x, target = _turned(batch.x) if turned else (batch.x, batch.given)
                    assert target is not None
                    loss = F.cross_entropy(network(augment(x, ways))[1], target)
                    loss.backward()  # type: ignore[no-untyped-call]
                    norm = clip_gradients(network.parameters(), 1.0).norm
                    check_finite(state.step + 1, float(loss.detach()), norm, lr)
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
                state.step += 1
                state.curve.add({"step": state.step, "loss": float(loss.detach()), "lr": lr})
                if state.step % config.checkpoint_every == 0:
                    state.save()
                watch.done(state.step, float(loss.detach()))
    network.eval()
    right = _accuracy(network, examples.held_out, turned=turned)
    write_json(step.out / "features.json", {"shape": examples.space.shape, "classes": classes, "width": config.width,
                                            "turned": turned, "accuracy": right})  # fmt: skip
    write_tensors(step.out / "weights.safetensors", {name: w.cpu() for name, w in network.state_dict().items()})
    state.curve.finish(step.out / "loss.jsonl")
    return {"accuracy": right, "told apart": "turns" if turned else "classes", "seconds": round(watch.seconds, 2)}


def load_features(path: Path) -> FeatureNetwork:
    """What `train_features` wrote. Raises ModelError where it is missing."""
    record = read_json(path / "features.json")
    channels, height, width = record["shape"]
    network = FeatureNetwork((channels, height, width), record["classes"], record["width"])
    network.load_state_dict(read_tensors(path / "weights.safetensors"))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def see(network: FeatureNetwork, x: Tensor, *, together: int = 256) -> Seen:
    """What pictures (N, C, H, W) from -1 to 1 are like."""
    parts = [network(x[start : start + together]) for start in range(0, len(x), together)]
    features = torch.cat([features for features, _ in parts]).double().numpy()
    return Seen(features, torch.cat([scores.argmax(1) for _, scores in parts]).numpy())


def _turned(x: Tensor) -> tuple[Tensor, Tensor]:
    """Every picture by a quarter's multiple of its own, and how many."""
    times = torch.randint(0, _TURNS, (len(x),), device=x.device)
    turned = torch.stack([torch.rot90(one, int(count), (1, 2)) for one, count in zip(x, times, strict=True)])
    return turned, times


def _accuracy(network: FeatureNetwork, pictures: PictureSet, *, turned: bool) -> float:
    x = to_numbers(pictures.pixels)
    if not turned:
        return float((see(network, x).classes == pictures.labels).mean())
    each = [float((see(network, torch.rot90(x, times, (2, 3))).classes == times).mean()) for times in range(_TURNS)]
    return sum(each) / _TURNS
