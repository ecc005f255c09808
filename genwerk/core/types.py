"""The nouns that travel between rooms. All frozen; text is normalised once and every span points into it.

Offsets are counted in Unicode code points of `Document.text`, so that `text[start:end]` is the quotation itself.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One source text after normalisation.

    id        first 16 hex digits of sha256(source, text): another text or another place is another document.
    sha256    of `text` in UTF-8; what citations and lineage refer to.
    acl       names of users or groups who may see it; empty means everyone.
    """

    id: str
    source: str
    text: str
    sha256: str
    acl: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def create(
        cls, source: str, text: str, *, acl: tuple[str, ...] = (), metadata: Mapping[str, str] | None = None
    ) -> Document:
        data = text.encode("utf-8", "surrogatepass")
        identity = hashlib.sha256(source.encode() + b"\0" + data).hexdigest()[:16]
        return cls(identity, source, text, hashlib.sha256(data).hexdigest(), acl, dict(metadata or {}))

    def may_be_seen(self, groups: Collection[str]) -> bool:
        """Whether it is for everyone, or for one of `groups`."""
        return not self.acl or not frozenset(self.acl).isdisjoint(groups)


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """A span of a document, never a copy that can drift: text[start:end], 0 <= start < end."""

    document_id: str
    start: int
    end: int


ARMS = ("bm25", "dense", "hybrid")  # of a search: words, meaning, both


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A chunk found for a query. `source` names what found it: one of `ARMS`, or a stage after them."""

    chunk: Chunk
    score: float
    source: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A quotation that can be checked: `text[start:end] == quote` in the document whose text has this sha256.

    place   where in its file that is, as "page 12"; empty where the file has no such places.
    """

    document_id: str
    sha256: str
    start: int
    end: int
    quote: str
    source: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard decided. `text` is what may pass on (redacted where the rule redacts)."""

    allowed: bool
    text: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens. Defaults are greedy; `inference.limits.check_sampling` refuses values out of range.

    logit_bias    (token, what is added to its logit) pairs.
    min_tokens    so many are drawn before the answer may end.
    logprobs, prompt_logprobs   how many of the likeliest tokens are told at each place; None: no log-probabilities.
    stop_tokens   token ids that end the answer beside the model's own.
    bad_words     what the answer's text never contains.
    thinking_budget   tokens of a reasoning model's thinking after which it is ended; None: it ends by itself.
    beams         width of beam search, which then finds the answer; 1: tokens are drawn one by one.
    length_penalty   how much beam search favours long answers.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: int | None = None
    typical_p: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    stop_tokens: tuple[int, ...] = ()
    bad_words: tuple[str, ...] = ()
    prompt_logprobs: int | None = None
    beams: int = 1
    length_penalty: float = 1.0
    thinking_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form an answer must have. kind: json_schema, json, regex, grammar or choice; value: the schema or list as
    JSON, the expression, or the Lark grammar."""

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of an engine: a chat, how to sample, which adapter, for whom, in which form.

    priority   lower is served earlier; among equals the user with the fewest tokens served is first.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    adapter: str | None = None
    user: str = ""
    constraint: Constraint | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Several:
    """How many answers to one request are drawn, and which of them are given.

    n         answers given.
    best_of   answers drawn, of which the n best are given; None: as many as are given.
    pick      what is best: `likelihood`, the highest mean log-probability; `majority`, the final answer most reach.
    """

    n: int = 1
    best_of: int | None = None
    pick: str = "likelihood"

    @property
    def drawn(self) -> int:
        return self.n if self.best_of is None else self.best_of


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one reply."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that is needed to get the same tokens again.

    weights   a hash of the files of the `model`, and of the `adapter` if there is one.
    """

    model: str
    adapter: str | None
    template_sha256: str
    sampling: Sampling
    versions: Mapping[str, str] = field(default_factory=dict)
    constraint: Constraint | None = None
    weights: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What leaves the building: text that passed the guards, its citations, verdicts and receipt."""

    id: str
    text: str
    tokens: tuple[int, ...]
    citations: tuple[Citation, ...]
    verdicts: tuple[Verdict, ...]
    usage: Usage
    receipt: Receipt
    finish_reason: str
    abstained: bool = False


def new_answer_id() -> str:
    """A fresh answer identifier, `ans-` and 16 hex digits."""
    return f"ans-{uuid.uuid4().hex[:16]}"
