"""A codec with a table that has learned the small pictures; made once, and never changed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from picture_world import pictures, step_in

from genwerk.generators.family import Space
from genwerk.generators.loop import FitConfig, fit
from genwerk.generators.picture_examples import PictureExamples
from genwerk.generators.vq import VQ, VQConfig
from genwerk.training.seeding import seed_step

CODEC = {"codes": 32, "numbers": 4, "halvings": 1, "width": 8, "lr": 3e-3}


@lru_cache(maxsize=1)
def trained_codec() -> VQ:
    seed_step(0)
    codec = VQ(VQConfig(**CODEC), Space((1, 8, 8)))
    world = PictureExamples(pictures(64), pictures(32, seed=1), "nothing")
    config = FitConfig(steps=200, batch=16, warmup=10, eval_every=1000, checkpoint_every=1000)
    with TemporaryDirectory() as folder:
        fit(codec, world, config, step_in(Path(folder)))
    codec.network.eval()
    return codec
