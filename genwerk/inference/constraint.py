"""Structured output: of all next tokens only those are drawn from which the wanted form can still be reached.

Source: Geng et al. (2023), Grammar-constrained decoding; Microsoft's llguidance computes the allowed tokens.

    z_j <- -inf   where token j cannot go on a text of the grammar;   then draw as always

Kinds: json_schema, json (any object), regex, grammar (Lark), choice (one of a list).

Chosen:   what cannot be compiled whole is refused with the keyword and its place in the schema, never half obeyed.
          Where only one continuation exists it is proposed like a speculated text, so it costs no steps of its own.
Left out: forms within a text (tool calls).
Try it:   pytest tests/inference/test_constraint.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from genwerk.core.errors import RequestError
from genwerk.core.types import Constraint
from genwerk.inference.logits import Logits
from genwerk.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["KINDS", "Compiler", "Matcher"]

_KEPT = 64
KINDS = ("json_schema", "json", "regex", "grammar", "choice")


class Matcher:
    """Follows one answer. Every drawn token must be told by `consume`."""

    def __init__(self, matcher: LLMatcher, vocab: int) -> None:
        self._matcher, self._vocab = matcher, vocab

    def fresh(self) -> Matcher:
        """Another for an answer that is to begin."""
        again = self._matcher.deep_copy()
        again.reset()
        return Matcher(again, self._vocab)

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        return bool(self._matcher.validate_tokens([token]))

    def restrict(self, logits: Logits) -> Logits:
        """A copy of logits (V,) with -inf for every token that is not allowed now."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little", count=self._vocab).view(np.bool_)
        return np.where(allowed, logits, np.float32(-np.inf))

    def consume(self, token: int) -> None:
        """Raises RequestError where the grammar has grown beyond its limits."""
        if not self._matcher.is_stopped() and not self._matcher.consume_token(token):
            raise RequestError(
                f"the answer cannot be held to its form: {self._matcher.get_error()}",
                param="response_format",
                remedy="Use a simpler schema or grammar.",
            )

    def forced(self, most: int) -> list[int]:
        """Tokens that must come next, at most `most` of them."""
        return list(self._matcher.compute_ff_tokens())[: max(0, most)]


class Compiler:
    """Makes matchers for one tokenizer, whose logits have `vocab` entries. Any thread may use it."""

    def __init__(self, tokenizer: Tokenizer, vocab: int) -> None:
        self._given, self._vocab = tokenizer, vocab
        self._compiled = lru_cache(_KEPT)(self._compile)  # a form is checked when asked for, then used, often again

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer  # 50 ms, for who asks for a form

        return LLTokenizer(self._given.to_json(), n_vocab=self._vocab, eos_token=sorted(self._given.eos_ids))

    def compile(self, constraint: Constraint) -> Matcher:
        """Raises RequestError that names the keyword and where it stands, or what is wrong with an expression."""
        return Matcher(self._compiled(constraint).deep_copy(), self._vocab)

    def _compile(self, constraint: Constraint) -> LLMatcher:
        from llguidance import LLMatcher

        grammar = _grammar(constraint)
        is_error, found = LLMatcher.validate_grammar_with_warnings(grammar, self._tokenizer)
        if is_error or (found and constraint.kind == "json_schema"):
            place = _place(constraint, found[0])
            raise _refused(constraint.kind, f"{' '.join(found[0].split())}{place}")
        return LLMatcher(self._tokenizer, grammar, log_level=0)


def _grammar(constraint: Constraint) -> str:
    from llguidance import LLMatcher

    kind, value = constraint.kind, constraint.value
    if kind == "json":
        return str(LLMatcher.grammar_from_json_schema({"type": "object"}))
    if kind == "json_schema":
        return str(LLMatcher.grammar_from_json_schema(_loaded(kind, value, dict)))
    if kind == "regex":
        return str(LLMatcher.grammar_from_regex(value))
    if kind == "grammar":
        return str(LLMatcher.grammar_from_lark(value))
    if kind == "choice":
        options = _loaded(kind, value, list)
        if not options or not all(isinstance(option, str) and option for option in options):
            raise _refused(kind, "it must be a list of texts, none empty")
        return str(LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(option) for option in options)))
    raise _refused(kind, f"there is no kind `{kind}`; known: {', '.join(KINDS)}")


def _loaded(kind: str, value: str, shape: type) -> Any:
    try:
        loaded = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise _refused(kind, f"it is not valid JSON: {error}") from None
    if not isinstance(loaded, shape):
        raise _refused(kind, f"it must be a JSON {'object' if shape is dict else 'list'}")
    return loaded


def _place(constraint: Constraint, message: str) -> str:
    """Where the first keyword that `message` names stands in the schema, as a JSON pointer."""
    if constraint.kind != "json_schema":
        return ""
    named = re.findall(r'"([^"]+)"', message) or re.findall(r": (\S+)$", message)
    for pointer, word in _words(json.loads(constraint.value)):
        if word in named:
            return f" (at #{pointer})"
    return ""


def _words(schema: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every key and every text of a schema with the pointer to it."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            pointer = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
            yield pointer, key
            yield from _words(value, pointer)
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from _words(value, f"{at}/{number}")
    elif isinstance(schema, str):
        yield at, schema


def _refused(kind: str, why: str) -> RequestError:
    return RequestError(
        f"the {kind.replace('_', ' ')} cannot be used: {why}", param="response_format", code="invalid_value",
        remedy="Leave the keyword out or write the form in another way.",
    )  # fmt: skip
