"""Files of a hub: what would break is a file stitched together from two versions, or fetched whole again after a cut.

The hub is a small server on this machine that can cut a connection and change a file.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from genwerk.core.assets import fetch
from genwerk.core.cache import cache_directory
from genwerk.core.errors import AssetError

BIG = bytes(range(256)) * 20_000


class Hub(ThreadingHTTPServer):
    """Serves `files`; cuts each of the next `cuts` answers after so many bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = {"model.bin": BIG, "sub/a.txt": b"a", "sub/deep/b.txt": b"b"}
        self.cuts: list[int] = []
        self.log: list[tuple[str, str]] = []
        self.status = 200


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.log.append((self.path, self.headers.get("Range", "")))
        if self.server.status != 200:
            self.send_error(self.server.status)
        elif self.path == "/api/models/owner/name/revision/main":
            names = [{"rfilename": name} for name in self.server.files]
            self._send(200, json.dumps({"sha": "c0ffee", "siblings": names}).encode(), {})
        else:
            name = self.path.removeprefix("/owner/name/resolve/main/").removeprefix("/owner/name/resolve/c0ffee/")
            self._send_file(self.server.files.get(name))

    def _send_file(self, data: bytes | None) -> None:
        if data is None:
            self.send_error(404)
            return
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}
        start = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if not start:
            self._send(200, data, headers)
        elif int(start) >= len(data):
            self._send(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
        else:
            place = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, data[int(start) :], headers | {"Content-Range": place})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(data)
        self.wfile.write(data[:cut])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_once(hub: Hub) -> None:
    path = fetch("hf:owner/name!model.bin", hashlib.sha256(BIG).hexdigest())
    assert path.read_bytes() == BIG
    assert fetch("hf:owner/name!model.bin") == path and len(hub.log) == 1


def test_a_cut_connection_goes_on_where_it_broke(hub: Hub) -> None:
    hub.cuts = [1_000_000, 2_000_000]
    assert fetch("hf:owner/name!model.bin").read_bytes() == BIG
    starts = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for _, asked in hub.log]
    assert len(starts) == 3 and starts == sorted(starts) and starts[1] > 0


def test_a_stopped_fetch_goes_on_in_the_next_process(hub: Hub) -> None:
    hub.cuts = [3_000_000, 0]  # cut, and then no progress: given up
    with pytest.raises(AssetError, match="could not be reached"):
        fetch("hf:owner/name!model.bin")
    hub.log.clear()
    assert fetch("hf:owner/name!model.bin").read_bytes() == BIG
    assert len(hub.log) == 1 and hub.log[0][1].startswith("bytes=")


def test_a_file_that_changed_meanwhile_is_begun_again(hub: Hub) -> None:
    hub.cuts = [3_000_000, 0]
    with pytest.raises(AssetError):
        fetch("hf:owner/name!model.bin")
    hub.files["model.bin"] = BIG[::-1]
    assert fetch("hf:owner/name!model.bin").read_bytes() == BIG[::-1]
    hub.cuts = [3_000_000, 0]
    with pytest.raises(AssetError):
        fetch("hf:owner/name@main!model.bin")
    hub.files["model.bin"] = b"short now"
    assert fetch("hf:owner/name@main!model.bin").read_bytes() == b"short now"


def test_a_file_that_was_whole_when_it_was_stopped_is_taken(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", stop)
        fetch("hf:owner/name!model.bin")
    assert fetch("hf:owner/name!model.bin").read_bytes() == BIG
    assert hub.log[-1][1] == f"bytes={len(BIG)}-"


def test_a_folder_comes_from_one_commit(hub: Hub) -> None:
    path = fetch("hf:owner/name!sub/")
    assert {file.relative_to(path).as_posix() for file in path.rglob("*.txt")} == {"a.txt", "deep/b.txt"}
    commit = "/owner/name/resolve/c0ffee/sub/"
    assert [asked for asked, _ in hub.log[1:]] == [f"{commit}a.txt", f"{commit}deep/b.txt"]
    whole = fetch("hf:owner/name")
    assert (whole / "model.bin").read_bytes() == BIG and not list(whole.rglob("*.etag"))


@pytest.mark.parametrize(("status", "word"), [(404, "has no"), (401, "gives no access"), (500, "refused")])
def test_refusals_say_what_to_do(hub: Hub, status: int, word: str) -> None:
    hub.status = status
    for spec in ("hf:owner/name!gone.bin", "hf:owner/name!sub/"):
        with pytest.raises(AssetError, match=word) as caught:
            fetch(spec)
        assert str(status) in caught.value.where and caught.value.remedy


def test_a_missing_folder_and_a_spoilt_list_are_named(hub: Hub) -> None:
    with pytest.raises(AssetError, match="no folder `gone`"):
        fetch("hf:owner/name!gone/")
    hub.files = {"sub/../../evil.txt": b"x"}
    with pytest.raises(AssetError, match="no folder"):
        fetch("hf:owner/name")


def test_no_network_is_said_with_the_way_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AssetError) as caught:
        fetch("hf:owner/name!model.bin", cache=tmp_path)
    assert "http://127.0.0.1:9 could not be reached" in caught.value.what
    assert "hf download owner/name model.bin" in caught.value.remedy and "path:" in caught.value.remedy
    assert cache_directory() != tmp_path and (tmp_path / "partial").exists()
