"""Byte-level BPE: no text is lost, the same texts give the same tokens, other engines load what we write."""

from __future__ import annotations

import json
import pydoc_data.topics
from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from genwerk.core.config import Config
from genwerk.core.errors import ConfigError, DataError
from genwerk.core.workspace import Artifact, Step, Workspace
from genwerk.tokenizers.bpe import SPECIAL_TOKENS, TrainTokenizerConfig, learn_bpe, train_tokenizer

TEXTS = [pydoc_data.topics.topics[name] for name in ("if", "for", "with", "class", "strings")]


class _Texts(Config):
    texts: tuple[str, ...]
    splits: tuple[str, ...]


def write_dataset(config: _Texts, step: Step) -> None:
    """A dataset artifact as the prepare step writes it."""
    lines = [json.dumps({"text": text, "metadata": {"split": split}})
             for text, split in zip(config.texts, config.splits, strict=True)]  # fmt: skip
    (step.out / "documents.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def dataset(workspace: Workspace, texts: list[str], splits: list[str] | None = None) -> Artifact:
    splits = splits or ["train"] * len(texts)
    return workspace.step(write_dataset, _Texts(texts=tuple(texts), splits=tuple(splits)), kind="dataset")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return learn_bpe(iter(TEXTS), 600)


@given(st.text(max_size=80))
def test_decoding_gives_back_every_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_the_most_frequent_pair_is_merged_first() -> None:
    learned = learn_bpe(iter(["hug hug hug hug hug pug pug pun bun hugs"]), 256 + len(SPECIAL_TOKENS) + 2)
    merges = json.loads(learned.to_str())["model"]["merges"]
    assert [tuple(pair) for pair in merges] == [("u", "g"), ("h", "ug")]


def test_special_tokens_and_bytes_have_fixed_places(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    assert tokenizer.get_vocab_size() == 600
    assert tokenizer.encode("2024").tokens == ["2", "0", "2", "4"]


def test_the_step_writes_what_transformers_loads_and_repeats(tmp_path: Path) -> None:
    records = []
    for name in ("one", "two"):
        workspace = Workspace(tmp_path / name)
        made = workspace.step(
            train_tokenizer, TrainTokenizerConfig(vocab_size=700), dataset(workspace, TEXTS), kind="tokenizer"
        )
        records.append(made)
    assert records[0].files == records[1].files
    assert records[0].metrics["vocab_size"] == 700
    assert float(records[0].metrics["bytes_per_token"]) > 2
    loaded = transformers.AutoTokenizer.from_pretrained(records[0].path)
    ours = Tokenizer.from_file(str(records[0].path / "tokenizer.json"))
    assert loaded(TEXTS[0])["input_ids"] == ours.encode(TEXTS[0]).ids
    assert loaded.eos_token_id == 0
    chat = loaded.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert chat == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_held_out_documents_are_not_learned_from(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    config = TrainTokenizerConfig(vocab_size=300)
    both = dataset(workspace, [TEXTS[0], "zq" * 500], ["train", "heldout"])
    made = workspace.step(train_tokenizer, config, both, kind="tokenizer")
    assert "zq" not in Tokenizer.from_file(str(made.path / "tokenizer.json")).get_vocab()


def test_a_small_collection_gives_a_smaller_vocabulary_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    made = workspace.step(train_tokenizer, TrainTokenizerConfig(), dataset(workspace, ["ab ab"]), kind="tokenizer")
    assert int(made.metrics["vocab_size"]) < 300
    assert "4,096 were asked for" in capsys.readouterr().err


def test_no_text_and_no_room_for_bytes_are_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(DataError, match="no document to learn"):
        workspace.step(train_tokenizer, TrainTokenizerConfig(), dataset(workspace, ["x"], ["heldout"]))
    with pytest.raises(ConfigError, match="vocab_size"):
        TrainTokenizerConfig.parse({"vocab_size": 100})
