"""A BERT that reads two texts at once and says how well the second answers the first (ms-marco-MiniLM and its kin).

Source: Nogueira and Cho (2019), Passage re-ranking with BERT.

    score = σ( w · tanh(P h_1 + p) + b )

h_1    the state of the first token, [CLS], after the encoder has read  [CLS] query [SEP] passage [SEP]
P, p   the pooler;  w, b  the classifier, which has one output

Chosen:   the sigmoid, so that scores lie in [0, 1] and can be held against a bound.
Left out: classifiers with more outputs, training.
Try it:   pytest tests/models/test_cross_encoder.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from genwerk.core.errors import ModelError
from genwerk.models.encoder import Encoder, fill_slots, join_tokens, load_encoder
from genwerk.models.linear import Linear
from genwerk.models.steady_linear import SteadyLinear
from genwerk.models.weights import read_model_tensors

__all__ = ["CrossEncoder", "load_cross_encoder", "score_pairs"]


class CrossEncoder(nn.Module):
    """An encoder with a head of one output. `pooler` and `classifier` (1, d_model) are whole from the start."""

    def __init__(self, encoder: Encoder, pooler: Linear, classifier: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.encoder, self.pooler = encoder, SteadyLinear(pooler)
        self._classifier, self._bias = classifier, bias

    def forward(self, tokens: Tensor, lengths: Sequence[int], types: Tensor) -> Tensor:
        """Scores (N,) in [0, 1] of N pairs that lie one behind the other, see `Encoder.forward`."""
        states = self.encoder(tokens, lengths, types)
        first = torch.stack([part[0] for part in torch.split(states, list(lengths))])  # (N, d_model)
        return ((torch.tanh(self.pooler(first)) * self._classifier).sum(-1) + self._bias).sigmoid()


@torch.inference_mode()
def score_pairs(model: CrossEncoder, pairs: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> Tensor:
    """One score in [0, 1] for each pair of texts, already joined: (N,). `types` say for each token which text it is
    of. Raises ModelError for a pair that is empty or longer than the encoder's positions."""
    tokens, lengths = join_tokens(pairs)
    scores: Tensor = model(tokens, lengths, join_tokens(types)[0])
    return scores


def load_cross_encoder(path: Path) -> CrossEncoder:
    """Read a Hugging Face directory of a BERT with a classifier of one output. Raises ModelError for another one."""
    tensors = read_model_tensors(path)
    outputs = len(tensors.get("classifier.weight", ()))
    if outputs != 1 or "bert.pooler.dense.weight" not in tensors:
        what = f"its classifier has {outputs} outputs" if outputs else "it has no classifier"
        remedy = "A cross-encoder such as ms-marco-MiniLM-L-6-v2 has a pooler and a classifier of one output."
        raise ModelError(f"this is no cross-encoder: {what}", where=str(path), remedy=remedy)
    encoder = load_encoder(path, tensors)
    size = encoder.config.d_model
    with torch.no_grad():
        pooler = Linear(size, {"dense": size}, bias=True)
        classifier, bias = torch.empty(1, size), torch.empty(1)
        assert pooler.bias is not None
        slots = {"bert.pooler.dense.weight": pooler.weight, "bert.pooler.dense.bias": pooler.bias,
                 "classifier.weight": classifier, "classifier.bias": bias}  # fmt: skip
        fill_slots(slots.items(), tensors, path)
    return CrossEncoder(encoder, pooler, classifier, bias).eval()
