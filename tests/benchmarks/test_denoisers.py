"""benchmarks/denoisers.py: both sides do the same work, so our U-Net is diffusers' with the same weights."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from genwerk.generators.family import Ask, sample

pytest.importorskip("diffusers")
SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "denoisers.py"))
SHAPE = (3, 16, 16)


def test_the_network_is_that_of_diffusers_with_the_same_weights() -> None:
    ours, theirs = SCRIPT["pair"](SHAPE, 16, (1, 2))
    x, t, given = torch.randn(5, *SHAPE), torch.rand(5), torch.arange(5)
    with torch.no_grad():
        found, wanted = ours.network.eval()(x, t, given), theirs.eval()(x, 1000 * t, class_labels=given).sample
    assert float(wanted.std()) > 0.1
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_so_samples_are_the_same_pictures() -> None:
    ours, theirs = SCRIPT["pair"](SHAPE, 8, (1, 2))
    given = torch.arange(3)
    found = sample(ours, Ask(3, given=given, steps=SCRIPT["STEPS"], solver="euler"))
    wanted = SCRIPT["Peer"](theirs, SHAPE).sample(given)
    assert float(found.std()) > 0.1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
