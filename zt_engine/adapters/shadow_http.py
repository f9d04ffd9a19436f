"""What a shadow asks its control plane: what is to be watched, the bundles for it; and what it says it has seen."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec

from zt_engine.core.bundle_archive import MAX_ARCHIVE
from zt_engine.core.errors import InputError, UnavailableError

TIMEOUT_SECONDS: Final = 10.0
MAX_ANSWER: Final = 16 << 20


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate, and what holds without it."""

    staged: dict[str, Any]
    type: str
    object: str
    record: msgspec.Raw = msgspec.Raw(b"null")
    before: Any = None
    bundle: str = ""
    must_allow: tuple[dict[str, str], ...] = ()

    @property
    def ref_seq(self) -> int:
        """The number of its rollout."""
        return int(self.staged["ref_seq"])


class _Answer(msgspec.Struct):
    items: tuple[Watched, ...]


class ShadowClient:
    """Speaks with whichever address of the control plane answers."""

    def __init__(
        self, urls: Sequence[str], *, statement: Callable[[], str], verify: ssl.SSLContext | bool = True
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._statement = statement
        # No proxy and no netrc of the environment: what is asked here is asked there and nowhere else.
        self._client = httpx.Client(verify=verify, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def watched(self) -> tuple[Watched, ...]:
        """Return what is to be watched."""
        try:
            return msgspec.json.decode(self._ask("GET", "/v1/shadow", most=MAX_ANSWER), type=_Answer).items
        except msgspec.DecodeError as error:
            raise UnavailableError("STREAM_REFUSED", f"it does not say what is watched: {error}") from None

    def bundle(self, digest: str) -> bytes:
        """Return a bundle, unverified."""
        return self._ask("GET", f"/v1/bundles/{digest}", most=MAX_ARCHIVE)

    def report(self, ref_seq: int, told: Mapping[str, Any]) -> None:
        """Say what was seen of a candidate."""
        body = {name: value for name, value in told.items() if name != "ref_seq"}
        self._ask("PUT", f"/v1/shadow/{ref_seq}", most=MAX_ANSWER, content=msgspec.json.encode(body))

    def _ask(self, method: str, path: str, *, most: int, content: bytes | None = None) -> bytes:
        for url in self._urls:
            headers = {"authorization": f"Bearer {self._statement()}", "accept-encoding": "identity"}
            if content is not None:
                headers["content-type"] = "application/json"
            try:
                with self._client.stream(method, url + path, headers=headers, content=content) as response:
                    data = bytearray()
                    for chunk in response.iter_raw():
                        data += chunk
                        if len(data) > most:
                            raise InputError("STREAM_TOO_LARGE", f"an answer of more than {most} bytes")
            except httpx.HTTPError:
                continue
            if response.is_success:
                return bytes(data)
            raise UnavailableError("STREAM_REFUSED", f"`{url}` answers {response.status_code}")
        raise UnavailableError("STREAM_DOWN", "no address of the control plane answers")
