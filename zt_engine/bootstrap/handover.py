"""A restart that refuses nobody: a successor takes over the listening sockets, then its predecessor drains and ends.

The running process waits at a Unix socket in `state_dir`, named after the sidecar's id. Its successor comes when it
could decide itself, asks for the sockets (SCM_RIGHTS), listens on them, and only then releases the predecessor: until
that moment the predecessor serves as before, and a successor that dies leaves everything as it was. The two share the
very same sockets, so a connection that waits to be accepted is accepted by whoever comes first and lost by nobody.

Only the same user may take over. What is not handed over: used DPoP proofs. For the minute that a proof is good, one
that the predecessor has seen could be used once more at the successor, as at any second sidecar.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

import msgspec

from zt_engine.core.errors import ConfigError, Problem, UnavailableError

ANSWER_SECONDS = 5.0
"""How long a successor waits for a word of its predecessor."""
TURN_SECONDS = 30.0
"""How long one start waits for another one of the same sidecar."""
MAX_MESSAGE = 64 * 1024
MAX_SOCKETS = 64
PRIVATE = 0o700


class Take(msgspec.Struct, frozen=True, tag="take"):
    """The successor's question: sockets by the words of its configuration."""

    listen: tuple[str, ...]


class Release(msgspec.Struct, frozen=True, tag="release"):
    """The successor serves; the predecessor may go."""


class Given(msgspec.Struct, frozen=True, tag="given"):
    """The predecessor's answer; as many descriptors as names in `listen` come with it."""

    listen: tuple[str, ...]
    ready: bool
    pid: int


class Released(msgspec.Struct, frozen=True, tag="released"):
    """The predecessor accepts nothing more, and goes as soon as it has answered what it owes."""


_encode = msgspec.json.encode
_question = msgspec.json.Decoder(Take | Release)
_answer = msgspec.json.Decoder(Given | Released)


