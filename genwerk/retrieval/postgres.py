"""An index in PostgreSQL: the tables of truth.py in a schema of their own, for many writers and readers.

    postgresql://user@host/database?schema=handbook        the rest as libpq reads it; `genwerk` without a schema

Everything of one change is one transaction, and a row of `meta` is locked in it: of several writers each embeds what
it brings at its own time, then they change one after the other. So numbers become visible in their order, and a reader
that follows misses none. What is derived lies in the cache of each machine that reads; words are counted and vectors
compared there, by the same code and with the same results as from a file.

Chosen:   vectors are halfvec where the server has pgvector, for whoever asks it by SQL, else bytea; the same 16 bits.
Left out: ranking by pgvector: its graphs see hidden documents, and it would be a second ranking (decision 14).
Try it:   pip install 'genwerk[postgres]'; genwerk index build ./docs --index postgresql://localhost/team
"""

from __future__ import annotations

import hashlib
import re
import select
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import numpy as np
import psycopg
from psycopg import errors
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from genwerk.core.cache import cache_directory
from genwerk.core.errors import DataError, GenwerkError, WorkspaceError
from genwerk.core.progress import say
from genwerk.retrieval.truth import SCHEMA_VERSION, VECTOR_TYPE, Changing, Rows, Sql, Store, problems_in
from genwerk.retrieval.writer import VectorBytes

__all__ = ["PostgresStore"]

_EXTENSION = "vector"
_PATIENCE = "60s"  # for another's change, which embeds nothing
_STALLED = "60s"  # after which a change in which nothing happens is undone, so that others may go on
_DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "60"}  # seconds; a writer is quiet while it embeds
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE documents (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
    sha256 TEXT NOT NULL, text TEXT NOT NULL, acl TEXT NOT NULL, metadata TEXT NOT NULL
);
CREATE INDEX documents_source ON documents USING hash (source);
CREATE INDEX documents_sha256 ON documents (sha256);
CREATE TABLE chunks (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, document BIGINT NOT NULL REFERENCES documents (number),
    start INTEGER NOT NULL, stop INTEGER NOT NULL, digest BYTEA NOT NULL, CHECK (0 <= start AND start < stop)
);
CREATE INDEX chunks_document ON chunks (document);
CREATE INDEX chunks_digest ON chunks (digest);
CREATE TABLE removed (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, document BIGINT NOT NULL);
CREATE TABLE vectors (chunk BIGINT PRIMARY KEY REFERENCES chunks (number), vector {vector} NOT NULL);
"""


class Connection:
    """A connection that takes the statements of truth.py."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.psycopg = connection

    def execute(self, query: str, values: Sequence[Any] = ()) -> Rows:
        """One statement; `?` stands for a value."""
        return self.psycopg.execute(query.replace("?", "%s").encode(), values or None, binary=True)

    def executemany(self, query: str, values: Iterable[Sequence[Any]]) -> None:
        """One statement for each of `values`, in their order."""
        with self.psycopg.cursor() as cursor:
            cursor.executemany(query.replace("?", "%s").encode(), values)

    def close(self) -> None:
        """What was not committed is as if it had never been."""
        self.psycopg.close()


