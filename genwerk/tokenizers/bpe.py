"""Byte-level byte-pair encoding: learn a vocabulary from the documents themselves.

Source: Sennrich et al. (2016), Neural Machine Translation of Rare Words with Subword Units; over bytes as in Radford et
al. (2019), Language Models are Unsupervised Multitask Learners.

    start with the 256 bytes; again and again merge the most frequent neighbouring pair (a, b) into one new token ab

Chosen:   the `tokenizers` library learns and runs it; digits stand alone, so that numbers are read place by place; only
          documents of the train split are learned from; ChatML special tokens, so that the model can be tuned to chat.
Left out: Unicode normalisation (the dataset is normalised once, and decode(encode(text)) must be text).
Try it:   genwerk run quickstart
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from genwerk.core.artifact import Artifact
from genwerk.core.atomic import write_json, write_text
from genwerk.core.config import Config, Field
from genwerk.core.errors import DataError
from genwerk.core.progress import say, track
from genwerk.core.workspace import Step

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
_SMALLEST = 256 + len(SPECIAL_TOKENS)
_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class TrainTokenizerConfig(Config):
    """How large a vocabulary is learned."""

    vocab_size: int = Field(4096, ge=_SMALLEST, le=1_000_000, description="tokens, the 256 bytes and specials included")
    min_frequency: int = Field(2, ge=1, description="a pair that is rarer is not merged")


def train_tokenizer(config: TrainTokenizerConfig, step: Step, dataset: Artifact) -> dict[str, float | int | str]:
    """Learn from the train split of `dataset` and write a Hugging Face tokenizer directory to `step.out`.

    A small collection may have fewer pairs than `vocab_size` asks for: the vocabulary is then smaller, and it is said.
    Raises DataError where the dataset has no text.
    """
    texts = _train_texts(dataset.path / "documents.jsonl")
    with track("training the tokenizer", total=len(texts), unit="documents") as bar:
        tokenizer = learn_bpe(_counted(texts, bar.advance), config.vocab_size, config.min_frequency)
    size = tokenizer.get_vocab_size()
    if size < config.vocab_size:
        say(f"the documents have pairs for {size:,} tokens only; {config.vocab_size:,} were asked for")
    write_text(step.out / "tokenizer.json", tokenizer.to_str(pretty=False))
    write_json(step.out / "tokenizer_config.json", _tokenizer_config())
    write_json(step.out / "special_tokens_map.json", {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT})
    size_in_bytes = sum(len(text.encode("utf-8")) for text in texts)
    n_tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    return {"vocab_size": size, "bytes_per_token": round(size_in_bytes / max(n_tokens, 1), 4)}


def learn_bpe(texts: Iterator[str], vocab_size: int, min_frequency: int = 2) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens. The same texts give the same merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _train_texts(path: Path) -> list[str]:
    remedy = "Run the recipe again; the prepare step is made anew."
    try:
        with path.open(encoding="utf-8") as stream:
            records = [json.loads(line) for line in stream]
        texts = [str(record["text"]) for record in records if record["metadata"].get("split", "train") == "train"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the documents cannot be read: {error!r}", where=str(path), remedy=remedy) from error
    if not texts:
        raise DataError("no document to learn a tokenizer from", where=str(path), remedy="Add documents.")
    return texts


def _counted(texts: list[str], advance: Callable[[], None]) -> Iterator[str]:
    for text in texts:
        yield text
        advance()


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
        "chat_template": _CHAT_TEMPLATE,
    }
