"""E-mail: .eml is one message, .mbox many; each message a document, each attachment one more by its own reader.

    Subject → title and heading; From, To, Cc and Date → lines; the plain text, else the HTML as Markdown → text

An attachment is the part `attachment NAME`; one without a reader says so in the ledger. Messages inside of messages are
read three deep. Quoted text of earlier messages stays.
"""

from __future__ import annotations

import email
import email.policy
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from genwerk.data.decoding import decode, looks_binary
from genwerk.data.html import html_to_markdown
from genwerk.data.raw import RawDocument, Reader, ReadOptions, Unreadable, damaged, too_large

ReaderFor = Callable[[str], Reader | Unreadable]
"""From a suffix to its reader, or to what to do instead."""

_DEEPEST = 3
_MOST_ATTACHMENTS = 1000
_HEADERS = ("From", "To", "Cc", "Date")
_FROM_LINE = re.compile(rb"From \S.*\d{4}\s*$")


def read_eml(path: Path, options: ReadOptions, reader_for: ReaderFor) -> Iterator[RawDocument | Unreadable]:
    """One message and its attachments, which `reader_for` has readers for."""
    yield from _message(path.read_bytes(), "", options, reader_for)


def read_mbox(path: Path, options: ReadOptions, reader_for: ReaderFor) -> Iterator[RawDocument | Unreadable]:
    """The messages of a mailbox file, one after the other in bounded memory."""
    number = 0
    for number, data in enumerate(_messages(path, options.max_bytes), start=1):
        part = f"message {number}"
        options.tick(part)
        if len(data) > options.max_bytes:
            yield Unreadable("too large", too_large(len(data), options).detail, part)
        else:
            yield from _message(data, part, options, reader_for)
    if not number:
        yield Unreadable("no messages", "no line begins a message (`From name date`)")


def _messages(path: Path, most: int) -> Iterator[bytes]:
    lines: list[bytes] | None = None
    size, blank = 0, True
    with path.open("rb") as stream:
        while line := stream.readline(1 << 20):
            if blank and _FROM_LINE.match(line):
                if lines is not None:
                    yield b"".join(lines)
                lines, size = [], 0
            elif lines is not None and size <= most:
                lines.append(line[1:] if re.match(rb">+From ", line) else line)
                size += len(line)
            blank = not line.strip()
    if lines is not None:
        yield b"".join(lines)


def _message(data: bytes, part: str, options: ReadOptions, reader_for: ReaderFor) -> Iterator[RawDocument | Unreadable]:
    if reason := looks_binary(data):
        yield Unreadable("binary content", reason, part)
        return
    try:
        message: Any = email.message_from_bytes(data, policy=email.policy.default)
        subject, text = _subject(message), _text(message)
        head = [f"{name}: {' '.join(str(message[name]).split())}" for name in _HEADERS if message[name]]
        attachments = list(_attachments(message)) if isinstance(message, EmailMessage) else []
    except Exception as error:  # malformed headers and encodings make the parser raise almost anything
        yield replace(damaged("e-mail", error), part=part)
        return
    if not head and not subject:
        yield Unreadable("no e-mail", "it has no header line of a message (From, To, Date, Subject)", part)
        return
    blocks = [f"# {subject}" if subject else "", "\n".join(head), text]
    yield RawDocument("\n\n".join(block for block in blocks if block), part, subject, "markdown")
    for name, content in attachments[:_MOST_ATTACHMENTS]:
        reader = reader_for(Path(name).suffix.lower())
        yield from _attachment(f"{part} attachment {name}".strip(), content, Path(name).suffix, reader, options)
    if len(attachments) > _MOST_ATTACHMENTS:
        yield Unreadable("too many attachments", f"{len(attachments) - _MOST_ATTACHMENTS} more are left out", part)


def _subject(message: Any) -> str:
    return " ".join(str(message["Subject"] or "").split())


def _text(message: Any) -> str:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return ""
    payload = body.get_payload(decode=True) or b""
    charset = body.get_content_charset() or ""
    try:
        text = payload.decode(charset) if charset else decode(payload).text
    except (LookupError, UnicodeDecodeError):
        text = decode(payload).text
    text = text.replace("\r\n", "\n")
    return html_to_markdown(text).text if body.get_content_type() == "text/html" else text.strip("\n")


def _attachments(message: EmailMessage) -> Iterator[tuple[str, bytes]]:
    for number, one in enumerate(message.iter_attachments(), start=1):
        if one.get_content_type() == "message/rfc822":
            inner = one.get_payload(0)
            yield _name(one) or f"{number}.eml", inner.as_bytes() if hasattr(inner, "as_bytes") else b""
        else:
            content = one.get_payload(decode=True)
            yield _name(one) or f"{number}", content if isinstance(content, bytes) else b""


def _name(part: Any) -> str:
    """The name of an attachment without line ends, controls and overrides of direction."""
    return "".join(character for character in part.get_filename() or "" if character.isprintable())


def _attachment(
    part: str, content: bytes, suffix: str, reader: Reader | Unreadable, options: ReadOptions
) -> Iterator[RawDocument | Unreadable]:
    if isinstance(reader, Unreadable):
        yield replace(reader, part=part)
    elif not content:
        yield Unreadable("empty file", "zero bytes", part)
    elif options.depth >= _DEEPEST:
        yield Unreadable("nested too deep", f"messages are read {_DEEPEST} deep", part)
    else:
        with tempfile.TemporaryDirectory(prefix="genwerk-") as folder:
            path = Path(folder) / f"attachment{suffix}"
            path.write_bytes(content)
            for found in reader(path, replace(options, depth=options.depth + 1)):
                yield replace(found, part=f"{part} {found.part}".strip())
