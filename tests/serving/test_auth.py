"""Invariant of the keys: never stored, found again, withdrawn at once; and the rule of the door."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from genwerk.core.errors import ConfigError, WorkspaceError
from genwerk.core.workspace import Workspace
from genwerk.serving.auth import KeyStore, check_door, is_loopback
from genwerk.serving.run import serve, serve_deployment


def test_a_key_is_known_by_its_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = KeyStore(path).add("laptop")
    stored = path.read_text()
    assert key not in stored and key.split("-", 2)[2] not in stored and "scrypt" in stored
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store = KeyStore(path)
    assert store.check(key) == store.check(key) == "laptop"
    for wrong in ("", "gw-", key + "x", key.upper(), key.replace("gw-", "gw-0", 1), "\udcff" * 50):
        assert store.check(wrong) is None


def test_changes_of_another_process_are_seen(tmp_path: Path) -> None:
    ours, theirs = KeyStore(tmp_path / "keys.json"), KeyStore(tmp_path / "keys.json")
    first, second = theirs.add("a"), theirs.add("b")
    assert ours.names() == ["a", "b"] and ours.check(first) == "a"
    theirs.remove("a")
    assert ours.check(first) is None and ours.check(second) == "b"


def test_names_are_checked(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    store.add("laptop")
    for name in ("laptop", "", "a b", "../x", "x" * 65):
        with pytest.raises(ConfigError):
            store.add(name)
    with pytest.raises(ConfigError, match="laptop"):
        store.remove("phone")


def test_a_spoilt_file_is_named_and_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("{")
    with pytest.raises(WorkspaceError, match=r"keys\.json"):
        KeyStore(path).check("gw-x")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_is_open_without_a_key(host: str, tmp_path: Path) -> None:
    assert is_loopback(host)
    check_door(host, KeyStore(tmp_path / "keys.json"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_another_host_needs_a_key(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="genwerk keys add"):
        check_door(host, KeyStore(tmp_path / "keys.json"))
    KeyStore(tmp_path / "keys.json").add("me")
    check_door(host, KeyStore(tmp_path / "keys.json"))


def test_the_server_refuses_before_it_loads_anything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no key is configured"):
        serve_deployment(Workspace(tmp_path), "handbook", host="0.0.0.0", port=0)
    with pytest.raises(WorkspaceError, match="nothing has been promoted"):
        serve_deployment(Workspace(tmp_path), "handbook", port=0)


def test_a_port_in_use_is_one_clear_message(running, tiny_deployment) -> None:  # type: ignore[no-untyped-def]
    port = int(running.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f":{port}.*--port"):
        serve(tiny_deployment, port=port)
