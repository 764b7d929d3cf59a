"""A PostgreSQL server of the tests' own, from Debian's package, on a free port of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MISSING = "no PostgreSQL: install Debian's package postgresql"


def program(name: str) -> str:
    """A program of the server; the newest that is installed. A test is skipped where there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = shutil.which(name) or next((str(path) for path in reversed(installed)), None)
    if found is None:
        pytest.skip(MISSING)
    return found


@contextmanager
def server() -> Iterator[str]:
    """A server that keeps nothing, and the URL of its empty database as a user would name it."""
    initdb, start = program("initdb"), program("pg_ctl")
    # It refuses to run as root, and then belongs to the user that the package made.
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="potstill-postgresql-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if user:
        shutil.chown(folder, **user)
    try:
        subprocess.run(
            [initdb, "-D", folder / "data", "-A", "trust", "-U", "postgres", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **user,
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        command = [start, "-D", folder / "data", "-w"]
        subprocess.run([*command, "-l", folder / "log", "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*command, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
