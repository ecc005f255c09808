"""Bearer keys: made by `genwerk keys add`, stored only as salted scrypt hashes, compared in constant time.

A key reads `gw-<id>-<secret>`; the id finds the record, the secret (256 random bits) is what is hashed. A key that was
checked once is remembered in memory as an HMAC under a secret of this process, so that scrypt is paid once.

The rule of the door: on a loopback address with no key configured everyone on this machine may ask; on any other
address the server does not start without a key.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import threading
from pathlib import Path
from typing import Any

from genwerk.core.atomic import write_text
from genwerk.core.errors import ConfigError, WorkspaceError
from genwerk.core.events import now

_COST = {"n": 2**14, "r": 8, "p": 1}
_KEY = re.compile(r"gw-([0-9a-f]{12})-([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class KeyStore:
    """The keys in one JSON file (mode 0600). Safe to use from several threads; sees changes made by other processes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._records: dict[str, dict[str, Any]] = {}
        self._pepper = secrets.token_bytes(32)
        self._seen: dict[bytes, str] = {}

    def add(self, name: str) -> str:
        """Make a key for `name` and return it; it is shown this once. Raises ConfigError for a bad or taken name."""
        if not _NAME.fullmatch(name):
            remedy = "Use up to 64 letters, digits, dots, dashes, underscores or @."
            raise ConfigError(f"`{name}` cannot name a key", remedy=remedy)
        with self._lock:
            records = self._load()
            if any(record["name"] == name for record in records.values()):
                raise ConfigError(f"there is a key named `{name}` already", remedy="Remove it first, or take another.")
            identity, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
            hashed = _hash(secret, salt, _COST)
            record = {"name": name, "salt": salt.hex(), "hash": hashed.hex(), "scrypt": _COST, "created": now()}
            self._save({**records, identity: record})
        return f"gw-{identity}-{secret}"

    def remove(self, name: str) -> None:
        """Withdraw the key of `name`. Raises ConfigError where there is none."""
        with self._lock:
            records = self._load()
            kept = {identity: record for identity, record in records.items() if record["name"] != name}
            if len(kept) == len(records):
                known = ", ".join(sorted(record["name"] for record in records.values())) or "none"
                raise ConfigError(f"there is no key named `{name}`", remedy=f"Keys: {known}.")
            self._save(kept)

    def names(self) -> list[str]:
        """Names of all keys, sorted."""
        with self._lock:
            return sorted(record["name"] for record in self._load().values())

    def check(self, key: str) -> str | None:
        """The name the key belongs to, or None. Takes as long for an unknown key as for a wrong one."""
        digest = hmac.digest(self._pepper, key.encode("utf-8", "replace"), "sha256")
        with self._lock:
            records = self._load()
            identity = self._seen.get(digest)
            if identity in records:
                return str(records[identity]["name"])
        match = _KEY.fullmatch(key)
        identity, secret = (match[1], match[2]) if match else ("", "")
        record = records.get(identity)
        salt, cost = (bytes.fromhex(record["salt"]), record["scrypt"]) if record else (bytes(16), _COST)
        wanted = bytes.fromhex(record["hash"]) if record else bytes(32)
        if not hmac.compare_digest(_hash(secret, salt, cost), wanted) or record is None:
            return None
        with self._lock:
            self._seen[digest] = identity
        return str(record["name"])

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._records, self._stamp = {}, None
            return self._records
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            try:
                loaded = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
                self._records = {str(identity): dict(record) for identity, record in loaded.items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                remedy = "Restore it, or remove it and add the keys again."
                raise WorkspaceError("the file of keys is spoilt", where=str(self.path), remedy=remedy) from error
            self._stamp = stamp
        return self._records

    def _save(self, records: dict[str, dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        previous = os.umask(0o077)
        try:
            write_text(self.path, json.dumps({"keys": records}, indent=1))
        finally:
            os.umask(previous)
        self.path.chmod(0o600)
        self._stamp = None


def _hash(secret: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, dklen=32, maxmem=64 * 1024 * 1024, **cost)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host` (an address or `localhost`)."""
    if host.strip("[]").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_door(host: str, keys: KeyStore) -> None:
    """Refuse to open a server to others without a key. Raises ConfigError."""
    if not is_loopback(host) and not keys.names():
        raise ConfigError(
            f"a server on {host} can be reached from other machines, and no key is configured",
            where=str(keys.path),
            remedy="Make one with `genwerk keys add NAME`, or listen on 127.0.0.1.",
        )
