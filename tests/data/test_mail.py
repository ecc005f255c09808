"""E-mail: subject, people, text and attachments of one message and of a mailbox."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

from genwerk.data.raw import RawDocument, ReadOptions, Unreadable
from genwerk.data.readers import READERS


def new_message(text: str = "The filter is clean.\nBest, Eva", subject: str = "Pump günstig") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Eva <eva@example.org>", "ada@example.org"
    message["Date"] = "Mon, 02 Sep 2024 10:00:00 +0200"
    message.set_content(text)
    return message


def read(path: Path, data: bytes, **options: int) -> list[RawDocument | Unreadable]:
    path.write_bytes(data)
    return list(READERS[path.suffix](path, ReadOptions(**options)))


def told(found: list[RawDocument | Unreadable]) -> list[tuple[str, str]]:
    return [(one.part, one.text if isinstance(one, RawDocument) else one.rule) for one in found]


def test_a_message_is_its_subject_its_people_and_its_text(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "a.eml", new_message().as_bytes())
    assert isinstance(found, RawDocument)
    assert found.title == "Pump günstig"
    assert found.text == (
        "# Pump günstig\n\nFrom: Eva <eva@example.org>\nTo: ada@example.org\nDate: Mon, 02 Sep 2024 10:00:00 +0200\n\n"
        "The filter is clean.\nBest, Eva"
    )


def test_html_alone_is_read_as_markdown(tmp_path: Path) -> None:
    message = new_message()
    message.set_content("<h2>News</h2><p>All <b>good</b>.</p><script>x</script>", subtype="html")
    (found,) = read(tmp_path / "a.eml", message.as_bytes())
    assert isinstance(found, RawDocument) and found.text.endswith("\n\n## News\n\nAll good.")


def test_attachments_are_documents_of_their_own_and_nest_three_deep(tmp_path: Path) -> None:
    inner = new_message("deepest")
    for depth in range(4):
        outer = new_message(f"level {depth}")
        outer.add_attachment(inner)
        inner = outer
    inner.add_attachment(b"# Note\n\nRead me.", maintype="text", subtype="markdown", filename="note.md")
    inner.add_attachment(b"\0\1", maintype="application", subtype="zip", filename="all.zip")
    inner.add_attachment(b"broken", maintype="application", subtype="pdf", filename="../a.pdf")
    found = told(read(tmp_path / "a.eml", inner.as_bytes()))
    assert [part for part, _ in found] == [
        "", "attachment 1.eml", "attachment 1.eml attachment 1.eml",
        "attachment 1.eml attachment 1.eml attachment 1.eml",
        "attachment 1.eml attachment 1.eml attachment 1.eml attachment 1.eml",
        "attachment note.md", "attachment all.zip", "attachment ../a.pdf",
    ]  # fmt: skip
    assert [text for _, text in found[4:]] == [
        "nested too deep",
        "# Note\n\nRead me.",
        "unsupported type",
        "damaged PDF",
    ]


def test_a_mailbox_gives_each_message_by_number(tmp_path: Path) -> None:
    one = b"From eva@example.org Mon Sep  2 10:00:00 2024\n" + new_message(">From here on").as_bytes() + b"\n"
    large = b"From x Mon Sep  2 10:00:00 2024\n" + new_message("long " * 2000).as_bytes() + b"\n"
    found = read(tmp_path / "a.mbox", one + large + one, max_bytes=3000)
    assert [(part, text.split("\n")[-1]) for part, text in told(found)] == [
        ("message 1", "From here on"), ("message 2", "too large"), ("message 3", "From here on"),
    ]  # fmt: skip
    assert told(read(tmp_path / "b.mbox", b"nothing of the kind\n")) == [("", "no messages")]
    assert told(read(tmp_path / "b.eml", b"nothing of the kind\n")) == [("", "no e-mail")]
