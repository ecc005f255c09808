from __future__ import annotations

import numpy as np
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from genwerk.core.types import Sampling
from genwerk.inference.penalties import penalise


def test_repetition_penalty_is_that_of_transformers() -> None:
    generator = torch.Generator().manual_seed(0)
    for rho in (0.7, 1.0, 1.3, 4.0):
        logits = torch.randn(200, generator=generator) * 5
        prompt = torch.randint(0, 200, (20,), generator=generator).tolist()
        history = torch.randint(0, 200, (9,), generator=generator).tolist()
        theirs = RepetitionPenaltyLogitsProcessor(rho)(torch.tensor([prompt + history]), logits[None].clone())[0]
        ours = penalise(logits.numpy(), history, prompt, Sampling(repetition_penalty=rho))
        assert ours.dtype == np.float32
        assert np.array_equal(ours, theirs.numpy())


def test_presence_and_frequency_follow_openais_formula_on_the_answer_only() -> None:
    logits = np.zeros(5, np.float32)
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    got = penalise(logits, history=[1, 1, 1, 2], prompt=[3, 3], sampling=sampling)
    assert got.tolist() == [0.0, -(0.5 + 3 * 0.25), -(0.5 + 0.25), 0.0, 0.0]


def test_logits_of_the_caller_are_not_changed() -> None:
    logits = torch.randn(10).numpy()
    before = logits.copy()
    penalise(logits, [1], [2], Sampling(repetition_penalty=2.0, presence_penalty=1.0, frequency_penalty=1.0))
    assert np.array_equal(logits, before)


def test_neutral_penalties_change_nothing() -> None:
    logits = torch.randn(10).numpy()
    assert np.array_equal(penalise(logits, [1, 1], [2], Sampling()), logits)
