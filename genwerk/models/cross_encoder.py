"""A BERT that reads two texts at once and says how well the second answers the first (ms-marco-MiniLM and its kin).

Source: Nogueira and Cho (2019), Passage re-ranking with BERT.

    score = σ( w · tanh(P h_1 + p) + b )

h_1    the state of the first token, [CLS], after the encoder has read  [CLS] query [SEP] passage [SEP]
P, p   the pooler;  w, b  the classifier, which has one output

Chosen:   the sigmoid, so that scores lie in [0, 1] and can be held against a bound.
Left out: classifiers with more outputs.
Try it:   pytest tests/models/test_cross_encoder.py
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from genwerk.core.atomic import write_json
from genwerk.core.errors import ModelError
from genwerk.models.arrays import read_json
from genwerk.models.encoder import Encoder, encoder_tensors, fill_slots, join_tokens, load_encoder
from genwerk.models.hf_config import TOKENIZER_FILES
from genwerk.models.linear import Linear
from genwerk.models.steady_linear import SteadyLinear
from genwerk.models.weights import read_model_tensors, write_tensors

__all__ = ["CrossEncoder", "load_cross_encoder", "new_cross_encoder", "save_cross_encoder", "score_pairs"]

_HEAD_STD = 0.02  # as BERT draws its own weights


class CrossEncoder(nn.Module):
    """An encoder with a head of one output. `pooler` and `classifier` (1, d_model) are whole from the start.

    trainable   the encoder is not packed, and nor is the head, so that all weights can change
    """

    def __init__(
        self, encoder: Encoder, pooler: Linear, classifier: Tensor, bias: Tensor, *, trainable: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.pooler = encoder, pooler if trainable else SteadyLinear(pooler)
        self.classifier = nn.Parameter(classifier, requires_grad=trainable)
        self.bias = nn.Parameter(bias, requires_grad=trainable)

    def logits(self, tokens: Tensor, lengths: Sequence[int], types: Tensor) -> Tensor:
        """Log-odds (N,) of N pairs that lie one behind the other, see `Encoder.forward`."""
        states = self.encoder(tokens, lengths, types)
        first = torch.stack([part[0] for part in torch.split(states, list(lengths))])  # (N, d_model)
        return (torch.tanh(self.pooler(first)) * self.classifier).sum(-1) + self.bias

    def forward(self, tokens: Tensor, lengths: Sequence[int], types: Tensor) -> Tensor:
        """Scores (N,) in [0, 1] of the same."""
        return self.logits(tokens, lengths, types).sigmoid()


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


def new_cross_encoder(path: Path) -> CrossEncoder:
    """A trainable cross-encoder on the body of an encoder directory; its head is drawn with torch's generator.

    The head begins near 0, so that all pairs begin with nearly the same score. Raises ModelError.
    """
    encoder = load_encoder(path, trainable=True)
    size = encoder.config.d_model
    pooler = Linear(size, {"dense": size}, bias=True)
    pooler.initialise(_HEAD_STD)
    classifier = torch.empty(1, size).normal_(std=_HEAD_STD)
    return CrossEncoder(encoder, pooler, classifier, torch.zeros(1), trainable=True)


def save_cross_encoder(model: CrossEncoder, path: Path, files: Path, *, window: int | None = None) -> None:
    """Write a trainable cross-encoder as a Hugging Face directory; config and tokenizer are those of `files`.

    window   most tokens of query and passage that it was trained for, and will read at once; None: all positions.
    transformers reads it as BertForSequenceClassification, sentence-transformers as a CrossEncoder.
    """
    path.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (files / name).is_file():
            shutil.copyfile(files / name, path / name)
    if window is not None:
        write_json(path / "sentence_bert_config.json", {"max_seq_length": window, "do_lower_case": False})
    head = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"},
            "label2id": {"LABEL_0": 0}, "torch_dtype": "float32"}  # fmt: skip
    write_json(path / "config.json", dict(read_json(files / "config.json")) | head)
    assert isinstance(model.pooler, Linear) and model.pooler.bias is not None, "a packed model cannot be written"
    tensors = {f"bert.{name}": tensor for name, tensor in encoder_tensors(model.encoder).items()}
    tensors |= {"bert.pooler.dense.weight": model.pooler.weight, "bert.pooler.dense.bias": model.pooler.bias,
                "classifier.weight": model.classifier, "classifier.bias": model.bias}  # fmt: skip
    write_tensors(path / "model.safetensors", {name: tensor.detach().cpu() for name, tensor in tensors.items()})
