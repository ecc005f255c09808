"""Greedy answers in int8 beside PyTorch doing the same arithmetic: how many of 200 are the same to the last token?

The answer is drawn by the engine; the reference reads prompt and answer at once and must put the same token first at
every place. It adds up in the kernels' own order (tests/inference/native/exact_reference.py), so every answer must be
its own. Only `portable`, which has no fused product and sum, is held against a reference that adds up as PyTorch does:
there a sum may differ in its last bit, and where it lies between two whole numbers its rounding may. Where the tokens
differ, the place is printed with how far apart the reference's first two are.

    python benchmarks/exactness.py                                # about a quarter of an hour
    python benchmarks/exactness.py --prompts 20 --tokens 32
    python benchmarks/exactness.py --variant avx512
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import torch

from genwerk.core.assets import KNOWN, fetch
from genwerk.core.progress import track
from genwerk.core.types import Sampling
from genwerk.inference.engine import Engine
from genwerk.inference.native.decoder import NativeDecoder
from genwerk.inference.native.library import usable_variants
from genwerk.inference.native.packed_decoder import pack_decoder
from genwerk.models.gguf import convert_gguf
from genwerk.models.huggingface import load_decoder
from genwerk.tokenizers.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "inference" / "native"))
from exact_reference import ExactReference  # what the tests hold the kernels against
from quantised_reference import Reference, in_tiles

BLOCKS = 64


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48, help="of each answer; default: 48")
    known = usable_variants()
    parser.add_argument("--variant", choices=known, default=known[0], help="instruction set; here: %(default)s")
    chosen = parser.parse_args()
    asset = KNOWN["smollm2-135m-instruct"]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        convert_gguf(fetch(asset.spec, asset.sha256), model)
        tokenizer, decoder = Tokenizer.load(model), load_decoder(model)
    runner = NativeDecoder(pack_decoder(decoder, "int8"), blocks=BLOCKS, variant=chosen.variant)
    engine = Engine(runner, tokenizer, name="smollm2")
    reference = Reference(decoder) if chosen.variant == "portable" else ExactReference(decoder, in_tiles(runner))
    ids = tokenizer.encode("\n".join(topics[key] for key in sorted(topics)))
    stride = len(ids) // chosen.prompts
    same, places, apart = 0, 0, []
    with track("answers beside the reference", total=chosen.prompts, unit="prompts") as bar:
        for number in range(chosen.prompts):
            prompt = ids[number * stride : number * stride + 24 + number % 41]
            drawn = engine.stream_ids(prompt, Sampling(max_tokens=chosen.tokens))
            answer = [delta.token for delta in drawn if delta.token is not None]
            logits = reference.logits([*prompt, *answer])[len(prompt) - 1 : -1]
            wrong = [i for i, token in enumerate(answer) if int(logits[i].argmax()) != token]
            same, places = same + (not wrong), places + len(answer)
            for i in wrong:
                first, second = logits[i].topk(2).values.tolist()
                apart.append(first - second)
                print(f"prompt {number}, token {i}: the reference's first two are {first - second:.4f} apart")
            bar.advance()
    print(f"{runner.title}: {same} of {chosen.prompts} answers are the reference's, token for token")
    print(f"{places - len(apart)} of {places} places; elsewhere up to {max(apart, default=0):.4f} apart")


if __name__ == "__main__":
    main()
