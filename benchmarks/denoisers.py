"""Pictures a second, sampled and learned from: our denoisers beside diffusers, with the same weights and steps.

    python benchmarks/denoisers.py                    sampling, then a step of training: about 15 minutes
    python benchmarks/denoisers.py sampling --plain   without torch.compile: three minutes

sampling   digits of 28 × 28 and pictures of 64 × 64 by one U-Net with the same weights; theirs with the scheduler of
           flow matching in the loop of a pipeline, ours by `family.sample`; the same pictures come out
training   a step with clipping, AdamW and an average of the weights: our trainer beside the loop of diffusers' own
           example with flow matching's loss

Compiled: `torch.compile` of the network, the time of compiling apart. Pairs by turns, two threads, float32; medians,
with the smallest and the largest. A transformer (DiT) is timed as it is and compiled, without a peer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genwerk.core.progress import say, track
from genwerk.generators.ema import WIDTHS, PowerAverage
from genwerk.generators.family import Ask, Batch, Space, sample
from genwerk.generators.flow import Flow, FlowConfig
from genwerk.generators.networks import NetworkConfig
from genwerk.generators.noise import Noise
from genwerk.models.unet import UNet
from genwerk.training.gradients import clip_gradients
from genwerk.training.optimiser import make_adamw

SIZES = {"digits, 28": ((1, 28, 28), 32, (1, 2, 2), 64), "pictures, 64": ((3, 64, 64), 32, (1, 2, 4, 4), 16)}
"""Shape, width, multipliers, and how many are made together."""
STEPS, PAIRS, MOVES = 8, 7, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["sampling", "training", []], help="both when left out")
    parser.add_argument("--plain", action="store_true", help="without torch.compile")
    options = parser.parse_args()
    print(f"{'':44s}{'genwerk, 1/s':>22s}{'diffusers, 1/s':>22s}{'ratio':>20s}")
    for title, size in SIZES.items():
        if "sampling" in (options.what or ["sampling"]):
            sampling(title, *size, compiled=not options.plain)
        if "training" in (options.what or ["training"]):
            training(title, *size, compiled=not options.plain)
    if "sampling" in (options.what or ["sampling"]) and not options.plain:
        transformer()


def sampling(title: str, shape: tuple[int, int, int], width: int, levels: Sequence[int], count: int, *,
             compiled: bool) -> None:  # fmt: skip
    """The same pictures by both, as they are and compiled."""
    ours, theirs = pair(shape, width, levels)
    given = torch.arange(count) % 10
    peer = Peer(theirs, shape)
    a, b = sample(ours, _ask(count, given)), peer.sample(given)
    apart = float((a - b).abs().max())
    if apart > 1e-3:
        raise SystemExit(f"{title}: the pictures differ by {apart:.1e}, so the two did not do the same work")
    runs = [lambda: sample(ours, _ask(count, given)), lambda: peer.sample(given)]
    compare(f"{title}: {count} together, {STEPS} steps", runs, count)
    if compiled:
        for network in (ours, peer):
            network.network = torch.compile(network.network)  # type: ignore[assignment]
        spent = [_seconds(run) for run in runs]
        compare(f"{title}: compiled ({spent[0]:.0f} s, {spent[1]:.0f} s)", runs, count)


def training(title: str, shape: tuple[int, int, int], width: int, levels: Sequence[int], count: int, *,
             compiled: bool) -> None:  # fmt: skip
    """Steps of both on random pictures."""
    ours, theirs = pair(shape, width, levels)
    x, given = torch.rand(count, *shape) * 2 - 1, torch.arange(count) % 10
    own, other = Ours(ours), Theirs(theirs)
    runs = [lambda: own.move(Batch(x, given)), lambda: other.move(x, given)]
    compare(f"{title}: learned from, {count} a step", [_times(run) for run in runs], MOVES * count)
    if compiled:
        own.family.network, other.network = (torch.compile(one) for one in (own.family.network, other.network))  # type: ignore[assignment]
        spent = [_seconds(run) for run in runs]
        compare(f"{title}: the same compiled ({spent[0]:.0f} s, {spent[1]:.0f} s)",
                [_times(run) for run in runs], MOVES * count)  # fmt: skip


def transformer() -> None:
    """A latent's transformer, eager beside compiled."""
    config = NetworkConfig(kind="dit", width=256, depth=6, heads=4, patch=1)
    flow = Flow(FlowConfig(network=config), Space((4, 8, 8), vector=384))
    given = nn.functional.normalize(torch.randn(64, 384), dim=1)
    run = lambda: sample(flow, Ask(64, given=given, steps=STEPS, solver="euler"))  # noqa: E731
    rates = _rates([run], 64)[0]
    flow.network = torch.compile(flow.network)  # type: ignore[assignment]
    spent = _seconds(run)
    fast = _rates([run], 64)[0]
    ratios = [a / b for a, b in zip(fast, rates, strict=True)]
    print(f"{f'transformer, compiled ({spent:.0f} s) beside as it is':44s}{_span(fast):>22s}{_span(rates):>22s}"
          f"{_span(ratios):>20s}")  # fmt: skip