class PostgresStore(Store):
    """The truth in a schema of a database. Raises WorkspaceError for a URL that is none."""

    shared = True
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.schema = options.pop("schema", "genwerk")
        self._url = _url(parts.netloc, parts.path, {**_DEFAULTS, **options})
        options.pop("password", None)
        who, at, host = parts.netloc.rpartition("@")
        shown = f"{who.partition(':')[0]}{at}{host}"
        self.where = _url(shown, parts.path, {**options, "schema": self.schema})
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self.schema) or self.schema.startswith("pg_"):
            raise WorkspaceError(
                f"{self.schema!r} cannot be the schema of an index",
                where=self.where,
                remedy="Lower-case letters, digits and _: postgresql://host/database?schema=handbook",
            )
        self.folder = cache_directory() / "indexes" / hashlib.sha256(self.where.encode()).hexdigest()[:16]

    def exists(self) -> bool:
        """Whether the schema holds a description of an index."""
        with self.explained(), closing(self.connect()) as sql:
            return self._has(sql, "meta")

    def is_living(self) -> bool:
        """Always: whoever may write may change it."""
        return True

    def create(self, dimension: int, meta: dict[str, str]) -> None:
        """A new, empty index, unless another was quicker. Raises WorkspaceError in a schema with other tables."""
        values = {"schema_version": str(SCHEMA_VERSION), "dimension": str(dimension), **meta}
        with self.explained(), closing(self._open(changes=True)) as sql, sql.psycopg.transaction():
            sql.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (f"genwerk {self.schema}",))
            if self._has(sql, "meta"):
                return
            held = "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(?)"
            if sql.execute(held, (self.schema,)).fetchone()[0]:
                raise WorkspaceError(
                    f"schema {self.schema} holds tables that are no index", where=self.where, remedy=_ANOTHER
                )
            if sql.execute("SELECT to_regnamespace(?) IS NULL", (self.schema,)).fetchone()[0]:
                sql.execute(f"CREATE SCHEMA {self.schema}")  # an empty one may have been given by the owner
            sql.psycopg.execute(_SCHEMA.format(vector=self._vector_type(sql, dimension)).encode())
            sql.executemany("INSERT INTO meta VALUES (?, ?)", sorted(values.items()))

    def connect(self) -> Connection:
        """A connection that changes nothing."""
        return self._open(changes=False)

    def usable(self, sql: Connection) -> bool:
        """Whether the server has not hung up meanwhile: nothing lies there to be read, not even the end."""
        if sql.psycopg.closed:
            return False
        waiting = select.poll()
        waiting.register(sql.psycopg.fileno(), select.POLLIN)
        return not waiting.poll(0)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What goes wrong while reading: the database says it, or what it holds is not what was written."""
        try:
            yield
        except psycopg.Error as error:
            raise self._told(error) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise self._damaged(error) from error

    @contextmanager
    def writing(self) -> Iterator[tuple[Sql, Changing]]:
        """A connection for one of several writers."""
        try:
            with closing(self._open(changes=True)) as sql:

                @contextmanager
                def change() -> Iterator[None]:
                    with sql.psycopg.transaction():
                        sql.execute("SELECT value FROM meta WHERE key = 'identity' FOR UPDATE")  # one after the other
                        yield

                yield sql, change
        except psycopg.Error as error:
            raise self._told(error) from error

    def size(self) -> int:
        """Bytes of the tables with their indexes."""
        query = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relkind = 'r'"
        with self.explained(), closing(self.connect()) as sql:
            row = sql.execute(f"{query} AND relnamespace = to_regnamespace(?)", (self.schema,)).fetchone()
        return int(row[0])

    def problems(self) -> list[str]:
        """Everything that is wrong with it, after reading all of it; empty where it is whole."""
        try:
            with closing(self.connect()) as sql, self.state(sql) as state:
                return list(problems_in(state, self.where))
        except WorkspaceError as error:
            return [str(error)]

    def _open(self, *, changes: bool) -> Connection:
        with self.explained():
            connection = psycopg.connect(self._url, autocommit=True)
            settings = {
                "search_path": self.schema,
                "default_transaction_read_only": "off" if changes else "on",
                "default_transaction_isolation": "'read committed'",
                "lock_timeout": f"'{_PATIENCE}'",
                "idle_in_transaction_session_timeout": f"'{_STALLED}'" if changes else "0",
            }
            connection.execute(";".join(f"SET {name} TO {value}" for name, value in settings.items()).encode())
            sql = Connection(connection)
            query = "SELECT atttypid::bigint FROM pg_attribute WHERE attrelid = to_regclass(?) AND attname = 'vector'"
            kept = sql.execute(query, (f"{self.schema}.vectors",)).fetchone()
            if kept is not None and kept[0] != psycopg.adapters.types["bytea"].oid:
                _know_halves(connection, kept[0])
            return sql

    def _has(self, sql: Connection, table: str) -> bool:
        query = "SELECT to_regclass(?) IS NOT NULL"
        return bool(sql.execute(query, (f"{self.schema}.{table}",)).fetchone()[0])

    def _vector_type(self, sql: Connection, dimension: int) -> str:
        """halfvec where pgvector is there or can be had, in whatever schema it lies."""
        try:
            with sql.psycopg.transaction():
                sql.execute(f"CREATE EXTENSION IF NOT EXISTS {_EXTENSION} SCHEMA public")
        except psycopg.Error as error:
            say(f"vectors are kept as bytes, without pgvector: {str(error).splitlines()[0]}")
            return "BYTEA"
        found = sql.execute(
            "SELECT quote_ident(n.nspname) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
            "JOIN pg_extension e ON e.extnamespace = n.oid WHERE e.extname = ? AND t.typname = 'halfvec'",
            (_EXTENSION,),
        ).fetchone()
        return f"{found[0]}.halfvec({dimension})" if found else "BYTEA"  # pgvector before 0.7 has no halves

    def _damaged(self, reason: Exception) -> WorkspaceError:
        return WorkspaceError(
            f"the index in schema {self.schema} is damaged: {reason}",
            where=self.where,
            remedy=f"Restore a backup, or `DROP SCHEMA {self.schema} CASCADE` and build it anew from the documents.",
        )

    def _told(self, error: psycopg.Error) -> GenwerkError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, psycopg.DataError):
            return DataError(f"PostgreSQL cannot keep this: {reason}", where=self.where, remedy=_PREPARE)
        if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
            return self._damaged(error)
        for kinds, what, remedy in _MEANINGS:
            if isinstance(error, kinds):
                return WorkspaceError(f"{what}: {reason}", where=self.where, remedy=remedy)
        return WorkspaceError(f"the database refused: {reason}", where=self.where, remedy="Nothing was changed.")


_ANOTHER = "Name another schema: postgresql://host/database?schema=handbook"
_PREPARE = "Prepare the documents again; preparation removes such characters."
_MEANINGS = (
    ((errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName), "there is no index in this schema",
     f"Build it: genwerk index build DOCUMENTS --index URL. {_ANOTHER}"),
    ((errors.DiskFull,), "the disk of the database is full",
     "Free some space there and do it again; nothing was changed."),
    ((errors.InsufficientPrivilege, errors.InvalidAuthorizationSpecification), "the database does not allow it",
     "Ask its owner for CREATE on the database, or for USAGE of the schema and its tables."),
    ((errors.ReadOnlySqlTransaction,), "this database is only read", "Change the index where it is written."),
    ((errors.LockNotAvailable,), "another writer holds the index", "Do it again when that one is done."),
    ((psycopg.ProgrammingError,), "the database refused", "Check the URL: postgresql://user@host/database?schema=NAME"),
    ((psycopg.OperationalError, psycopg.InterfaceError), "the database cannot be reached",
     "Check that it runs and that the URL is right, then do it again: what was begun and not finished is undone."),
)  # fmt: skip


def _url(netloc: str, path: str, options: dict[str, str]) -> str:
    return f"postgresql://{netloc}{path}?{urlencode(options, quote_via=quote, safe='/')}"


def _know_halves(connection: psycopg.Connection[Any], oid: int) -> None:
    """Let vectors of pgvector's type `oid` come and go as float16 little-endian bytes."""
    dumper = type("HalvesDumper", (_HalvesDumper,), {"oid": oid})
    connection.adapters.register_dumper(VectorBytes, dumper)
    connection.adapters.register_loader(oid, _HalvesLoader)


class _HalvesLoader(Loader):
    """halfvec_send: dimension and 0 in 16 bits each, then float16 big-endian."""

    format = Format.BINARY

    def load(self, data: Any) -> bytes:
        return np.frombuffer(data, dtype=">f2", offset=4).astype(VECTOR_TYPE).tobytes()


class _HalvesDumper(Dumper):
    """The same to the server."""

    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        halves = np.frombuffer(obj, dtype=VECTOR_TYPE)
        return struct.pack(">HH", len(halves), 0) + halves.astype(">f2").tobytes()
