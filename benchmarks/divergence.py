"""How far integer weights are from float32: KL in nats per token and perplexity, SmolLM2-135M-Instruct.

    python benchmarks/divergence.py                   # on the Python language reference
    python benchmarks/divergence.py --text FILE       # on any text, such as wikitext-2

Embeddings and the last product are rounded too.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch.nn.functional import cross_entropy

from genwerk.core.assets import KNOWN, fetch
from genwerk.evaluation.divergence import kl_divergence
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.weights import pack_decoder
from genwerk.inference.runner import Chunk
from genwerk.models.gguf import convert_gguf
from genwerk.models.huggingface import load_decoder
from genwerk.tokenizers.tokenizer import Tokenizer


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--length", type=int, default=512)
    chosen = parser.parse_args()
    known = KNOWN["smollm2-135m-instruct"]
    with tempfile.TemporaryDirectory() as folder:
        convert_gguf(fetch(known.spec, known.sha256), Path(folder) / "model")
        model, tokenizer = load_decoder(Path(folder) / "model"), Tokenizer.load(Path(folder) / "model")
    text = chosen.text.read_text() if chosen.text else "\n\n".join(topics[name] for name in sorted(topics))
    ids = tokenizer.encode(text)
    stride = (len(ids) - chosen.length) // max(1, chosen.windows - 1)
    windows = [ids[i * stride : i * stride + chosen.length] for i in range(chosen.windows)]
    exact = [model(torch.tensor([window]))[0] for window in windows]
    print(f"{chosen.windows} windows of {chosen.length} tokens; median (smallest to largest) over windows")
    print(f"float32  perplexity {perplexity(exact, windows):.3f}")
    for precision in ("int8", "int4"):
        runner = NativeDecoder(pack_decoder(model, precision), blocks=-(-chosen.length // 32))
        table = list(range(runner.blocks))
        found = [runner.step([Chunk(one, 0, table, wanted=len(one))]) for one in windows]
        nats = [float(kl_divergence(p, q).mean()) for p, q in zip(exact, found, strict=True)]
        spread = f"{statistics.median(nats):.4f} ({min(nats):.4f} to {max(nats):.4f})"
        print(f"{precision:8s} perplexity {perplexity(found, windows):.3f}   KL {spread} nats per token")


def perplexity(logits: list[torch.Tensor], windows: list[list[int]]) -> float:
    losses = [cross_entropy(z[:-1], torch.tensor(w[1:])) for z, w in zip(logits, windows, strict=True)]
    return math.exp(float(torch.stack(losses).mean()))


if __name__ == "__main__":
    main()
