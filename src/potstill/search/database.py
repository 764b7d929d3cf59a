"""The database that the processes of a search share: any that Optuna's RDBStorage takes.

An Optuna journal file is no alternative to SQLite: a disk that fills up in the middle of a line leaves it unreadable, and a search is to
go on after that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from potstill.errors import DiskFull, PotstillError
from potstill.machine.files import is_full

LOST = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)  # what a database raises that cannot be reached
PAUSE = 0.5  # seconds between two looks at the database


@contextmanager
def connected(url: str) -> Iterator[RDBStorage]:
    """Open a database for the length of a block.

    Args:
        url: SQLAlchemy's URL of it. The folder of an SQLite file is made.

    Yields:
        The database as Optuna's storage.

    Raises:
        DiskFull: the disk is full.
        PotstillError: there is no such database, its driver is not installed, or it is lost within the block.
    """
    shown = shown_url(url)
    try:
        storage = _open(url)
    except ImportError as error:
        raise PotstillError(
            shown, f"has no driver here ({error.__cause__ or error})", "install it, for PostgreSQL by pip install 'psycopg[binary]'"
        ) from error
    except (*LOST, RuntimeError, OSError) as error:
        if is_full(error):
            raise DiskFull(shown, "no space is left on the disk", "free some, or choose another folder") from error
        remedy = "check the path" if url.startswith("sqlite") else "check the address and that the server runs"
        raise PotstillError(shown, f"cannot be reached ({_first_line(error)})", remedy) from error
    try:
        yield storage
    except LOST as error:
        if is_full(error):
            raise DiskFull(shown, "no space is left on the disk", "free some; the same command with --resume goes on") from error
        raise PotstillError(
            shown, f"was lost ({_first_line(error.__cause__ or error)})", "the same command with --resume goes on"
        ) from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _open(url: str) -> RDBStorage:
    parsed = sqlalchemy.engine.make_url(url)
    if parsed.drivername == "postgresql" and find_spec("psycopg"):  # before 2.1, SQLAlchemy means psycopg2 by this
        parsed = parsed.set(drivername="postgresql+psycopg")
    local = parsed.get_backend_name() == "sqlite"
    if local and parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # SQLite lets one process write at a time; the others wait for it. Its driver must not begin transactions by itself: see below.
    options = {"connect_args": {"timeout": 60, "isolation_level": None}} if local else {"pool_pre_ping": True}
    for attempt in range(5):
        try:
            storage = RDBStorage(parsed.render_as_string(hide_password=False), engine_kwargs=options)
            break
        except (sqlalchemy.exc.DBAPIError, AssertionError) as error:  # two processes make the tables at once
            met = isinstance(error, (sqlalchemy.exc.IntegrityError, AssertionError)) or "already exists" in str(error)
            if not met or attempt == 4:
                raise
            time.sleep(PAUSE)
    if local:
        # Optuna reads a trial's state, then writes it. Other databases lock the row as it is read; SQLite would let two processes
        # read before one writes, and both would take the trial. SQLAlchemy's manual has this way to lock the file at once.
        sqlalchemy.event.listen(storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return storage


def _first_line(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error) or type(error).__name__
    return text.strip().splitlines()[0]


def shown_url(url: str) -> str:
    """Give a database's URL without its password; `--storage` for one that is no URL."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "--storage"
