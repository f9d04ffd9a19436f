"""OPA clients: a token of their own, one bundle, and whatever they send is bounded and kept once."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.control_support import NOW
from tests.publishing_support import Publishing, bundle_of
from zt_engine.adapters.opa_clients import OpaClients, OpaClientToken, digest_of, make_token, write_clients
from zt_engine.adapters.opa_log_files import OpaLogFiles
from zt_engine.bootstrap.releasing import open_opa
from zt_engine.control_plane.opa import MAX_EXPANDED, MAX_LOG_BYTES, BundleFeed, held_digest, preferred_wait
from zt_engine.core.errors import ConfigError, InputError, UnavailableError

TOKEN = make_token()
LINE = b"x" * 99


class Office(Publishing):
    """A control plane with one OPA client, `gateway`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logs = folder / "logs"
        clients = folder / "opa-clients.json"
        write_clients(clients, (OpaClientToken(name="gateway", sha256=digest_of(TOKEN)),))
        self.service = open_opa(self.plane, clients=clients, logs=self.logs)

    def opa(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.call(method, f"/v1/opa/{path}", body, who=TOKEN.decode(), **headers)

    def events(self) -> list[Any]:
        found = [line for path in sorted(self.logs.rglob("*.jsonl")) for line in path.read_bytes().splitlines()]
        return [json.loads(line)["event"]["decision_id"] for line in found]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Office(tmp_path) as one:
        yield one


def decisions(*ids: str) -> bytes:
    return json.dumps([{"decision_id": id_, "path": "zt/main/portal"} for id_ in ids], indent=1).encode()


def test_an_opa_is_given_what_is_in_force_and_nothing_it_has(office: Office) -> None:
    assert office.opa("GET", "bundles/zt").json()["code"] == "BUNDLE_NOT_FOUND"
    assert office.opa("GET", "discovery").json()["code"] == "RELEASE_NONE"
    office.publish("1")

    first = office.opa("GET", "bundles/zt", prefer="modes=snapshot,delta;wait=60")
    again = office.opa("GET", "bundles/zt", if_none_match=first.headers["etag"])

    assert (first.status_code, first.content) == (200, bundle_of("1"))
    assert first.headers["content-type"] == "application/vnd.openpolicyagent.bundles"
    assert first.headers["etag"] == f'"sha256:{hashlib.sha256(bundle_of("1")).hexdigest()}"'
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert office.opa("GET", "bundles/other").status_code == 404


def test_the_token_of_an_opa_opens_nothing_else_and_no_other_credential_opens_this(office: Office) -> None:
    for path in ("/v1/releases", "/v1/devices", "/v1/stream", "/v1/bundles/" + "0" * 64):
        assert office.call("GET", path, who=TOKEN.decode()).status_code == 401
    for who in ("owner", "nobody", make_token().decode()):
        assert office.call("GET", "/v1/opa/bundles/zt", who=who).status_code == 401
    assert office.call("GET", "/v1/opa/bundles/zt", who=None).status_code == 401


def test_whoever_waits_is_answered_when_something_is_released(office: Office) -> None:
    office.publish("1")
    held = hashlib.sha256(bundle_of("1")).hexdigest()

    async def waiting() -> str:
        feed: BundleFeed = office.service.feed
        answer = asyncio.create_task(feed.after(held, wait=300))
        while not feed._waiting:  # noqa: ASYNC110  (nobody is told when somebody waits)
            await asyncio.sleep(0)
        await asyncio.to_thread(lambda: None)
        with office.store.writing("default") as tx:
            one = tx.releases.get(1)
            assert one is not None
            tx.releases.add(type(one)(**{name: getattr(one, name) for name in one.__struct_fields__} | {
                "seq": 2, "bundle_digest": "f" * 64,
            }))  # fmt: skip
        feed.wake()
        found = await answer
        assert found is not None
        return found.bundle_digest

    assert asyncio.run(waiting()) == "f" * 64


def test_nobody_waits_for_a_control_plane_that_stops(office: Office) -> None:
    office.publish("1")
    held = hashlib.sha256(bundle_of("1")).hexdigest()

    async def waiting() -> bool:
        answer = asyncio.create_task(office.service.feed.after(held, wait=300))
        while not office.service.feed._waiting:  # noqa: ASYNC110  (nobody is told when somebody waits)
            await asyncio.sleep(0)
        office.service.feed.close()
        found = await answer
        return found is not None and found.bundle_digest == held

    assert asyncio.run(waiting())


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("modes=snapshot,delta;wait=60", 60.0), ("modes=snapshot,delta", 0.0), ("", 0.0), ("wait=-1", 0.0),
        ("wait=9999999", 0.0), ("wait=x", 0.0), (" wait=5 ", 5.0), ("wait=٣", 0.0),
    ],
)  # fmt: skip
def test_a_wait_is_a_plain_number_of_seconds(prefer: str, seconds: float) -> None:
    assert preferred_wait(prefer) == seconds
    assert held_digest('"sha256:ab"') == "ab"
    assert held_digest('"ab"') == held_digest("") == ""


