"""Files are parsed ahead in several processes and come out in their order, whatever the number of processes.

    for file, read in read_ahead(list_files(sources, ledger), options): ...

Each process is a `GuardedReader`, fed by a thread that waits for it. Formats that take long to parse are sent there as
far as the window reaches; text and code are read here when their turn comes, for to send them is dearer than to decode
them. The window has 8 files a process, of 256 MB together at most; a larger file goes alone. Nothing is started before
a file is sent. When the iterator is closed, when an error leaves it, or when Python ends, every process is ended.

Chosen:   one process a core, 8 at most: each may hold gigabytes, and who asks cleans what more of them would parse.
          HTML is sent where it is 4 MB in all and there are two cores: what a process needs to start parses a few MB.
          Cleaning stays with who asks, and goes on beside the parsing.
Try it:   python benchmarks/read_ahead.py --pages 20 --rounds 1
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from genwerk.core.machine import threads_to_use
from genwerk.data.guarded import GuardedReader
from genwerk.data.raw import ReadOptions
from genwerk.data.readers import GUARDED, HTML
from genwerk.data.sources import SourceFile
from genwerk.data.still_file import FileRead, read_file

_MOST_READERS = 8
_FILES_PER_READER = 8
_WINDOW_BYTES = 256_000_000
_ENOUGH_HTML = 4_000_000

Tell = Callable[[SourceFile, str], None]


@dataclass(slots=True)
class _Sent:
    """A file that is sent; `awaited` when nothing else comes before it."""

    file: SourceFile
    size: int
    done: Future[FileRead] = field(init=False)
    awaited: bool = False


def read_ahead(
    files: Sequence[SourceFile], options: ReadOptions, tell: Tell, *, n_readers: int = 0
) -> Generator[tuple[SourceFile, FileRead], None, None]:
    """Each file with what is in it. `tell` hears how far the awaited file is; `n_readers` 0: one a core.

    Raises DataError where an optional package is missing.
    """
    n_readers = n_readers or min(threads_to_use(), _MOST_READERS)
    coming = deque(_worth_sending(files, n_readers))
    window: deque[_Sent] = deque()
    with closing(_Readers(n_readers, options, tell)) as readers:
        for file in files:
            while coming and _has_room(window, coming[0].size, n_readers):
                window.append(coming.popleft())
                readers.send(window[-1])
            if window and window[0].file is file:
                sent = window.popleft()
                sent.awaited = True
                yield file, sent.done.result()
            else:
                yield file, read_file(file.path, options)


def _worth_sending(files: Sequence[SourceFile], n_readers: int) -> Iterator[_Sent]:
    suffixes = {file: file.path.suffix.lower() for file in files}
    sizes = {file: _size(file.path) for file in files if suffixes[file] in GUARDED | HTML}
    pages = sum(size for file, size in sizes.items() if suffixes[file] in HTML)
    formats = GUARDED | HTML if n_readers > 1 and pages >= _ENOUGH_HTML else GUARDED
    return (_Sent(file, size) for file, size in sizes.items() if suffixes[file] in formats)


def _size(path: Path) -> int:
    with suppress(OSError):  # said when it is read
        return path.stat().st_size
    return 0


def _has_room(window: Sequence[_Sent], size: int, n_readers: int) -> bool:
    held = sum(sent.size for sent in window)
    return not window or (len(window) < n_readers * _FILES_PER_READER and held + size <= _WINDOW_BYTES)


class _Readers:
    """Processes that read what is sent to them, each started with what is first sent to it."""

    def __init__(self, most: int, options: ReadOptions, tell: Tell) -> None:
        self._most, self._options, self._tell = most, options, tell
        self._queue: SimpleQueue[_Sent | None] = SimpleQueue()
        self._readers: list[GuardedReader] = []
        self._closed = False
        atexit.register(self.close)  # whoever was interrupted may still hold the iterator

    def send(self, sent: _Sent) -> None:
        """To be read by the next that is free."""
        sent.done = Future()
        self._queue.put(sent)
        if len(self._readers) < self._most:
            self._readers.append(GuardedReader())
            Thread(target=self._feed, args=(self._readers[-1],), daemon=True).start()

    def close(self) -> None:
        """End all processes; what is on its way is given up."""
        atexit.unregister(self.close)
        self._closed = True
        for reader in self._readers:
            self._queue.put(None)
            reader.stop()

    def _feed(self, reader: GuardedReader) -> None:
        while (sent := self._queue.get()) and not self._closed:
            options = replace(self._options, tick=self._tick(sent))
            try:
                sent.done.set_result(read_file(sent.file.path, options, reader.read))
            except BaseException as error:  # whatever it is, it is raised where the file is awaited
                sent.done.set_exception(error)
        reader.close()

    def _tick(self, sent: _Sent) -> Callable[[str], None]:
        return lambda progress: self._tell(sent.file, progress) if sent.awaited else None
