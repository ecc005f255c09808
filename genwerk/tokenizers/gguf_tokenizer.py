"""The tokenizer inside a GGUF file, written as tokenizer.json, tokenizer_config.json and special_tokens_map.json.

GGUF names how text is cut before merging (`tokenizer.ggml.pre`) but does not hold the rule; the rules of the known
names are here. A name that is not known is refused: a wrong rule would give a model subtly wrong tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from genwerk.core.atomic import write_json, write_text
from genwerk.core.errors import ModelError

__all__ = ["write_gguf_tokenizer"]

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits_first() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()])


def _pattern(pattern: str) -> Any:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_CUTS: dict[str, Callable[[], Any]] = {
    "gpt-2": _byte_level,
    "smollm": _digits_first,
    "llama-bpe": lambda: _pattern(_LLAMA3),
    "llama3": lambda: _pattern(_LLAMA3),
    "qwen2": lambda: _pattern(_QWEN2),
}
_CONTROL, _USER_DEFINED = 3, 4
_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def write_gguf_tokenizer(metadata: Mapping[str, Any], out_dir: Path, *, where: str = "") -> dict[str, Any]:
    """Write the tokenizer's files; returns the special token numbers for generation_config.json.

    Raises ModelError for a tokenizer that is no byte-level BPE or whose cutting rule is unknown.
    """
    kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or cut not in _CUTS:
        raise ModelError(
            f"the GGUF tokenizer {kind!r} with the rule {cut!r} is not supported",
            where=where,
            remedy=f"Supported: gpt2 with {', '.join(_CUTS)}. Use the model's Hugging Face directory instead.",
        )
    try:
        tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        merges: list[str] = metadata["tokenizer.ggml.merges"]
    except KeyError as error:
        raise ModelError(f"the GGUF file has no {error.args[0]}", where=where, remedy="Convert it again.") from None
    runner = _runner(cut, tokens, merges, metadata)
    special = {f"{role}_id": metadata.get(f"tokenizer.ggml.{name}_token_id") for role, name in _ROLES.items()}
    texts = {key.removesuffix("_id"): tokens[number] for key, number in special.items() if number is not None}
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / "tokenizer.json", runner.to_str(pretty=False))
    write_json(out_dir / "special_tokens_map.json", texts)
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": metadata.get(f"{metadata.get('general.architecture')}.context_length", 2048),
        "clean_up_tokenization_spaces": False,
        **texts,
    }
    if metadata.get("tokenizer.chat_template"):
        settings["chat_template"] = metadata["tokenizer.chat_template"]
    write_json(out_dir / "tokenizer_config.json", settings)
    special.pop("unk_token_id")
    return special


def _runner(cut: str, tokens: list[str], merges: list[str], metadata: Mapping[str, Any]) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    runner = Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=cut.startswith("llama")))
    if cut == "qwen2":
        runner.normalizer = normalizers.NFC()
    runner.pre_tokenizer = _CUTS[cut]()
    runner.decoder = decoders.ByteLevel()
    runner.post_processor = processors.ByteLevel(trim_offsets=True)
    kinds = metadata.get("tokenizer.ggml.token_type", [])
    added = [number for number, kind in enumerate(kinds) if kind in (_CONTROL, _USER_DEFINED)]
    runner.add_tokens(
        [AddedToken(tokens[number], special=kinds[number] == _CONTROL, normalized=False) for number in added]
    )
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    if bos is not None and metadata.get("tokenizer.ggml.add_bos_token", cut.startswith("llama")):
        runner.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A",
            pair=f"{tokens[bos]} $A {tokens[bos]}:1 $B:1",
            special_tokens=[(tokens[bos], bos)],
        )
    return runner
