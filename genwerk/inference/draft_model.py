"""Speculation by a draft: a small model runs ahead, and the served one looks at all its tokens in one step.

Sources: Leviathan et al. (2023), Fast inference from transformers via speculative decoding; Chen et al. (2023),
Accelerating large language model decoding with speculative sampling.

    before a step    for all sequences together: run what was drawn since, then k - 1 likeliest tokens one by one
    in the step      the target runs them behind the last token, draws at each place as always, and goes on while the
                     drawn token is the foretold one (engine.py)

Chosen:   the draft says its likeliest token, and the target draws with the sequence's own random number, so answers are
          the same with and without, greedy or not. Where the text repeats itself the lookup speaks first
          (prompt_lookup.py): it costs nothing. k is chosen by what pays (speculation.py).
Left out: acceptance by the ratio of probabilities, which keeps the distribution and changes the tokens; adapters on the
          draft; answers held to a form.
Try it:   pytest tests/inference/test_draft_model.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genwerk.core.errors import ModelError
from genwerk.core.progress import say
from genwerk.inference.backend import PRECISIONS, make_runner
from genwerk.inference.blocks import BlockManager, Table
from genwerk.inference.prompt_lookup import PromptLookup
from genwerk.inference.runner import BLOCK, Chunk, Runner
from genwerk.inference.speculation import Chance, Draft, Pace, measure_steps
from genwerk.models.huggingface import load_decoder
from genwerk.models.shortlist import read_shortlist, shorten
from genwerk.tokenizers.tokenizer import Tokenizer

__all__ = ["DraftModel", "Follower"]

_ROWS = 256  # most tokens read to catch up before one step of the target


class Follower:
    """One sequence as the draft sees it. See `Draft`.

    tokens   prompt and drawn tokens
    ahead    foretold tokens
    cached   positions of the draft's cache that hold `tokens` and, behind them, `ahead`
    """

    def __init__(self, draft: DraftModel, prompt: Sequence[int]) -> None:
        self._draft, self._lookup = draft, PromptLookup(prompt) if draft.lookup else None
        self._looked_up = False
        self.tokens: list[int] = list(prompt)
        self.ahead: list[int] = []
        self.cached = 0
        self.table: Table | None = None
        self.chance = Chance(draft.chance.value)

    def extend(self, token: int) -> None:
        """The next token; what was foretold stays while it comes true."""
        if self._lookup is not None:
            self._lookup.extend(token)
        if self.ahead and self.ahead[0] == token:
            del self.ahead[0]
        else:
            self.forget()
        self.tokens.append(token)

    def forget(self) -> None:
        """Nothing is foretold any more; the last token is to be read again."""
        self.ahead.clear()
        self.cached = min(self.cached, len(self.tokens) - 1)

    def waits_for_draft(self) -> bool:
        """Whether only the draft can say what may come."""
        return self._lookup is None or not self._lookup.propose(1)

    def propose(self, most: int) -> list[int]:
        found = self._lookup.propose(most) if self._lookup is not None else []
        self._looked_up = bool(found)
        return found or self.ahead[: max(0, most)]

    def learn(self, proposed: int, accepted: int) -> None:
        if self._looked_up and self._lookup is not None:
            self._lookup.learn(proposed, accepted)
        else:
            self.chance.learn(proposed, accepted)
            self._draft.chance.learn(proposed, accepted)

    def release(self) -> None:
        if self.table is not None:
            self._draft.blocks.close(self.table)
        self.table, self.cached = None, 0
        self.ahead.clear()


class DraftModel:
    """Runs ahead for all sequences at once. Not safe among threads.

    runner   of the draft, with the vocabulary of the target
    pace     how many tokens to foretell
    words    (W,) the words its logits are of; None: all
    lookup   whether what the text said before is proposed first
    """

    def __init__(
        self, runner: Runner, pace: Pace, *, words: NDArray[np.int64] | None = None, lookup: bool = True
    ) -> None:
        self.runner, self.pace, self.words, self.lookup = runner, pace, words, lookup
        self.blocks = BlockManager(runner.blocks)
        self.chance = Chance(0.6, fade=0.99)  # hopeful, so that it is tried
        self._works = True

    @classmethod
    def load(
        cls, path: Path, target: Runner, tokenizer: Tokenizer, *, engine: str = "auto", cache_precision: str = "auto"
    ) -> DraftModel | None:
        """Read a model directory as the draft of `target`, and time both; None where `target` cannot use one.

        Raises ModelError where the vocabulary is another one.
        """
        model = load_decoder(path)
        _check_vocabulary(path, model.config.vocab_size, Tokenizer.load(path), target.config.vocab_size, tokenizer)
        if target.aligned > 1:
            say("the draft is not used: PyTorch's runner computes answers token by token", style="yellow")
            return None
        words = read_shortlist(path, model.config.vocab_size)
        precision = target.precision if target.precision in PRECISIONS else "float32"
        runner = make_runner(
            model if words is None else shorten(model, words),
            engine=engine, precision=precision, positions=target.blocks * BLOCK, cache_precision=cache_precision,
        )  # fmt: skip
        pace = Pace(measure_steps(target), measure_steps(runner))
        return cls(runner, pace, words=None if words is None else words.numpy())

    def follow(self, prompt: Sequence[int]) -> Follower:
        """A draft of the sequence that begins with `prompt`."""
        return Follower(self, prompt)

    def foretell(self, drafts: Iterable[Draft | None]) -> None:
        """Run ahead for those of `drafts` that follow this model and have nothing else to propose.

        Where the small model fails it is said aloud and not used again: answers do not depend on it.
        """
        waiting = [one for one in drafts if isinstance(one, Follower) and one.waits_for_draft()]
        k = self.pace.next([one.chance.value for one in waiting]) if self._works else 0
        for one in waiting:
            one.forget()
        if k == 0:
            return
        try:
            self._run_ahead([one for one in waiting if self._has_room(one, k)], k)
        except Exception as error:  # whatever it is, the target goes on alone
            self._works = False
            say(f"the draft failed and is not used any more: {error}", style="red")
            for one in waiting:
                one.release()

    def _run_ahead(self, followers: Sequence[Follower], k: int) -> None:
        ready = self._catch_up(followers)
        for _ in range(k - 1 if ready else 0):
            likeliest = self._step([(one, one.ahead[-1:]) for one in ready])
            for one, token in zip(ready, likeliest, strict=True):
                one.ahead.append(token)

    def _catch_up(self, followers: Sequence[Follower]) -> list[Follower]:
        """Read what was drawn since; those that were read to their end have one token ahead and are returned."""
        parts, left = [], _ROWS
        for one in followers:
            behind = one.tokens[one.cached : one.cached + left]
            left -= len(behind)
            if behind:
                parts.append((one, behind))
        for (one, _), token in zip(parts, self._step(parts), strict=True):
            assert one.table is not None
            self.blocks.seal(one.table, one.tokens, one.cached)
            if one.cached == len(one.tokens):
                one.ahead.append(token)
        return [one for one, _ in parts if one.ahead]

    def _step(self, parts: Sequence[tuple[Follower, Sequence[int]]]) -> list[int]:
        """Run tokens of several sequences behind what is cached; the likeliest token after each."""
        if not parts:
            return []
        chunks = []
        for one, tokens in parts:
            assert one.table is not None
            chunks.append(Chunk(tokens, one.cached, one.table.blocks))
            one.cached += len(tokens)
        likeliest = self.runner.step(chunks).argmax(-1)  # (S,)
        found: list[int] = (likeliest if self.words is None else self.words[likeliest]).tolist()
        return found

    def _has_room(self, one: Follower, k: int) -> bool:
        """Whether there are positions and blocks for all tokens and k foretold ones; gets the blocks."""
        wanted = len(one.tokens) + k
        if wanted > self.runner.config.max_positions:
            return False
        if one.table is None:
            one.table = self.blocks.open(None, one.tokens)
            one.cached = one.table.sealed
        return self.blocks.extend(one.table, wanted)


def _check_vocabulary(path: Path, size: int, ours: Tokenizer, target_size: int, targets: Tokenizer) -> None:
    """Raise ModelError with the first token that is another one."""
    if size != target_size:
        difference = f"it has {size} tokens, the target {target_size}"
    elif (ours_by_id := ours.pieces()) != (targets_by_id := targets.pieces()):
        ids = sorted({*ours_by_id, *targets_by_id})
        token = next(i for i in ids if ours_by_id.get(i) != targets_by_id.get(i))
        difference = f"token {token} is {ours_by_id.get(token)!r} there and {targets_by_id.get(token)!r} in the target"
    else:
        return
    raise ModelError(
        f"the draft's vocabulary is not the target's: {difference}",
        where=str(path),
        remedy="A draft must share the target's tokenizer; make one with `genwerk distill`.",
    )
