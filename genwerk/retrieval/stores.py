"""Where an index is: a folder or file on this machine, or a schema of a PostgreSQL database, named by its URL."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from genwerk.core.errors import WorkspaceError
from genwerk.retrieval.store import FileStore
from genwerk.retrieval.truth import Store

__all__ = ["is_url", "meta_of", "open_store"]

_URLS = ("postgresql://", "postgres://")


def is_url(place: Path | str) -> bool:
    """Whether this names a database and not a folder."""
    return isinstance(place, str) and place.startswith(_URLS)


def open_store(place: Path | str) -> Store:
    """The store at a folder, a file or a URL; nothing is opened yet. Raises WorkspaceError for what is none."""
    if not is_url(place):
        return FileStore(Path(place))
    try:
        from genwerk.retrieval.postgres import PostgresStore
    except ImportError as error:
        raise WorkspaceError(
            f"an index in PostgreSQL needs psycopg: {error}", remedy="Install it: pip install 'genwerk[postgres]'."
        ) from error
    return PostgresStore(str(place))


def meta_of(place: Path | str) -> dict[str, str]:
    """What the index there says of itself. Raises WorkspaceError where there is none."""
    store = open_store(place)
    with closing(store.connect()) as sql, store.state(sql) as state:
        return state.meta(store.where)
