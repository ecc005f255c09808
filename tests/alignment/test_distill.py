"""Distillation: the loss is the divergence it says, the draft comes to foretell its target, and serves as its draft."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_runs import Inputs, run_distill, run_pretrain

from genwerk.alignment.distill import DistillConfig, distill_loss, make_draft
from genwerk.alignment.lessons import Lessons, Teacher, make_prompts
from genwerk.core.errors import DataError
from genwerk.core.types import Sampling
from genwerk.data.documents import load_documents
from genwerk.inference.engine import Engine
from genwerk.models.huggingface import load_decoder
from genwerk.models.shortlist import read_shortlist
from genwerk.training.curve import read_curve


@pytest.fixture(scope="module")
def taught(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The inputs with a base that has learned something to say."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("taught")
    run_pretrain(inputs, root, steps=150, depth=1).rename(root / "base")
    (root / "dataset").symlink_to(inputs.dataset.path)
    return Inputs(root)


@pytest.fixture(scope="module")
def draft(taught: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run_distill(taught, tmp_path_factory.mktemp("draft"), steps=120, texts=40)


def test_with_all_words_the_loss_is_the_forward_divergence() -> None:
    logits, target = torch.randn(7, 11), torch.randn(7, 11).log_softmax(1)
    ours = distill_loss(logits, torch.arange(11).expand(7, 11), target.exp())
    wanted = F.kl_div(logits.log_softmax(1), target, log_target=True, reduction="sum")
    torch.testing.assert_close(ours, wanted)


def test_words_that_cannot_be_said_leave_the_divergence_of_the_rest() -> None:
    """Two words of three: p = (1/2, 1/4, -), q = (2/3, 1/3): p / w is q, so nothing is to be learned."""
    logits = torch.tensor([[2 / 3, 1 / 3]]).log().requires_grad_()
    loss = distill_loss(logits, torch.tensor([[0, 1, 0]]), torch.tensor([[0.5, 0.25, 0.0]]))
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.zeros(1, 2), atol=1e-6, rtol=0)


def test_the_loss_counts_as_much_as_can_be_said() -> None:
    """p = 1/4 for the first word, q = (1/2, 1/2): w KL = 1/4 ln 2. Where nothing can be said it is 0."""
    logits = torch.zeros(2, 2)
    loss = distill_loss(logits, torch.zeros(2, 1, dtype=torch.long), torch.tensor([[0.25], [0.0]]))
    assert float(loss) == pytest.approx(0.25 * float(torch.tensor(2.0).log()))


def test_the_draft_comes_to_foretell_its_target(draft: Path) -> None:
    rows = read_curve(draft / "loss.jsonl")
    foretold = [row["val_foretold"] for row in rows if "val_foretold" in row]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert foretold[-1] > foretold[0] + 0.2 and foretold[-1] > 0.4
    assert losses[-1] < 0.5 * losses[0]


def test_the_folder_is_a_draft_that_saves_steps_and_changes_nothing(taught: Inputs, draft: Path) -> None:
    plain = Engine.load(taught.base.path, speculate=False)
    ahead = Engine.load(taught.base.path, draft=draft)
    assert ahead._draft is not None
    ahead._draft.pace.next = lambda chances: 3 if chances else 0  # type: ignore[method-assign]
    steps: list[int] = []
    step = ahead.runner.step
    ahead.runner.step = lambda chunks: (steps.append(len(chunks)), step(chunks))[1]  # type: ignore[method-assign]
    for text in ("The lantern of", "# Harbour of Kiel"):
        sampling = Sampling(max_tokens=60, min_tokens=60)
        wanted, got = plain.complete(text, sampling), ahead.complete(text, sampling)
        assert got.tokens == wanted.tokens and got.receipt == wanted.receipt
    assert len(steps) < 0.8 * 120


def test_what_it_may_say_is_what_its_target_expects(taught: Inputs, draft: Path) -> None:
    words = read_shortlist(draft, 400)
    assert words is not None and len(words) == 128
    assert words.tolist() == sorted(set(words.tolist()))
    engine = Engine.load(taught.base.path)
    likeliest = {int(engine.logits(engine.tokenizer.encode(text))[-1].argmax()) for text in ("The", "was repaired by")}
    assert likeliest <= set(words.tolist())


def test_embeddings_begin_as_the_targets_main_directions(inputs: Inputs) -> None:
    target = load_decoder(inputs.base.path)
    with torch.no_grad():  # all of it lies in three directions
        target.embed_tokens.copy_(torch.randn(400, 3) @ torch.randn(3, 16))
    ours = make_draft(DistillConfig(depth=1), target).embed_tokens.detach()
    centred = target.embed_tokens - target.embed_tokens.mean(0)
    a, b = centred @ centred.t(), ours[:, :16] @ ours[:, :16].t()  # angles and lengths but for one factor
    torch.testing.assert_close(b / b.norm(), a / a.norm(), atol=1e-5, rtol=1e-3)


def test_lessons_are_what_the_target_thinks(taught: Inputs, tmp_path: Path) -> None:
    lessons, engine = lessons_of(taught, tmp_path)
    model = load_decoder(taught.base.path)
    for row in range(len(lessons)):
        size = int(lessons.lengths[row])
        text = lessons.tokens[row, :size]
        if size < 48:  # whole texts only: of longer ones the beginning is cut away
            with torch.no_grad():
                wanted = model(text[None])[0].log_softmax(1).topk(8)
            torch.testing.assert_close(lessons.logprobs[row, :size], wanted.values, atol=2e-2, rtol=2e-2)
        own = lessons.own[row].nonzero()[:, 0]
        assert 1 <= len(own) <= 12 and int(own[-1]) == size - 2
    greedy = lessons.own[0].nonzero()[:, 0]
    assert lessons.likeliest[0, greedy, 0].tolist() == lessons.tokens[0, greedy + 1].tolist()
    assert engine.blocks.available == engine.blocks.count


def test_the_target_is_not_asked_twice(taught: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = lessons_of(taught, tmp_path)
    monkeypatch.setattr(Teacher, "_speak", None)
    again, _ = lessons_of(taught, tmp_path)
    assert torch.equal(first.logprobs, again.logprobs) and torch.equal(first.tokens, again.tokens)


def test_documents_without_text_are_refused(taught: Inputs) -> None:
    engine = Engine.load(taught.base.path)
    with pytest.raises(DataError, match="no prompt"):
        make_prompts([], engine, split="train", count=3, room=100, excerpt=20, seed=0)


def lessons_of(taught: Inputs, scratch: Path) -> tuple[Lessons, Engine]:
    engine = Engine.load(taught.base.path)
    teacher = Teacher(engine, None, context=48, own_tokens=12, likeliest=8, temperature=0.7, seed=0)
    documents = load_documents(taught.dataset.path)
    prompts = make_prompts(documents, engine, split="train", count=18, room=500, excerpt=24, seed=0)
    return teacher.teach(prompts, scratch / "train"), engine
