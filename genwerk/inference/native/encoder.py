"""A BERT encoder in whole numbers in the native kernels: token numbers of texts to their vectors.

    encoder = NativeEncoder(load_encoder(directory, trainable=True))
    vectors = encoder.embed([[101, 7592, 102], ...])

Weights have one scale per output, activations one per token, found anew for each; both are turned (pack.py), which
spreads outliers, so that no layer has to stay in float. Attention, norms and sums along the residual stream are float.
A text's vector is the same to the bit in any company.

    y = scale_x scale_w sum of q_x q_w,   |q| <= floor(sqrt((2^31 - 1) / inputs)):  11 to 12 bits, no sum overflows

Chosen:   words of 16 bits. Bytes lose as much by the weights as by the activations, evenly over layers and matrices,
          and short texts come as low as a cosine of 0.998 (LOG.md). Processors multiply words half as fast.

Left out: training, states of single tokens, heads that are no multiple of 16 numbers.
Try it:   python benchmarks/embed.py --texts 64
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genwerk.core.errors import ModelError
from genwerk.core.machine import threads_to_use
from genwerk.inference.native.layout import PANEL, EncoderLayer, EncoderModel, Texts, WordMatrix
from genwerk.inference.native.library import NativeUnavailableError, load_library, usable_variants
from genwerk.inference.native.pack import fill, turn
from genwerk.models.encoder import Encoder, EncoderBlock, EncoderConfig, join_tokens
from genwerk.models.linear import Linear

__all__ = ["NativeEncoder"]

_MOST_HEAD = 256


class NativeEncoder:
    """Not safe among threads: one batch at a time.

    encoder    its weights unpacked (`load_encoder(..., trainable=True)`); it is not needed after.
    threads    default: as many as PyTorch uses.
    variant    instruction set; default: the best this processor has.

    Raises NativeUnavailableError where the kernels cannot be built or do not know the network's shape.
    """

    @torch.no_grad()
    def __init__(self, encoder: Encoder, *, threads: int | None = None, variant: str | None = None) -> None:
        self.config = config = encoder.config
        _check_shape(config)
        self._library = load_library(variant or usable_variants()[0])
        self._kept: list[Tensor] = []
        blocks = [block for block in encoder.layers if isinstance(block, EncoderBlock)]
        self._layers = (EncoderLayer * len(blocks))(*(self._layer(block) for block in blocks))
        norm = encoder.embedding_norm
        self._model = EncoderModel(
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            head=config.d_model // config.n_heads,
            width=config.d_model,
            hidden=self._layers[0].up.outputs,
            eps=config.norm_eps,
            layers=self._layers,
            words=self._pointer(encoder.words),
            positions=self._pointer(encoder.positions + encoder.types[0]),
            weight=self._pointer(norm.weight),
            bias=self._pointer(norm.bias),
        )
        self.threads = threads or threads_to_use()
        self._engine = self._library.genwerk_open(self.threads)

    @staticmethod
    def pays() -> bool:
        """Whether products of words are known to be faster here than PyTorch's products of floats."""
        return usable_variants()[0] in ("amx", "avx512")

    def __del__(self) -> None:
        if getattr(self, "_engine", None):
            self._library.genwerk_close(self._engine)

    def embed(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """One vector of length 1 per token sequence: (N, d_model) float32, as `models.encoder.embed_tokens`.

        Raises ModelError for a sequence that is empty or longer than the encoder's positions.
        """
        tokens, lengths = join_tokens(sequences)
        self.config.check_length(max(lengths))
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < self.config.vocab_size:
            raise ModelError("a token is not of the vocabulary", remedy="Encode with the encoder's own tokenizer.")
        first = np.cumsum([0, *lengths], dtype=np.int32)
        numbers = tokens.numpy().astype(np.int32)
        vectors = torch.empty(len(lengths), self.config.d_model)
        texts = Texts(len(lengths), numbers.ctypes.data, first.ctypes.data, vectors.data_ptr())
        self._library.genwerk_encode(self._engine, ctypes.byref(self._model), ctypes.byref(texts))
        return vectors

    def _layer(self, block: EncoderBlock) -> EncoderLayer:
        assert isinstance(block.qkv, Linear) and block.qkv.bias is not None
        soft = torch.ones(block.qkv.d_out)
        soft[block.qkv.rows["query"]] = 1 / math.sqrt(self.config.d_model // self.config.n_heads)
        return EncoderLayer(
            qkv=self._matrix(block.qkv.weight * soft[:, None], block.qkv.bias * soft),
            **{name: self._matrix(*_parts(getattr(block, name))) for name in ("out", "up", "down")},
            attention_weight=self._pointer(block.attention_norm.weight),
            attention_bias=self._pointer(block.attention_norm.bias),
            weight=self._pointer(block.norm.weight),
            bias=self._pointer(block.norm.bias),
        )

    def _matrix(self, weight: Tensor, bias: Tensor) -> WordMatrix:
        weight, bias = fill(fill(weight.float(), 0), 1), fill(bias.float(), 0)
        outputs, inputs = weight.shape
        turned = turn(weight)
        most = math.isqrt((2**31 - 1) // turned.shape[1])  # no sum of products leaves 32 bits (words.h)
        scale = turned.abs().amax(1) / most
        whole = (turned / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round().clamp(-most, most)
        panels = whole.short().view(outputs // PANEL, PANEL, -1, 2).transpose(1, 2)  # (N / 32, K' / 2, 32, 2)
        return WordMatrix(outputs, inputs, self._pointer(panels), self._pointer(scale), self._pointer(bias))

    def _pointer(self, tensor: Tensor) -> int:
        self._kept.append(tensor.detach().contiguous())
        return self._kept[-1].data_ptr()


def _parts(linear: Linear) -> tuple[Tensor, Tensor]:
    assert linear.bias is not None
    return linear.weight, linear.bias


def _check_shape(config: EncoderConfig) -> None:
    head = config.d_model // config.n_heads
    if config.d_model % PANEL or head % 16 or head > _MOST_HEAD:
        raise NativeUnavailableError(
            f"the native encoder reads widths that are multiples of {PANEL} and heads of 16 to {_MOST_HEAD} numbers, "
            f"in steps of 16, not {config.d_model} and {head}"
        )
