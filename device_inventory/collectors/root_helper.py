"""The root helper: a program that answers three fixed questions about the machine, and can do nothing else.

It is optional. It sees what an ordinary user may not, and signs what it saw with a key only root can read, so that a
user cannot edit it on its way. It takes no argument that reaches a command or a path, writes nothing but its own
state, and knows who asks by the kernel's word. Whoever floods it gets less of it, and others do not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import signal
import socket
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from device_inventory.collectors.ask_helper import HELPER_SOCKET, HelperError, peer_uid
from device_inventory.collectors.helper_facts import HelperFacts
from device_inventory.collectors.helper_key import HelperKey, load_or_make_key
from device_inventory.collectors.machine import Machine

STATE: Final = Path("/var/lib/zt-helper")
MAX_REQUEST: Final = 1024
REQUEST_SECONDS: Final = 2
MAX_CONNECTIONS: Final = 16
MAX_OF_ONE_USER: Final = 4

_ASKED: Final = re.compile(r"[\x21-\x7e]{1,256}")
_PAUSE: Final = 0.05
_FIRST_PERSON: Final = 1000
_SERVICES: Final = range(61_184, 65_536)
"""Users that systemd makes up for services, and `nobody`."""


class RootHelper:
    """Answers on one listening socket until it is stopped."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        key: HelperKey,
        facts: HelperFacts,
        clock: Callable[[], float],
        users: frozenset[int] = frozenset(),
    ) -> None:
        self._listener = listener
        self._key = key
        self._facts = facts
        self._clock = clock
        self._users = users
        self._open: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._waker, self._woken = socket.socketpair()

    def serve(self) -> None:
        """Answer until `stop`; a connection is one question."""
        with self._listener, self._woken, self._waker, selectors.DefaultSelector() as selector:
            self._listener.setblocking(False)
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopped.is_set():
                selector.select()
                try:
                    connection, _ = self._listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    self._stopped.wait(_PAUSE)  # out of descriptors, until some are let go of
                    continue
                self._take(connection)

    def stop(self) -> None:
        """End `serve`; questions that are being answered are finished by their own time limit.

        The listening socket is closed and not shut down: it may be systemd's as well, which then goes on listening.
        """
        self._stopped.set()
        with suppress(OSError):
            self._waker.send(b"x")

    def _take(self, connection: socket.socket) -> None:
        uid = peer_uid(connection)
        refusal = None
        with self._lock:
            if not self._may(uid):
                refusal = "HELPER_REFUSED"
            elif self._open[uid] >= MAX_OF_ONE_USER or self._open.total() >= MAX_CONNECTIONS:
                refusal = "HELPER_BUSY"
            else:
                self._open[uid] += 1
        if refusal is not None:
            with connection, suppress(OSError):
                connection.setblocking(False)
                connection.send(_encoded({"error": refusal}))
                # What was sent and not read would be taken for a broken connection at the other end.
                connection.recv(MAX_REQUEST)
            return
        threading.Thread(target=self._converse, args=(connection, uid), daemon=True).start()

    def _may(self, uid: int) -> bool:
        if uid in (0, os.geteuid()):
            return True
        if self._users:
            return uid in self._users
        return uid >= _FIRST_PERSON and uid not in _SERVICES

    def _converse(self, connection: socket.socket, uid: int) -> None:
        try:
            with connection, suppress(OSError):
                answer = self._answer(_request(connection))
                connection.settimeout(REQUEST_SECONDS)
                connection.sendall(_encoded(answer))
        finally:
            with self._lock:
                self._open[uid] -= 1
                if not self._open[uid]:
                    del self._open[uid]

    def _answer(self, request: object) -> Mapping[str, Any]:
        match request:
            case {"verb": "facts", "nonce": str(nonce), "device": str(device), **rest} if not rest:
                if _ASKED.fullmatch(nonce) and _ASKED.fullmatch(device):
                    return {"ok": self._statement(nonce, device)}
            case {"verb": "serial", **rest} if not rest:
                return {"ok": self._facts.serial(int(self._clock()))}
            case {"verb": "public-key", **rest} if not rest:
                return {"ok": self._key.jwk()}
        return {"error": "HELPER_REQUEST"}

    def _statement(self, nonce: str, device: str) -> str:
        now = int(self._clock())
        return self._key.sign({"nonce": nonce, "device": device, "iat": now, "facts": self._facts.at(now)})


def _request(connection: socket.socket) -> object:
    """One line of JSON within its size and time; None for anything else."""
    deadline = time.monotonic() + REQUEST_SECONDS
    held = b""
    while not held.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or len(held) > MAX_REQUEST:
            return None
        connection.settimeout(left)
        try:
            part = connection.recv(MAX_REQUEST + 1 - len(held))
        except TimeoutError:
            return None
        if not part:
            return None
        held += part
    try:
        return json.loads(held) if len(held) <= MAX_REQUEST else None
    except (ValueError, RecursionError):
        return None


def _encoded(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def listening(path: Path) -> socket.socket:
    """The socket systemd hands over, else a new one at `path`; HelperError HELPER_SOCKET when there can be none.

    Everybody may connect: who asks is told by the kernel, and judged then.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        handed = socket.socket(fileno=3)
        if handed.family != socket.AF_UNIX or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise HelperError("HELPER_SOCKET", "systemd handed over something else than a listening socket")
        return handed
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise HelperError("HELPER_SOCKET", f"`{path}` is something else")
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o111)
    try:
        made.bind(str(path))
    except OSError as error:
        raise HelperError("HELPER_SOCKET", f"`{path}` cannot be made: {error.strerror}") from None
    finally:
        os.umask(mask)
    made.listen(MAX_CONNECTIONS)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Run the helper until it is told to stop."""
    parser = argparse.ArgumentParser(prog="zt-root-helper", description="answer fixed questions about this machine")
    parser.add_argument("--socket", type=Path, default=HELPER_SOCKET, help="where to listen without systemd")
    parser.add_argument("--state", type=Path, default=STATE, help="where the key lies")
    parser.add_argument("--user", type=int, action="append", default=[], help="only this user id may ask; repeatable")
    chosen = parser.parse_args(arguments)
    clock = time.time  # noqa: TID251 - a program of its own, and this is the one place it reads the clock
    try:
        key = load_or_make_key(chosen.state)
        listener = listening(chosen.socket)
    except HelperError as error:
        sys.exit(str(error))
    memory = chosen.state / "pending.json"
    facts = HelperFacts(lambda now: Machine(now=now, memory=memory))
    helper = RootHelper(listener, key=key, facts=facts, clock=clock, users=frozenset(chosen.user))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: helper.stop())
    threading.Thread(target=facts.keep_slow, args=(clock,), daemon=True).start()
    helper.serve()


if __name__ == "__main__":
    main()