def pair(shape: tuple[int, int, int], width: int, levels: Sequence[int]) -> tuple[Flow, Any]:
    """Our flow and a U-Net of diffusers, with the same weights."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    network = NetworkConfig(width=width, multipliers=tuple(levels))
    flow = Flow(FlowConfig(network=network), Space(shape, classes=10))
    for weight in flow.network.parameters():
        if not weight.any():  # layers that begin as nothing would be nothing here
            nn.init.normal_(weight, std=0.05)
    theirs: Any = UNet2DModel(
        sample_size=shape[1], in_channels=shape[0], out_channels=shape[0], layers_per_block=1,
        block_out_channels=tuple(width * level for level in levels), num_class_embeds=10, norm_num_groups=8,
        down_block_types=("DownBlock2D",) * len(levels), up_block_types=("UpBlock2D",) * len(levels),
        add_attention=False, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    assert isinstance(flow.network, UNet)
    lend_weights(flow.network, theirs)
    return flow, theirs


@torch.no_grad()
def lend_weights(ours: UNet, theirs: Any) -> None:
    """Our weights to a U-Net of diffusers of the same form, whose norms are made to share out channels as ours do."""
    for owner in [part for part in theirs.modules() if not isinstance(part, nn.GroupNorm)]:
        for name, part in list(owner.named_children()):
            if isinstance(part, nn.GroupNorm):
                setattr(owner, name, nn.GroupNorm(part.num_channels // 8, part.num_channels))
    down: list[nn.Module] = []
    for block in theirs.down_blocks:
        down += [*block.resnets, *(one.conv for one in block.downsamplers or ())]
    up: list[nn.Module] = []
    for block in theirs.up_blocks:
        up += [*block.resnets, *(one.conv for one in block.upsamplers or ())]
    bends = iter(zip(ours.bend.weight.split(ours.bent), ours.bend.bias.split(ours.bent), strict=True))
    simple = [(ours.first, theirs.conv_in), (ours.last, theirs.conv_out), (ours.norm, theirs.conv_norm_out),
              (ours.time[0], theirs.time_embedding.linear_1), (ours.time[2], theirs.time_embedding.linear_2),
              (ours.condition.table, theirs.class_embedding)]  # fmt: skip
    staged = [*zip(ours.down, down, strict=True), *zip(ours.middle, theirs.mid_block.resnets, strict=True),
              *zip(ours.up, up, strict=True)]  # fmt: skip
    for mine, other in staged:
        if isinstance(mine, nn.Conv2d):
            simple.append((mine, other))
            continue
        names = {"norm_in": "norm1", "conv_in": "conv1", "norm_out": "norm2", "conv_out": "conv2",
                 "skip": "conv_shortcut"}  # fmt: skip
        weight, bias = next(bends)
        other.time_emb_proj.load_state_dict({"weight": weight, "bias": bias})
        simple += [(getattr(mine, name), getattr(other, named)) for name, named in names.items()]
    for mine, other in simple:
        if not isinstance(mine, nn.Identity):
            other.load_state_dict(mine.state_dict())


class Peer:
    """diffusers' network in the loop of its pipelines."""

    def __init__(self, network: Any, shape: tuple[int, int, int]) -> None:
        from diffusers import FlowMatchEulerDiscreteScheduler

        self.network, self.shape = network.eval(), shape
        self.scheduler = FlowMatchEulerDiscreteScheduler(1000, shift=1.0)

    @torch.no_grad()
    def sample(self, given: Tensor) -> Tensor:
        times = [1 - step / STEPS for step in range(STEPS)]
        self.scheduler.set_timesteps(sigmas=times)
        x = Noise(0, len(given)).draw(self.shape)
        for t in self.scheduler.timesteps:
            found = self.network(x, t.expand(len(given)), class_labels=given).sample
            x = self.scheduler.step(found, t, x).prev_sample
        return x.clamp(-1, 1)


class Ours:
    """What our trainer does in a step, by its own parts."""

    def __init__(self, family: Flow) -> None:
        self.family = family
        self.player = family.players()[0]
        self.optimiser = make_adamw(family.network.parameters(), self.player.lr, 0.0, self.player.betas)
        self.averages = [PowerAverage(width) for width in WIDTHS]

    def move(self, batch: Batch) -> None:
        loss = self.family.loss(batch)
        loss.value.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self.player.module.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for average in self.averages:
            average.update(self.player.module.state_dict())


class Theirs:
    """The loop of diffusers' example of unconditional training, with flow matching's loss."""

    def __init__(self, network: Any) -> None:
        from diffusers.training_utils import EMAModel

        self.network = network.train()
        self.weights = list(network.parameters())
        self.optimiser = torch.optim.AdamW(self.weights, 1e-3, betas=(0.9, 0.99), weight_decay=0.0)
        self.average = EMAModel(self.weights, decay=0.9999)

    def move(self, x: Tensor, given: Tensor) -> None:
        noise, t = torch.randn_like(x), torch.sigmoid(torch.randn(len(x)))
        share = t[:, None, None, None]
        found = self.network((1 - share) * x + share * noise, 1000 * t, class_labels=given).sample
        loss = nn.functional.mse_loss(found, noise - x)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.step(self.weights)


def compare(title: str, runs: Sequence[Callable[[], object]], count: int) -> None:
    rates = _rates(runs, count)
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    print(f"{title:44s}{_span(rates[0]):>22s}{_span(rates[1]):>22s}{_span(ratios):>20s}", flush=True)


def _rates(runs: Sequence[Callable[[], object]], count: int) -> list[list[float]]:
    """Of each, PAIRS times by turns, after one that is not counted."""
    rates: list[list[float]] = [[] for _ in runs]
    with track("by turns", total=PAIRS + 1, unit="turns") as bar:
        for turn in range(PAIRS + 1):
            for run, kept in zip(runs, rates, strict=True):
                spent = _seconds(run)
                if turn:
                    kept.append(count / spent)
            bar.advance()
    return rates


def _ask(count: int, given: Tensor) -> Ask:
    return Ask(count, given=given, steps=STEPS, solver="euler")


def _times(run: Callable[[], object]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(MOVES):
            run()

    return repeated


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _span(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g}–{max(values):.4g})"


if __name__ == "__main__":
    say(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {Path(__file__).name}")
    main()