class Meeting:
    """Where the processes of one sidecar meet: a private folder, and a name in it."""

    def __init__(self, folder: Path, sidecar: str) -> None:
        """Make the folder; raises ConfigError STATE_FOLDER if others may write to it."""
        try:
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _refused(folder, str(error.strerror)) from None
        status = os.fstat(self._folder)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(self._folder)
            raise _refused(folder, "others may write to it, or it is another user's")
        self.name = f"{sidecar}.handover"
        self.where = str(folder / self.name)

    def address(self, name: str) -> str:
        """Return a name in the folder as a socket address, however long the folder's own path is."""
        return f"/proc/self/fd/{self._folder}/{name}"

    def rename(self, old: str, new: str) -> None:
        """Put a socket where the other process looks for it, in one step."""
        os.rename(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def remove(self, name: str, *, inode: int | None = None) -> None:
        """Remove a name if it is there, and with `inode` only if it is still ours."""
        with contextlib.suppress(FileNotFoundError):
            if inode is None or self.inode(name) == inode:
                os.unlink(name, dir_fd=self._folder)

    def inode(self, name: str) -> int:
        """Return what tells our socket from another one of the same name."""
        return os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_ino

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let one process start at a time; raises UnavailableError HANDOVER_BUSY. Waits: not for the event loop."""
        fd = os.open(f".{self.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        try:
            patience = monotonic() + TURN_SECONDS
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > patience:
                        raise UnavailableError(
                            "HANDOVER_BUSY", "another start of this sidecar does not finish", where=self.where
                        ) from None
                    sleep(0.02)
            yield
        finally:
            os.close(fd)

    def close(self) -> None:
        """Forget the folder."""
        os.close(self._folder)


class Predecessor:
    """The running process, seen from its successor. Blocking: not for the event loop."""

    def __init__(self, connection: socket.socket, given: Given, sockets: Mapping[str, socket.socket]) -> None:
        self._connection = connection
        self.ready = given.ready
        self.pid = given.pid
        self.sockets = sockets

    @classmethod
    def find(cls, meeting: Meeting, listen: Sequence[str]) -> Predecessor | None:
        """Take the sockets of a running process, or return None; UnavailableError HANDOVER_FAILED if it is stuck."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(meeting.address(meeting.name))
        except (FileNotFoundError, ConnectionRefusedError):  # nobody, or only what a crash left
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise _failed(meeting, str(error)) from error
        try:
            return cls._ask(meeting, connection, listen)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def _ask(cls, meeting: Meeting, connection: socket.socket, listen: Sequence[str]) -> Predecessor:
        if peer(connection) != os.geteuid():
            raise _failed(meeting, "another user's process waits there")
        try:
            connection.send(_encode(Take(tuple(listen))))
            raw, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE, MAX_SOCKETS)
        except OSError as error:
            raise _failed(meeting, f"the running process does not answer: {error}") from error
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        try:
            given = _answer.decode(raw)
            if not isinstance(given, Given) or len(given.listen) != len(sockets):
                raise _failed(meeting, "the running process answered something else")
        except BaseException as error:
            for sock in sockets:
                sock.close()
            if isinstance(error, msgspec.DecodeError):
                raise _failed(meeting, "the running process answered nonsense") from error
            raise
        for sock in sockets:
            sock.setblocking(False)
        return cls(connection, given, dict(zip(given.listen, sockets, strict=True)))

    def release(self) -> None:
        """Let the predecessor go. One that has died meanwhile is gone as well."""
        try:
            self._connection.send(_encode(Release()))
            self._connection.recv(MAX_MESSAGE)
        except OSError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Leave without having taken over: the predecessor serves on."""
        self._connection.close()


class WaitingPoint:
    """Where a running process waits for its successor."""

    def __init__(
        self,
        meeting: Meeting,
        *,
        sockets: Mapping[str, socket.socket],
        ready: Callable[[], bool],
        released: Callable[[], None],
    ) -> None:
        self._meeting = meeting
        self._sockets = sockets
        self._ready = ready
        self._released = released
        self._loop = asyncio.get_running_loop()
        self._connections: set[socket.socket] = set()
        draft = f".{meeting.name}.{os.getpid()}"
        meeting.remove(draft)
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        self._listener.bind(meeting.address(draft))
        self._listener.listen(4)
        self._inode = meeting.inode(draft)
        meeting.rename(draft, meeting.name)
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if peer(connection) != os.geteuid():
            connection.close()
            return
        self._connections.add(connection)
        self._loop.add_reader(connection, self._hear, connection)

    def _hear(self, connection: socket.socket) -> None:
        try:
            raw = connection.recv(MAX_MESSAGE)
            question = _question.decode(raw) if raw else None
            if isinstance(question, Take):
                self._give(connection, question)
                return
            if isinstance(question, Release):
                self._released()
                connection.send(_encode(Released()))
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError):
            pass
        self._drop(connection)

    def _give(self, connection: socket.socket, question: Take) -> None:
        names = tuple(name for name in question.listen if name in self._sockets)[:MAX_SOCKETS]
        given = Given(listen=names, ready=self._ready(), pid=os.getpid())
        socket.send_fds(connection, [_encode(given)], [self._sockets[name].fileno() for name in names])

    def _drop(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection)
        self._connections.discard(connection)
        connection.close()

    def close(self) -> None:
        """Wait no longer; whoever has taken our place keeps it."""
        for connection in list(self._connections):
            self._drop(connection)
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._meeting.remove(self._meeting.name, inode=self._inode)


def peer(connection: socket.socket) -> int:
    """Return the user id at the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def _refused(folder: Path, message: str) -> ConfigError:
    return ConfigError(
        (
            Problem(
                code="STATE_FOLDER",
                message=f"`sidecar.state_dir` cannot be used: {message}",
                where=str(folder),
                hint=f"chmod 700 {folder}",
            ),
        )
    )


def _failed(meeting: Meeting, message: str) -> UnavailableError:
    return UnavailableError(
        "HANDOVER_FAILED", message, where=meeting.where, hint="end the running sidecar, then start again"
    )
