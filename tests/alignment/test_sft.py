"""Supervised tuning: the loss is that of the full logits on answers, batching changes nothing, the base stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from tiny_runs import SFT, Inputs, make_step, run_sft
from transformers import AutoModelForCausalLM

from genwerk.alignment import sft
from genwerk.alignment.examples import EncodedChat, collate
from genwerk.alignment.sft import SFTConfig, answer_loss, cut, train_sft
from genwerk.core.errors import DataError, TrainingError
from genwerk.core.types import Document
from genwerk.data.documents import write_documents
from genwerk.models.decoder import Decoder
from genwerk.models.huggingface import load_decoder
from genwerk.models.lora import LoraConfig, adapter_parameters, add_adapter, load_adapter, use_adapter
from genwerk.training.curve import read_curve

CHATS = [
    EncodedChat(tuple(range(10, 10 + length)), tuple(place >= first for place in range(length)))
    for length, first in ((40, 30), (33, 20), (12, 3), (7, 6))
]


@pytest.fixture
def model(inputs: Inputs) -> Decoder:
    """The base with an adapter whose B is not zero."""
    model = load_decoder(inputs.base.path)
    add_adapter(model, "x", LoraConfig(rank=2, alpha=4.0), seed=0)
    torch.manual_seed(4)
    for parameter in adapter_parameters(model, "x"):
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def tuned(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run_sft(inputs, tmp_path_factory.mktemp("tuned"))


def gradients(model: Decoder, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, adapter_parameters(model, "x")))


def masked_loss(model: Decoder, chat: EncodedChat) -> torch.Tensor:
    """The same loss the expensive way: logits of all places, then the answers picked out."""
    tokens = torch.tensor([chat.tokens])
    each = F.cross_entropy(model(tokens)[0, :-1], tokens[0, 1:], reduction="none")
    return each[torch.tensor(chat.answers[1:])].sum()


def test_logits_at_answers_only_give_the_loss_and_gradient_of_all_logits(model: Decoder) -> None:
    for chat in CHATS:
        ours, full = answer_loss(model, collate([chat])), masked_loss(model, chat)
        assert float(ours.detach()) == pytest.approx(float(full.detach()), rel=1e-5)
        for a, b in zip(gradients(model, ours), gradients(model, full), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_logits_are_computed_at_answers_only(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    original = Decoder.logits
    monkeypatch.setattr(Decoder, "logits", lambda self, hidden: (asked.append(hidden.shape), original(self, hidden))[1])
    answer_loss(model, collate(CHATS))
    assert asked == [(sum(chat.n_answers for chat in CHATS), 16)]


def test_a_ragged_batch_gives_the_sum_of_its_chats(model: Decoder) -> None:
    together = answer_loss(model, collate(CHATS))
    alone = torch.stack([answer_loss(model, collate([chat])) for chat in CHATS]).sum()
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-5)
    for a, b in zip(gradients(model, together), gradients(model, alone), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_what_is_asked_does_not_count(model: Decoder) -> None:
    """Marking the prompt as well gives another loss: the masks are what decides."""
    chat = CHATS[0]
    everything = EncodedChat(chat.tokens, tuple(place > 0 for place in range(len(chat))))
    assert float(answer_loss(model, collate([everything])).detach()) > float(
        answer_loss(model, collate([chat])).detach()
    )


def test_no_gradient_is_computed_for_the_base(model: Decoder) -> None:
    answer_loss(model, collate(CHATS)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (".adapters." in name), name


@pytest.mark.parametrize("micro_tokens", [1, 50, 80, 10_000])
def test_micro_batches_hold_every_chat_within_the_limit(micro_tokens: int) -> None:
    parts = list(cut(CHATS, micro_tokens))
    assert [chat for part in parts for chat in part] == CHATS
    assert all(len(part) == 1 or len(part) * len(part[0]) <= micro_tokens for part in parts)


def test_the_size_of_micro_batches_changes_memory_and_nothing_else(inputs: Inputs, tmp_path: Path) -> None:
    curves = [
        read_curve(run_sft(inputs, tmp_path / str(size), steps=4, micro_tokens=size, dropout=0.0) / "loss.jsonl")
        for size in (1, 10_000)
    ]
    for one, all_at_once in zip(*curves, strict=True):
        assert list(one.values()) == pytest.approx(list(all_at_once.values()), rel=1e-4)


def test_it_learns_and_the_curve_says_so(tuned: Path) -> None:
    rows = read_curve(tuned / "loss.jsonl")
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert {"step", "loss", "lr", "grad_norm", "tokens"} <= rows[1].keys()
    assert not {"time", "seconds"} & rows[1].keys()


def test_the_adapter_scores_what_the_curve_says(tuned: Path, inputs: Inputs, tmp_path: Path) -> None:
    model = load_decoder(inputs.base.path)
    load_adapter(model, "tuned", tuned)
    use_adapter(model, "tuned")
    documents = sft.load_documents(inputs.dataset.path)
    tokenizer = sft.Tokenizer.load(inputs.base.path)
    found = sft.Examples.make(documents, tokenizer, SFTConfig(**SFT), SFTConfig(**SFT).max_tokens, where="")
    nats = sum(sft.answer_nats(model, [chat]) for chat in found.held_out)
    expected = read_curve(tuned / "loss.jsonl")[-1]["val_loss"]
    assert nats / sum(chat.n_answers for chat in found.held_out) == pytest.approx(expected, rel=1e-5)


def test_peft_reads_the_adapter_and_gives_the_same_logits(tuned: Path, inputs: Inputs) -> None:
    ours = load_decoder(inputs.base.path)
    load_adapter(ours, "tuned", tuned)
    use_adapter(ours, "tuned")
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(inputs.base.path), str(tuned)).eval()
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)
    assert json.loads((tuned / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"


def test_the_documents_it_saw_are_those_of_its_batches_and_never_held_out(tuned: Path, inputs: Inputs) -> None:
    seen = json.loads((tuned / "documents.json").read_text(encoding="utf-8"))
    documents = {item.id: item for item in sft.load_documents(inputs.dataset.path)}
    assert seen["trained_on"] and seen["validated_on"]
    for part, split in (("trained_on", "train"), ("validated_on", "heldout")):
        for item in seen[part]:
            assert documents[item["id"]].metadata["split"] == split
            assert documents[item["id"]].sha256 == item["sha256"]


def test_too_long_chats_are_left_out_and_counted_never_cut(inputs: Inputs, tmp_path: Path) -> None:
    step = make_step(tmp_path)
    metrics = train_sft(SFTConfig(**SFT | {"steps": 1, "max_tokens": 400}), step, inputs.base, inputs.dataset)
    assert int(metrics["examples_too_long"]) > 0 and int(metrics["examples"]) > 0
    with pytest.raises(DataError, match=r"all \d+ chats are longer than 20 tokens.*Raise `max_tokens`"):
        run_sft(inputs, tmp_path / "none", max_tokens=20)


def test_documents_without_prose_are_refused_by_name(inputs: Inputs, tmp_path: Path) -> None:
    bare = tmp_path / "dataset"
    bare.mkdir()
    write_documents(bare, [Document.create("table.csv", "1;2;3\n4;5;6\n", metadata={"split": "train"})])
    changed = Inputs(tmp_path)
    with pytest.raises(DataError, match="no chat can be made"):
        train_sft(SFTConfig(**SFT), make_step(tmp_path / "run"), inputs.base, changed.dataset)


def test_a_loss_that_is_no_number_names_the_step(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"at step [0-9]+, with learning rate"):
        run_sft(inputs, tmp_path, lr=1e30, warmup=0, clip=0.0, dropout=0.0)


def test_minutes_are_kept_as_a_number_of_steps(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = sft._Run.probe

    def probe(run: sft._Run) -> float:
        before = [parameter.clone() for parameter in run.parameters]
        assert original(run) > 0
        assert all(torch.equal(a, b) for a, b in zip(before, run.parameters, strict=True))
        return 6.0

    monkeypatch.setattr(sft._Run, "probe", probe)
    step = make_step(tmp_path / "timed")
    metrics = train_sft(SFTConfig(**SFT | {"minutes": 0.3}), step, inputs.base, inputs.dataset)
    assert metrics["steps"] == 3
    plain = run_sft(inputs, tmp_path / "plain", steps=3)
    assert (plain / "adapter_model.safetensors").read_bytes() == (step.out / "adapter_model.safetensors").read_bytes()
