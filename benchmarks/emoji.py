"""Emoji by name: our latent flow beside a U-Net of diffusers with DDIM, on the same pictures, for the same time.

    python benchmarks/emoji.py                  both, as long as the recipe says
    python benchmarks/emoji.py --minutes 5      the peer's time; ours is the recipe's

The peer is what diffusers' own training example does: UNet2DModel, DDPM's noise, MSE, AdamW with warmup and cosine, an
exponential average of the weights; texts are told by a linear map of the same vectors. It says the velocity and not the
noise, and learns at 5e-4 and not at 1e-4: after the few hundred steps that two cores take, the example's own choices
draw nothing but noise (`--like-the-example`). Both draw a picture for every
held-out name, and are seen by the same features. Prompts that are no names are drawn to `--pictures`.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import genwerk
from genwerk.core.artifact import Artifact
from genwerk.core.cache import cache_directory
from genwerk.core.progress import say, track
from genwerk.core.workspace import Workspace
from genwerk.evaluation.grids import grid, save_picture
from genwerk.generators.captions import load_vectors
from genwerk.generators.family import Ask, sample
from genwerk.generators.features import load_features, see
from genwerk.generators.picture_examples import PictureExamples
from genwerk.generators.storage import load_family
from genwerk.metrics.bootstrap import interval
from genwerk.metrics.distance_interval import distance_interval
from genwerk.metrics.features import Features
from genwerk.metrics.kernel_distance import kernel_distance
from genwerk.metrics.novelty import novelty
from genwerk.metrics.prdc import prdc
from genwerk.recipes.generating import load_generator_recipe, run_generator_recipe

RECIPE = Path(genwerk.__file__).parent / "recipes" / "emoji.yaml"
PROMPTS = (
    "a red apple",
    "smiling cat",
    "blue car",
    "green tree",
    "a house at night",
    "dragon",
    "yellow flower",
    "ship",
)
STEPS, BATCH = 50, 32
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="of the peer's training; default: ours, codec and flow together")
    parser.add_argument("--like-the-example", action="store_true", help="the peer says the noise, and learns at 1e-4")
    parser.add_argument("--pictures", type=Path, default=Path("."), help="folder for the grids")
    options = parser.parse_args()
    workspace = Workspace(cache_directory() / "benchmarks" / "emoji")
    recipe = load_generator_recipe(RECIPE)
    outcome = run_generator_recipe(recipe, workspace)
    parts = outcome.parts
    generator = workspace.find(parts["generator"].id)
    (of_texts,) = (one for one in map(workspace.find, generator.parents) if one.kind == "vectors")
    vectors = load_vectors(of_texts.path)
    examples = PictureExamples.open(parts["pictures"].path, "text", vectors)
    assert recipe.codec is not None
    minutes = options.minutes or sum(one.minutes or 0 for one in (recipe.codec.fit, recipe.fit))
    stored = load_family(generator.path)
    count = examples.counts[1]
    drawn = {"latent flow": sample(stored.family, Ask(count, 0, given=vectors[1]), show=True)}
    peer = Peer(examples, 60 * minutes, "epsilon" if options.like_the_example else "v_prediction")
    drawn["diffusers"] = peer.sample(vectors[1])
    _print(drawn, examples, parts["features"])
    options.pictures.mkdir(parents=True, exist_ok=True)
    asked = stored.given(PROMPTS)
    rows = [sample(stored.family, Ask(len(PROMPTS), 1, given=asked)).unbind(), peer.sample(asked).unbind()]
    save_picture(grid(rows), options.pictures / "emoji-prompts.png")
    for name, x in drawn.items():
        rows = [x[start : start + 10].unbind() for start in range(0, 60, 10)]
        save_picture(grid(rows), options.pictures / f"emoji-{name.replace(' ', '-')}.png")


class Peer:
    """diffusers' U-Net, trained for as many steps as go into so many seconds, by timing four."""

    def __init__(self, examples: PictureExamples, seconds: float, says: str) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        torch.manual_seed(0)
        channels, side, _ = examples.space.picture
        widths = (32, 64, 128, 128)
        self.network: Any = UNet2DModel(
            sample_size=side, in_channels=channels, out_channels=channels, layers_per_block=1,
            block_out_channels=widths,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=8,
            class_embed_type="identity",
        )  # fmt: skip
        self.told = nn.Linear(examples.space.vector, 4 * widths[0])
        highest = 1e-4 if says == "epsilon" else 5e-4
        noise = DDPMScheduler(prediction_type=says)
        self.solver = DDIMScheduler(prediction_type=says, timestep_spacing="trailing")
        self.shape = (channels, side, side)
        weights = [*self.network.parameters(), *self.told.parameters()]
        optimiser, average = torch.optim.AdamW(weights, highest, weight_decay=0.0), EMAModel(weights, decay=0.999)
        steps = round(seconds / (sum(self._seconds(examples, weights) for _ in range(4)) / 4))
        started = time.perf_counter()
        with track("diffusers", total=steps, unit="steps") as bar:
            for step in range(steps):
                batch = examples.batch(BATCH, 0, turn=step, device=CPU)
                t = torch.randint(0, 1000, (BATCH,))
                eps = torch.randn_like(batch.x)
                found = self._call(noise.add_noise(batch.x, eps, t), t, batch.given)
                wanted = eps if says == "epsilon" else noise.get_velocity(batch.x, eps, t)
                loss = (found - wanted).square().mean()
                for group in optimiser.param_groups:
                    group["lr"] = highest * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
                optimiser.zero_grad()
                average.step(weights)
                bar.advance(note=f"loss {float(loss):.3f}")
        average.copy_to(weights)
        spent, many = time.perf_counter() - started, sum(w.numel() for w in weights)
        say(f"diffusers: {steps} steps of {BATCH} in {spent:.0f} s, {many:,} parameters")

    def _seconds(self, examples: PictureExamples, weights: list[nn.Parameter]) -> float:
        """What one step takes; nothing is learned from it."""
        started = time.perf_counter()
        batch = examples.batch(BATCH, 0, turn=0, device=CPU)
        self._call(batch.x, torch.zeros(BATCH, dtype=torch.long), batch.given).square().mean().backward()
        seconds = time.perf_counter() - started
        for weight in weights:
            weight.grad = None
        return seconds

    def _call(self, x: Tensor, t: Tensor, given: Tensor | None) -> Tensor:
        assert given is not None
        found: Tensor = self.network(x, t, class_labels=self.told(given)).sample
        return found

    @torch.no_grad()
    def sample(self, given: Tensor) -> Tensor:
        torch.manual_seed(0)
        self.solver.set_timesteps(STEPS)
        done = []
        for part in given.split(64):
            x = torch.randn(len(part), *self.shape)
            for t in self.solver.timesteps:
                x = self.solver.step(self._call(x, t.expand(len(part)), part), t, x).prev_sample
            done.append(x.clamp(-1, 1))
        return torch.cat(done)


