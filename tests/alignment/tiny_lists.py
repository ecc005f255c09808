"""An encoder of two small layers and ranking lists over made-up words, for tests of what is trained on lists."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
from tiny_runs import artifact
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from genwerk.core.workspace import Artifact
from genwerk.data.ranking_lists import RankingList, RankingLists, write_lists

WORDS = [f"w{number}" for number in range(60)]


def write_encoder(path: Path) -> Artifact:
    """A BERT of random weights with one token a word and a window of 40."""
    path.mkdir(parents=True)
    vocab = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = tokenizers.Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=40, initializer_range=0.15,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    return artifact(path)


def make_lists(count: int = 8, *, dev: int = 3, scores: bool = False) -> RankingLists:
    """Query n asks for word n, which stands in passage n alone; the others of its list are of other queries."""
    passages = [f"{WORDS[30 + n]} {WORDS[n]} " + " ".join(WORDS[50 : 50 + n % 5]) for n in range(count + dev)]
    lists = []
    for n in range(count + dev):
        split, size = ("train", count) if n < count else ("dev", count + dev)
        others = tuple(m for m in range(size) if m != n)[:5]
        taught = (3.0, *(-1.0 - 0.5 * place for place in range(len(others)))) if scores else None
        lists.append(RankingList(f"{WORDS[n]} {WORDS[40 + n % 7]}", n, others, split, f"d{n}", taught))
    documents = tuple({"id": f"d{n}", "sha256": str(n)} for n in range(count + dev))
    return RankingLists(tuple(passages), tuple(lists), documents)


def write(path: Path, lists: RankingLists) -> Artifact:
    path.mkdir(parents=True)
    write_lists(path, lists)
    return artifact(path)
