"""What makes single tokens more or less likely: a bias that is asked for, and penalties for what was already said.

Sources: Keskar et al. (2019), CTRL, section 4.1 (repetition); OpenAI API reference (bias, presence, frequency).

    bias              z_j <- z_j + b_j                            for the tokens of logit_bias
    repetition        z_j <- z_j / ρ if z_j > 0 else z_j · ρ      for every j in prompt or answer
    presence          z_j <- z_j - α                              for every j in the answer
    frequency         z_j <- z_j - β · c_j                        c_j times j is in the answer

z     logits, (V,)
ρ     repetition_penalty, 1 is off; counts prompt and answer, as in transformers
α, β  presence_penalty and frequency_penalty, 0 is off; count the answer only, as in OpenAI's API and vLLM

Chosen:   the bias first, then repetition, presence and frequency, before temperature.
Left out: no-repeat n-grams, DRY.
Try it:   pytest tests/inference/test_penalties.py
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genwerk.core.types import Sampling
from genwerk.inference.logits import Logits

__all__ = ["penalise"]


def penalise(logits: Logits, history: Sequence[int], prompt: Sequence[int], sampling: Sampling) -> Logits:
    """Logits after the penalties, (V,); `logits` itself is not changed.

    history  ids of the answer so far
    prompt   ids of the prompt
    """
    rho, alpha, beta = sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty
    if rho == 1.0 and alpha == 0.0 and beta == 0.0 and not sampling.logit_bias:
        return logits
    penalised = logits.copy()
    for token, bias in sampling.logit_bias:
        penalised[token] += bias
    if rho != 1.0 and (history or prompt):
        seen = np.fromiter({*prompt, *history}, np.int64)
        z = penalised[seen]
        penalised[seen] = np.where(z > 0, z / rho, z * rho)
    if history and (alpha != 0.0 or beta != 0.0):
        said, counts = np.unique(np.asarray(history), return_counts=True)
        penalised[said] -= alpha + beta * counts.astype(penalised.dtype)
    return penalised
