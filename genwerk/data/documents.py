"""Documents on disk: `documents.jsonl` in a dataset artifact, one document a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from genwerk.core.atomic import write_text
from genwerk.core.errors import DataError
from genwerk.core.types import Document

FILE = "documents.jsonl"


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write `documents` to the folder `path`."""
    lines = (
        json.dumps(
            {
                "id": document.id,
                "source": document.source,
                "sha256": document.sha256,
                "acl": list(document.acl),
                "metadata": dict(document.metadata),
                "text": document.text,
            },
            ensure_ascii=False,
        )
        for document in documents
    )
    write_text(path / FILE, "".join(line + "\n" for line in lines))


def load_documents(path: Path) -> list[Document]:
    """The documents of the dataset artifact at `path`. Raises DataError when there are none to read."""
    file = path / FILE
    remedy = "Run the recipe again; the prepare step is made anew."
    try:
        with file.open(encoding="utf-8") as stream:
            return [_parse(line) for line in stream]
    except FileNotFoundError:
        raise DataError("no documents in this dataset", where=str(file), remedy=remedy) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"the documents cannot be read: {error!r}", where=str(file), remedy=remedy) from error


def _parse(line: str) -> Document:
    record = json.loads(line)
    return Document(
        record["id"], record["source"], record["text"], record["sha256"], tuple(record["acl"]), record["metadata"]
    )