def test_what_an_opa_says_of_itself_is_in_the_status_of_the_release(office: Office) -> None:
    revision = office.publish("1").json()["revision"]
    said: dict[str, Any] = {
        "labels": {"id": "x"},
        "bundles": {"zt": {"active_revision": "old", "code": "bundle_error"}},
    }
    assert office.opa("POST", "status", said).status_code == 204
    (missing,) = office.call("GET", "/v1/releases/1/status").json()["missing"]
    assert (missing["name"], missing["kind"], missing["why"], missing["has"]) == ("gateway", "opa", "refused", "old")

    said["bundles"]["zt"] = {"active_revision": revision, "metrics": {"surprise": 1}}
    assert office.opa("POST", "status", said).status_code == 204
    assert office.call("GET", "/v1/releases/1/status").json()["missing"] == []
    assert office.opa("POST", "status", b"[]").status_code == 400


def test_a_decision_is_logged_once_however_often_it_is_sent(office: Office) -> None:
    for body, encoding in ((decisions("a", "b"), ""), (gzip.compress(decisions("b", "c")), "gzip")):
        headers = {"content_encoding": encoding} if encoding else {}
        assert office.opa("POST", "logs", body, **headers).status_code == 204

    assert office.events() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"{}", "", 422), (b"[1]", "", 422), (b'[{"path":"x"}]', "", 422), (b"no json", "", 422),
        (b"no gzip", "gzip", 422), (gzip.compress(decisions("a"))[:-4], "gzip", 422),
        (gzip.compress(decisions("a")) + b"x", "gzip", 422), (decisions("a"), "br", 415),
        (gzip.compress(b" " * (MAX_EXPANDED + 1)), "gzip", 413), (b" " * (MAX_LOG_BYTES + 1), "", 413),
        (b"[" * 100_000, "", 422),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_chunk_that_is_none_or_too_large_leaves_nothing(
    office: Office, body: bytes, encoding: str, status: int
) -> None:
    headers = {"content_encoding": encoding} if encoding else {}

    assert office.opa("POST", "logs", body, **headers).status_code == status
    assert office.events() == []


def test_a_small_chunk_of_millions_of_nothings_takes_no_more_memory_than_its_text(office: Office) -> None:
    bomb = gzip.compress(b"[" + b"0," * (MAX_EXPANDED // 2 - 8) + b"0]")
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            office.service.log("gateway", bomb, gzipped=True, now=NOW)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert caught.value.code == "OPA_LOG_MALFORMED"
    assert len(bomb) < 32_768
    assert peak < 4 * MAX_EXPANDED


def test_a_status_that_is_nested_without_end_is_refused(office: Office) -> None:
    deep = b'{"labels":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"

    with pytest.raises(InputError) as caught:
        office.service.status("gateway", deep, now=NOW)

    assert caught.value.code == "REQUEST_MALFORMED"


def test_a_log_that_cannot_be_kept_is_sent_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        answer = office.opa("POST", "logs", decisions("a"))
    assert (answer.status_code, answer.json()["code"]) == (503, "OPA_LOG_FULL")

    assert office.opa("POST", "logs", decisions("a")).status_code == 204
    assert office.events() == ["a"]


def test_each_client_loses_its_own_oldest_file_first(tmp_path: Path) -> None:
    logs = OpaLogFiles(tmp_path, file_bytes=250, quota_bytes=600)
    logs.append("quiet", [LINE], now=NOW)
    for number in range(20):
        logs.append("loud", [b"%02d" % number + LINE[2:]], now=NOW + number // 5)

    kept = [line for path in sorted((tmp_path / "loud").iterdir()) for line in path.read_bytes().splitlines()]
    assert kept == [b"%02d" % number + LINE[2:] for number in range(20 - len(kept), 20)]
    assert 2 <= len(kept) <= 6
    assert len(list((tmp_path / "quiet").iterdir())) == 1
    with pytest.raises(ValueError, match="escape"):
        logs.append("../escape", [LINE], now=NOW)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError) as caught:
        OpaLogFiles(tmp_path / "file").append("a", [LINE], now=NOW)
    assert caught.value.code == "OPA_LOG_FULL"


def test_tokens_are_kept_as_digests_and_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "opa-clients.json"
    clients = OpaClients(path)
    with pytest.raises(InputError):
        clients.verify(TOKEN)
    write_clients(path, (OpaClientToken(name="a", sha256=digest_of(TOKEN)),))

    assert clients.verify(TOKEN) == "a"
    assert TOKEN not in path.read_bytes()
    path.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        clients.verify(TOKEN)
    assert caught.value.code == "OPA_CLIENTS_FILE"
    path.chmod(0o600)
    write_clients(path, ())
    with pytest.raises(InputError):
        clients.verify(TOKEN)