def _print(drawn: dict[str, Tensor], examples: PictureExamples, features: Artifact) -> None:
    """KID, coverage, and how many lie nearer to a learned picture than to a held-out one, of features."""
    network = load_features(features.path)
    held_out = see(network, examples.batch_of(range(examples.counts[1]), CPU, held_out=True).x).features
    rows = np.sort(np.random.default_rng(0).permutation(examples.counts[0])[: len(held_out)])
    learned = see(network, examples.batch_of(rows.tolist(), CPU).x).features
    print(f"{'':14s}{'kernel distance (95 %)':>30s}{'coverage':>10s}{'precision':>11s}{'to learned (95 %)':>24s}")
    for name, seen in {**{name: see(network, x).features for name, x in drawn.items()}, "floor": learned}.items():
        distance = distance_interval(kernel_distance, seen, held_out, n=40)
        like, new = prdc(held_out, seen, k=5), novelty(seen, learned, held_out)
        span = f"{distance.mean:.2f} ({distance.low:.2f} to {distance.high:.2f})"
        copied = f"{new.share:.3f} ({new.low:.3f} to {new.high:.3f})" if name != "floor" else "0.5"
        print(f"{name:14s}{span:>30s}{like.coverage:10.3f}{like.precision:11.3f}{copied:>24s}")
    ours, theirs = (see(network, x).features for x in drawn.values())
    _print_differences(ours, theirs, learned, held_out)


def _print_differences(ours: Features, theirs: Features, learned: Features, held_out: Features) -> None:
    """Ours less theirs, with 95 % intervals: row i of both was drawn for the same name, and is drawn again with it."""
    both = np.concatenate([ours, theirs], 1)
    apart = distance_interval(
        lambda x, y: kernel_distance(x[:, : ours.shape[1]], y) - kernel_distance(x[:, ours.shape[1] :], y),
        both, held_out, n=400,
    )  # fmt: skip
    reach = np.sort(np.linalg.norm(held_out[:, None] - held_out, axis=2), 1)[:, 5]  # the sixth is the fifth of others
    covered = [np.linalg.norm(held_out[:, None] - x, axis=2).min(1) <= reach for x in (ours, theirs)]
    nearer = [
        np.linalg.norm(x[:, None] - learned, axis=2).min(1) < np.linalg.norm(x[:, None] - held_out, axis=2).min(1)
        for x in (ours, theirs)
    ]
    found = {"kernel distance": apart}
    for name, (a, b) in {"coverage": covered, "to learned": nearer}.items():
        found[name] = interval((a.astype(float) - b.astype(float)).tolist())
    for name, one in found.items():
        print(f"ours less theirs, {name}: {one.mean:.3f} ({one.low:.3f} to {one.high:.3f})")


if __name__ == "__main__":
    main()
