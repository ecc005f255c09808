"""Files of a model hub over HTTP, resumed by Range where a killed fetch left off."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import httpx

from genwerk.core.asset_clients import by_hand
from genwerk.core.asset_spec import AssetSpec
from genwerk.core.errors import AssetError
from genwerk.core.progress import Bar, say, track

_DEFAULT_HUB = "https://huggingface.co"
_ATTEMPTS = 5


def fetch_hub(spec: AssetSpec, folder: Path) -> Path:
    """Fetch one file or a folder of files below `folder`, and return its path there.

    HF_ENDPOINT names another hub, HF_TOKEN opens gated models. Raises AssetError.
    """
    hub = os.environ.get("HF_ENDPOINT", _DEFAULT_HUB).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
    with httpx.Client(headers=headers, follow_redirects=True, timeout=30) as client:
        try:
            revision, names = (spec.version, [spec.member]) if not spec.is_folder else _list(client, hub, spec)
            for name in names:
                url = f"{hub}/{spec.name}/resolve/{quote(revision, safe='')}/{quote(name)}"
                _fetch_file(client, url, folder / "files" / name, spec)
        except httpx.HTTPError as error:
            what = f"{hub} could not be reached: {error or type(error).__name__}"
            raise AssetError(what, where=spec.text, remedy=by_hand(spec)) from error
    return folder / "files" / spec.member


def _list(client: httpx.Client, hub: str, spec: AssetSpec) -> tuple[str, list[str]]:
    """The commit that the revision means now, and the files of the folder: all are then taken from that commit."""
    response = client.get(f"{hub}/api/models/{spec.name}/revision/{quote(spec.version, safe='')}")
    _check(response, spec)
    try:
        record = response.json()
        commit, names = str(record["sha"]), [str(entry["rfilename"]) for entry in record["siblings"]]
    except (ValueError, KeyError, TypeError) as error:
        raise AssetError("the hub's list of files cannot be read", where=spec.text, remedy=by_hand(spec)) from error
    prefix = f"{spec.member}/" if spec.member else ""
    chosen = [name for name in names if name.startswith(prefix) and ".." not in Path(name).parts]
    if not chosen:
        raise AssetError(f"{spec.name} has no folder `{spec.member}`", where=spec.text, remedy="Check its name.")
    return commit, chosen


def _fetch_file(client: httpx.Client, url: str, path: Path, spec: AssetSpec) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part, tag = path.with_name(path.name + ".part"), path.with_name(path.name + ".etag")
    for attempt in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(client, url, part, tag, spec):
                break
        except httpx.TransportError:
            after = part.stat().st_size if part.exists() else 0
            if attempt == _ATTEMPTS - 1 or after == before:
                raise
            say(f"the connection broke after {after:,} bytes of {path.name}; going on from there", style="yellow")
    else:
        raise AssetError(f"{path.name} changed while it was fetched", where=url, remedy="Name a revision, @COMMIT.")
    part.rename(path)
    tag.unlink(missing_ok=True)


def _continue(client: httpx.Client, url: str, part: Path, tag: Path, spec: AssetSpec) -> bool:
    """Append what is missing; False when the file on the hub is another one by now and must be begun again."""
    have = part.stat().st_size if part.exists() else 0
    known = tag.read_text(encoding="utf-8") if tag.exists() else ""
    headers = {"Range": f"bytes={have}-"} if have and known else {}
    with client.stream("GET", url, headers=headers) as response:
        etag = response.headers.get("ETag", "")
        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code == 416 and whole == str(have) and etag in ("", known):
            return True
        if response.status_code == 416 or (response.status_code == 206 and etag != known):
            part.unlink()
            return False
        _check(response, spec)
        append = response.status_code == 206
        tag.write_text(etag, encoding="utf-8")
        total = int(response.headers.get("Content-Length", 0)) + (have if append else 0)
        with track(f"fetching {part.stem}", total=max(total >> 20, 1), unit="MB") as bar:
            _receive(response, part, have if append else 0, bar)
    return True


def _receive(response: httpx.Response, part: Path, have: int, bar: Bar) -> None:
    bar.advance(have >> 20)
    with part.open("ab" if have else "wb") as file:
        for block in response.iter_raw():  # written as it comes, so that a cut loses nothing
            file.write(block)
            bar.advance((have + len(block) >> 20) - (have >> 20))
            have += len(block)


def _check(response: httpx.Response, spec: AssetSpec) -> None:
    status = response.status_code
    if status < 300:
        return
    place = f"{spec.text}, HTTP {status}"
    if status in (401, 403):
        raise AssetError(
            f"the hub gives no access to {spec.name}", where=place, remedy="Set HF_TOKEN to a token that may."
        )
    if status == 404:
        what = f"the hub has no `{spec.member or spec.name}` at revision {spec.version} of {spec.name}"
        raise AssetError(what, where=place, remedy="Check owner, name, revision and file.")
    raise AssetError(f"the hub refused {spec.name}", where=place, remedy=by_hand(spec))
