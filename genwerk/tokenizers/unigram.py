"""SentencePiece's unigram tokenizer from its pieces, as XLM-RoBERTa and multilingual E5 use it.

Source: Kudo (2018), Subword Regularization; the most probable way of cutting, found by Viterbi in `tokenizers`.

    text ─ NFKC, every blank a space, no control characters ─ ▁ for a space, one before the text ─ pieces

Left out: sampling other ways of cutting.
Try it:   pytest tests/models/test_e5_file.py
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

__all__ = ["unigram_tokenizer"]

# What the rules `nmt_nfkc` of SentencePiece do beside NFKC.
_BLANKS = Regex(r"[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]")
_CONTROLS = Regex(r"[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]")


def unigram_tokenizer(pieces: Sequence[tuple[str, float]], *, unknown: int, before: str, after: str) -> Tokenizer:
    """pieces: (text, log-probability) by token number; `before` and `after`: pieces put around every text."""
    tokenizer = Tokenizer(models.Unigram(list(pieces), unknown))
    rules = [normalizers.Replace(_BLANKS, " "), normalizers.Replace(_CONTROLS, ""), normalizers.NFKC()]
    tokenizer.normalizer = normalizers.Sequence([*rules, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always", split=True)
    numbers = {text: number for number, (text, _) in enumerate(pieces)}
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{before} $A {after}", special_tokens=[(name, numbers[name]) for name in (before, after)]
    )
    return tokenizer
