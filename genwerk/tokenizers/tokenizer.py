"""The tokenizer of a model directory: text to token numbers and back, and chats to the text its model was taught.

Reads tokenizer.json (run by the `tokenizers` library), tokenizer_config.json, generation_config.json and a chat
template where there is one. Text written by users can never turn into control tokens: where a message contains the
letters of one (such as `<|im_end|>`), they are encoded as plain letters.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from genwerk.core.errors import ModelError
from genwerk.core.types import Message
from genwerk.tokenizers.byte_alphabet import token_to_bytes
from genwerk.tokenizers.chat_template import FALLBACK_TEMPLATE, compile_template, render
from genwerk.tokenizers.stream import StreamDecoder

__all__ = ["StreamDecoder", "Tokenizer", "read_tokenizer"]

_MARK = ("\ue000", "\ue001")  # around control tokens that a user wrote, while the template runs


class Tokenizer:
    """Encode and decode text for one model. Make it with `Tokenizer.load`."""

    def __init__(
        self,
        runner: tokenizers.Tokenizer,
        *,
        settings: dict[str, Any],
        eos_ids: Iterable[int],
        bos_id: int | None,
        chat_template: str | None,
        where: str = "",
    ) -> None:
        self._runner, self._settings, self._where = runner, settings, where
        self.eos_ids, self.bos_id = frozenset(eos_ids), bos_id
        self.chat_template = chat_template

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read the tokenizer of a model directory. Raises ModelError when a file is missing or damaged."""
        path = Path(path)
        runner = read_tokenizer(path)
        settings = _read(path / "tokenizer_config.json")
        template_file = path / "chat_template.jinja"
        template = template_file.read_text(encoding="utf-8") if template_file.exists() else _template(settings)
        bos = settings.get("bos_token")
        return cls(
            runner,
            settings=settings,
            eos_ids=_eos_ids(path, runner, settings),
            bos_id=runner.token_to_id(_content(bos)) if bos else None,
            chat_template=template,
            where=str(path),
        )

    @cached_property
    def vocab_size(self) -> int:
        """Numbers run from 0 to vocab_size - 1."""
        return int(self._runner.get_vocab_size(with_added_tokens=True))

    def to_json(self) -> str:
        """The content of tokenizer.json."""
        return str(self._runner.to_str())

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token numbers of `text`. `special` adds what the model expects around a text (bos, [CLS], ...)."""
        return list(self._runner.encode(text, add_special_tokens=special).ids)

    def encode_batch(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        """`encode` of many texts at once, on all cores."""
        return [one.ids for one in self._runner.encode_batch_fast(list(texts), add_special_tokens=special)]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of token numbers; bytes that are no UTF-8 become U+FFFD."""
        return str(self._runner.decode(list(ids), skip_special_tokens=skip_special))

    def token_bytes(self, token: int) -> bytes:
        """The bytes one token stands for; empty for a number without a token."""
        if token in self._added:
            return self._added[token].encode()
        piece = self._runner.id_to_token(token)
        return b"" if piece is None else token_to_bytes(piece)

    def token_to_id(self, piece: str) -> int | None:
        """The number of a token by its spelling in tokenizer.json."""
        found = self._runner.token_to_id(piece)
        return None if found is None else int(found)

    def pieces(self) -> dict[int, str]:
        """The spelling in tokenizer.json of every token number."""
        return {number: piece for piece, number in self._runner.get_vocab(with_added_tokens=True).items()}

    def apply_chat_template(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The chat as the text its model was taught. Raises ModelError when the template cannot take it."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return render(self._template, turns, add_generation_prompt, self._named, where=self._where)

    def encode_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> list[int]:
        """Token numbers of the chat. Control tokens come from the template only, never from what a message says."""
        if not any(self._forbidden.search(message.content) for message in messages):
            return self.encode(self.apply_chat_template(messages, add_generation_prompt=add_generation_prompt))
        start, end = _MARK
        marked = [
            Message(
                message.role,
                self._control.sub(f"{start}\\g<0>{end}", message.content.replace(start, "").replace(end, "")),
            )
            for message in messages
        ]
        text = self.apply_chat_template(marked, add_generation_prompt=add_generation_prompt)
        ids: list[int] = []
        for number, piece in enumerate(re.split(f"[{start}{end}]", text)):
            ids += self._plain.encode(piece, add_special_tokens=False).ids if number % 2 else self.encode(piece)
        return ids

    @property
    def template_sha256(self) -> str:
        """Which chat template is in use."""
        return hashlib.sha256((self.chat_template or FALLBACK_TEMPLATE).encode()).hexdigest()

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are no text: `decode` leaves them out unless asked not to."""
        return frozenset(n for n, token in self._runner.get_added_tokens_decoder().items() if token.special)

    @cached_property
    def is_byte_level(self) -> bool:
        """Whether the text of tokens is their bytes joined."""
        return isinstance(self._runner.decoder, tokenizers.decoders.ByteLevel)

    @cached_property
    def _template(self) -> Any:
        if self.chat_template is None:
            warnings.warn(
                f"the tokenizer{' in ' + self._where if self._where else ''} has no chat template; "
                "a plain one is used (`User: ...`, `Assistant: ...`)",
                stacklevel=4,
            )
        return compile_template(self.chat_template or FALLBACK_TEMPLATE, where=self._where)

    @cached_property
    def _named(self) -> dict[str, str]:
        names = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
        return {name: _content(self._settings[name]) for name in names if self._settings.get(name)}

    @cached_property
    def _added(self) -> dict[int, str]:
        return {number: token.content for number, token in self._runner.get_added_tokens_decoder().items()}

    @cached_property
    def _control(self) -> re.Pattern[str]:
        longest_first = sorted(self._added.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    @cached_property
    def _forbidden(self) -> re.Pattern[str]:
        return re.compile(f"{self._control.pattern}|[{''.join(_MARK)}]")

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same tokenizer without its added tokens: their letters are letters."""
        description = json.loads(self._runner.to_str())
        description["added_tokens"] = []
        description["post_processor"] = None
        return tokenizers.Tokenizer.from_str(json.dumps(description))


def read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """What `tokenizer.json` of a model directory describes; it neither cuts texts nor fills them up.

    Raises ModelError where the file is missing or damaged.
    """
    file = path / "tokenizer.json"
    if not file.exists():
        raise ModelError("tokenizer.json is missing", where=str(path), remedy="Give a complete model directory.")
    try:
        runner = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        what = f"tokenizer.json cannot be read: {error}"
        raise ModelError(what, where=str(file), remedy="Copy or fetch it again.") from None
    runner.no_padding()
    runner.no_truncation()
    return runner


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path.name} cannot be read: {error}", where=str(path), remedy="Copy or fetch it again."
        ) from None
    return values if isinstance(values, dict) else {}


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _template(settings: dict[str, Any]) -> str | None:
    template = settings.get("chat_template")
    if isinstance(template, list):  # several by name
        template = next((one["template"] for one in template if one.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _eos_ids(path: Path, runner: tokenizers.Tokenizer, settings: dict[str, Any]) -> set[int]:
    ends: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        value = _read(path / name).get("eos_token_id")
        ends.update(value if isinstance(value, list) else () if value is None else (value,))
    if settings.get("eos_token"):
        number = runner.token_to_id(_content(settings["eos_token"]))
        ends.update(() if number is None else (number,))
    return {int(number) for number in ends}
