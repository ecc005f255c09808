"""Readers for files that are one document each: text, Markdown, reStructuredText, Python, HTML; and the table of all.

    READERS[".md"](path, ReadOptions()) -> iterator of RawDocument | Unreadable

A reader never raises for what is in the file: it yields Unreadable with the rule. An OSError passes through, for the
caller knows whether to try again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from genwerk.data.decoding import LINE_END, Decoded, decode, looks_binary
from genwerk.data.raw import RawDocument, Reader, ReadOptions, Unreadable, too_large

_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
_DOCSTRING = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[rRuU]?(\"\"\"|'''|\"|')(.*?)\1", re.DOTALL)
_HEAD = 8192
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


def read_text(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """A plain text file, in whatever encoding; a binary file is told from its first bytes."""
    yield from _whole_file(path, options, "plain")


def read_markdown(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Markdown, kept as it is; YAML front matter is left out, its title kept."""
    for found in _whole_file(path, options, "markdown"):
        if isinstance(found, Unreadable):
            yield found
            continue
        front = re.match(r"---\n(.*?)\n(?:---|\.\.\.)\n", found.text.replace("\r\n", "\n"), re.DOTALL)
        title = re.search(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", front.group(1), re.MULTILINE) if front else None
        text = found.text.replace("\r\n", "\n")[front.end() :] if front else found.text
        line = 1 + len(LINE_END.findall(front.group())) if front else 1
        yield replace(found, text=text, title=title.group(1) if title else "", line=line)


def read_rst(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """reStructuredText, kept as it is."""
    yield from _whole_file(path, options, "rst")


def read_python(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Python source, kept as it is and read in its declared encoding; the title is its docstring's first line."""
    for found in _whole_file(path, options, "python", _CODING):
        yield found if isinstance(found, Unreadable) else replace(found, title=_docstring_title(found.text))


def read_html(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """The main text of a page as Markdown; see `html`."""
    from genwerk.data.html import html_to_markdown  # lxml

    for found in _whole_file(path, options, "markdown", _CHARSET):
        if isinstance(found, Unreadable):
            yield found
            continue
        page = html_to_markdown(found.text)
        if page.text.strip():
            yield RawDocument(page.text, "", page.title, "markdown", found.notes, page.places)
        else:
            yield Unreadable("no text", "the page has no text outside scripts and navigation")


def _whole_file(
    path: Path, options: ReadOptions, kind: str, declared: re.Pattern[bytes] | None = None
) -> Iterator[RawDocument | Unreadable]:
    with path.open("rb") as stream:
        if reason := looks_binary(stream.read(_HEAD)):
            yield Unreadable("binary content", reason)
            return
        stream.seek(0)
        data = stream.read(options.max_bytes + 1)
    if len(data) > options.max_bytes:
        yield too_large(len(data), options)
        return
    decoded = _decode_declared(data, declared) or decode(data)
    notes = (("encoding", decoded.note),) if decoded.note else ()
    yield RawDocument(decoded.text, format=kind, notes=notes, line=1, encoding=decoded.encoding)


def _decode_declared(data: bytes, pattern: re.Pattern[bytes] | None) -> Decoded | None:
    """Decode as the file itself says, where it says so truthfully."""
    found = pattern.search(data[:4096]) if pattern else None
    if not found or data[:3].startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return None
    name = found.group(1).decode("ascii", "replace").lower()
    try:
        text = data.decode("cp1252" if name in {"iso-8859-1", "latin-1", "latin1"} else name)
    except (LookupError, UnicodeDecodeError):
        return None
    return Decoded(text, name, "" if name in {"utf-8", "utf8", "ascii", "us-ascii"} else f"read as {name}, as declared")


def _docstring_title(source: str) -> str:
    found = _DOCSTRING.match(source[:_HEAD])
    return found.group(2).strip().split("\n", 1)[0].rstrip(".") if found else ""


def _read_records(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    from genwerk.data.records import read_csv, read_jsonl, read_parquet

    kinds = {".parquet": read_parquet, ".csv": read_csv, ".tsv": read_csv}
    yield from kinds.get(path.suffix.lower(), read_jsonl)(path, options)


def _read_code(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    """Source code and settings, kept as they are; a `#` in them is no heading."""
    yield from _whole_file(path, options, "code")


def _read_packed(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    suffix = path.suffix.lower()
    if suffix == ".pdf":
        from genwerk.data.pdf import read_pdf as read
    elif suffix == ".xlsx" or suffix == ".xlsm":
        from genwerk.data.workbooks import read_xlsx as read
    elif suffix in PICTURES:
        from genwerk.data.ocr import read_picture as read
    else:
        from genwerk.data import office

        kinds = {".docx": office.read_docx, ".pptx": office.read_pptx, ".epub": office.read_epub}
        read = kinds[suffix]
    yield from read(path, options)


def _read_mail(path: Path, options: ReadOptions) -> Iterator[RawDocument | Unreadable]:
    from genwerk.data.mail import read_eml, read_mbox

    yield from (read_mbox if path.suffix.lower() == ".mbox" else read_eml)(path, options, reader_for)


PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
HTML = frozenset({".html", ".htm", ".xhtml"})
_CODE = (
    ".bat", ".c", ".cc", ".cfg", ".conf", ".cpp", ".cs", ".css", ".dart", ".ex", ".go", ".h", ".hpp", ".hs", ".ini",
    ".ipynb", ".java", ".jl", ".js", ".json", ".jsx", ".kt", ".lua", ".m", ".mjs", ".php", ".pl", ".ps1", ".r", ".rb",
    ".rs", ".scala", ".scss", ".sh", ".sql", ".swift", ".tex", ".toml", ".ts", ".tsx", ".vue", ".xml", ".yaml", ".yml",
)  # fmt: skip

READERS: dict[str, Reader] = {
    ".txt": read_text, ".text": read_text, ".log": read_text, "": read_text,
    ".md": read_markdown, ".markdown": read_markdown, ".rst": read_rst, ".py": read_python,
    **dict.fromkeys(HTML, read_html),
    ".jsonl": _read_records, ".ndjson": _read_records, ".csv": _read_records, ".tsv": _read_records,
    ".parquet": _read_records, ".pdf": _read_packed, ".docx": _read_packed, ".epub": _read_packed,
    ".pptx": _read_packed, ".xlsx": _read_packed, ".xlsm": _read_packed, ".eml": _read_mail, ".mbox": _read_mail,
    **dict.fromkeys(PICTURES, _read_packed), **dict.fromkeys(_CODE, _read_code),
}  # fmt: skip
"""Suffix → reader. Parsers load only when such a file is read."""

STREAMED = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".mbox"})
"""Files of records: they may be larger than the limit, for each record is checked on its own."""

GUARDED = frozenset({".pdf", ".docx", ".epub", ".pptx", ".xlsx", ".xlsm", ".eml", ".mbox", *PICTURES})
"""Formats whose parsers run in a process of their own; see `guarded`."""

_SAVE_AS = {
    ".doc": "DOCX", ".rtf": "DOCX", ".odt": "DOCX", ".pages": "DOCX", ".wpd": "DOCX", ".xls": "XLSX", ".ods": "XLSX",
    ".numbers": "XLSX", ".ppt": "PPTX", ".odp": "PPTX", ".key": "PPTX", ".msg": "EML", ".pst": "MBOX", ".djvu": "PDF",
    ".xps": "PDF", ".ps": "PDF", ".mobi": "EPUB", ".azw3": "EPUB", ".heic": "PNG",
}  # fmt: skip
_PACKED = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"})


def reader_for(suffix: str) -> Reader | Unreadable:
    """The reader of files with this suffix (in lower case, with its dot), or what to do instead."""
    if suffix in READERS:
        return READERS[suffix]
    if suffix in _SAVE_AS:
        return Unreadable("unsupported type", f"no reader for `{suffix}`; save it as {_SAVE_AS[suffix]}")
    if suffix in _PACKED:
        return Unreadable("unsupported type", f"no reader for `{suffix}`; unpack it into the folder")
    known = " ".join(name for name in READERS if name and name not in _CODE)
    return Unreadable("unsupported type", f"no reader for `{suffix}`; there are {known}, and source code")
