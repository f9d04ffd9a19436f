"""HTTP calls from any thread that are over in time, from their first byte to the last of the answer.

The time limits of a blocking client are about one read each: a peer that sends a byte every few seconds holds a thread
for ever. So the calls are made on an event loop of their own, where a whole one can be given up.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any

import httpx

from zt_engine.core.errors import UnavailableError

LONGEST = 30.0
"""For one step of a call; the limit of the whole is what counts."""


class DeadlineClient:
    """Calls that share connections and one thread, which begins with the first of them. For use by many threads."""

    def __init__(self, *, verify: ssl.SSLContext | bool, code: str, max_answer: int, name: str) -> None:
        """`code` is that of the UnavailableError for whatever goes wrong."""
        self._verify = verify
        self._code = code
        self._max_answer = max_answer
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None

    def send(self, method: str, url: str, *, seconds: float, **rest: Any) -> tuple[int, bytes]:
        """Return status and body; UnavailableError when that takes too long, is too large, or fails."""
        call = asyncio.run_coroutine_threadsafe(self._whole(method, url, seconds, rest), self._running())
        return call.result()

    def close(self) -> None:
        """Close the connections and end the thread."""
        with self._lock:
            loop, client = self._loop, self._client
            self._loop = self._client = None
        if loop is not None and client is not None:
            asyncio.run_coroutine_threadsafe(client.aclose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._client = httpx.AsyncClient(
                    verify=self._verify, timeout=LONGEST, follow_redirects=False, trust_env=False
                )
                threading.Thread(target=_turn, args=(self._loop,), name=self._name, daemon=True).start()
            return self._loop

    async def _whole(self, method: str, url: str, seconds: float, rest: dict[str, Any]) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(method, url, rest)
        except TimeoutError:
            raise UnavailableError(self._code, f"no whole answer within {seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(self._code, type(error).__name__) from None

    async def _answer(self, method: str, url: str, rest: dict[str, Any]) -> tuple[int, bytes]:
        client, body = self._client, bytearray()
        if client is None:
            raise UnavailableError(self._code, "closed")
        async with client.stream(method, url, **rest) as answer:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > self._max_answer:
                    raise UnavailableError(self._code, "the answer is too large")
            return answer.status_code, bytes(body)


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
