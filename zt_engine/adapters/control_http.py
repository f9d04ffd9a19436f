"""A client of the control plane for people and programs with an admin key."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import httpx

from zt_engine.adapters.owned_files import UnownedError, read_owned
from zt_engine.core.errors import ConfigError, InputError, Problem, UnavailableError

SECONDS: Final = 30.0
IMPORT_SECONDS: Final = 3600.0
_CHUNK: Final = 256 * 1024
_KEY_BYTES: Final = 4096


class ControlClient:
    """One control plane, asked as one administrator. Each change has a key of its own, and is sent once."""

    def __init__(self, url: str, *, key: bytes, ca_file: Path | None = None, language: str = "en") -> None:
        self._url = url
        verify: ssl.SSLContext | bool = True
        if ca_file is not None:
            try:
                verify = ssl.create_default_context(cafile=str(ca_file))
            except (OSError, ssl.SSLError):
                raise _fault("CONFIG_FILE", "no readable PEM bundle", str(ca_file)) from None
        self._http = httpx.Client(
            base_url=url,
            verify=verify,
            trust_env=False,
            timeout=SECONDS,
            headers={"Authorization": f"Bearer {key.decode('ascii', 'replace')}", "Accept-Language": language},
        )

    def __repr__(self) -> str:
        return f"ControlClient({self._url!r})"

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def get(self, *path: str, **query: Any) -> dict[str, Any]:
        """Ask for something; raises InputError with the code of the refusal, UnavailableError CONTROL_UNREACHABLE."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self._call("GET", path, params=given)

    def post(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change something, once."""
        headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
        return self._call("POST", path, json=dict(body), headers=headers)

    def put(self, *path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Say how something is from now on."""
        return self._call("PUT", path, json=dict(body))

    def delete(self, *path: str, **query: Any) -> dict[str, Any]:
        """Take something back."""
        return self._call("DELETE", path, params={name: value for name, value in query.items() if value != ""})

    def put_bytes(self, *path: str, content: bytes) -> dict[str, Any]:
        """Have some bytes kept as they are."""
        return self._call("PUT", path, content=content, headers={"Content-Type": "application/octet-stream"})

    def get_bytes(self, *path: str) -> bytes:
        """Return some bytes as they are kept."""
        return self._answer("GET", path).content

    def pages(self, *path: str, most: int, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, at most so many, page by page."""
        after: object = None
        while most > 0:
            answer = self.get(*path, after=after, limit=min(most, 500), **query)
            yield from answer["items"]
            most -= len(answer["items"])
            after = answer["next"]
            if after is None:
                return

    def load(self, source: str, file: BinaryIO, *, kind: str, mapping: str) -> dict[str, Any]:
        """Send an export while it is read."""
        headers = {"Content-Type": kind} | ({"Zt-Import-Mapping": mapping} if mapping else {})
        chunks = iter(lambda: file.read(_CHUNK), b"")
        return self._call("POST", ("v1", "imports", source), content=chunks, headers=headers, timeout=IMPORT_SECONDS)

    def _call(self, method: str, path: tuple[str, ...], **rest: Any) -> dict[str, Any]:
        answer = self._answer(method, path, **rest)
        return _object(answer) if answer.content else {}

    def _answer(self, method: str, path: tuple[str, ...], **rest: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, "/" + "/".join(quote(part, safe="") for part in path), **rest)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise UnavailableError("CONTROL_UNREACHABLE", type(error).__name__, where=self._url) from None
        if answer.is_success:
            return answer
        told = _object(answer)
        code = str(told.get("code", "CONTROL_UNREACHABLE"))
        where = str(told.get("where", ""))
        raise InputError(code, str(told.get("detail", f"status {answer.status_code}")), where=where)


def read_key(path: Path) -> bytes:
    """Return the admin key in a file that nobody else may write; ConfigError CONFIG_FILE."""
    try:
        raw, status = read_owned(path, limit=_KEY_BYTES)
    except OSError as error:
        raise _fault("CONFIG_FILE", str(error.strerror), str(path), "`zt init` makes `keys/admin.key`") from None
    except UnownedError as error:
        raise _fault("CONFIG_FILE", error.message, str(path), error.hint) from None
    if status.st_mode & 0o077:
        raise _fault("CONFIG_FILE", "group or others may use this key", str(path), f"chmod 600 {path}")
    return raw.strip()


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise UnavailableError("CONTROL_UNREACHABLE", f"status {answer.status_code}, and no control plane's answer")
    return told


def _fault(code: str, message: str, where: str, hint: str = "") -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=where, hint=hint),))
