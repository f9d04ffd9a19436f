"""What a request goes to: places, their classes, and what the log says of them."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundles import TINY
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.core.decision_cache import projection
from zt_engine.core.errors import InputError
from zt_engine.core.request import RequestTarget
from zt_engine.sidecar.targets import ENTRY_BYTES, KeyedHash, Place, Places, label_at

KEY = b"k" * 32
TEXT = (TINY / "catalogue.yaml").read_text()
AT = 1_790_000_000  # 2026-09-21T14:13:20Z


def places(*reads: str, text: str = TEXT) -> Places:
    return Places(load_catalogue(text.encode(), where="catalogue.yaml"), projection(reads), KEY)


def target(path: str, host: str = "portal.example") -> RequestTarget:
    return RequestTarget("https", host, 443, path, path)


def place(path: str, *, reads: tuple[str, ...] = (), text: str = TEXT, method: str = "GET") -> Place:
    return places(*reads, text=text).of(target(path), method)


def test_the_same_target_is_the_same_place() -> None:
    found = places()

    assert found.of(target("/cases/1"), "GET") is found.of(target("/cases/1"), "GET")


@pytest.mark.parametrize(
    ("host", "path", "method", "code"),
    [
        ("nobody.example", "/", "GET", "HOST_UNKNOWN"),
        ("portal.example", "/nowhere", "GET", "ROUTE_UNKNOWN"),
        ("portal.example", "/", "DELETE", "METHOD_UNKNOWN"),
        ("portal.example", "/cases/%FF", "GET", "PATH_UNREADABLE"),
    ],
)
def test_what_nobody_labelled_is_refused(host: str, path: str, method: str, code: str) -> None:
    with pytest.raises(InputError) as refused:
        places().of(target(path, host), method)

    assert refused.value.code == code


def test_places_that_the_policy_cannot_tell_apart_share_a_class() -> None:
    found = places("/resource/label/rank")

    assert found.of(target("/cases/1"), "GET").kind == found.of(target("/cases/2"), "GET").kind
    assert found.of(target("/cases/1"), "GET").kind != found.of(target("/"), "GET").kind
    assert found.of(target("/cases/1"), "GET").kind != found.of(target("/cases/1"), "POST").kind


@pytest.mark.parametrize("read", ["/request/path", "/request/params/case_id", "/request", ""])
def test_places_that_the_policy_can_tell_apart_do_not(read: str) -> None:
    found = places(read)

    assert found.of(target("/cases/1"), "GET").kind != found.of(target("/cases/2"), "GET").kind


@pytest.mark.parametrize(
    "change",
    [
        ("label: C2}", "label: C1}"),
        ("label: C2}", 'label: C2, compartments: ["case:1"]}'),
        ("label: C2}", "label: C2, observe: {until: 2030-01-01T00:00:00Z}}"),
        ("label: C2}", "label: C2, assertion: true}"),
        ("label: C2}", "label: C2, state: registered}"),
        ("label: C2}", "label: C2, enforces: [watermark]}"),
        ("label: C2}", "label: {code: C2, declassify: {at: 2030-01-01T00:00:00Z, to: C0}}}"),
    ],
)
def test_two_routes_that_differ_in_anything_that_counts_are_two_classes(change: tuple[str, str]) -> None:
    line = '      - {path: "/cases/{case_id}", methods: [GET, HEAD, POST], label: C2}\n'
    other = line.replace("/cases/", "/files/").replace(*change)
    assert other != line
    found = places(text=TEXT.replace(line, line + other))

    assert found.of(target("/cases/1"), "GET").kind != found.of(target("/files/1"), "GET").kind


def test_what_is_enforced_is_what_proxy_service_and_engine_enforce_together() -> None:
    found = place("/cases/1", text=TEXT.replace("POST], label: C2}", "POST], label: C2, enforces: [watermark]}"))

    alone, behind = found.enforced(()), found.enforced(("no_download", "watermark"))

    assert alone.names == ("no_store", "notify_owner", "read_only", "record_session", "watermark")
    assert behind.names == ("no_download", *alone.names)
    assert (behind.ids, json.loads(behind.fragment)) == (frozenset(behind.names), list(behind.names))
    assert found.enforced(()) is alone


def test_a_route_with_an_action_is_a_class_of_its_own_for_every_path() -> None:
    found = places(text=TEXT.replace("label: C2}", "label: C2, action: case.read}"))

    assert found.of(target("/cases/1"), "GET").kind != found.of(target("/cases/2"), "GET").kind
    resource = json.loads(found.of(target("/cases/1"), "GET").resource_json)
    assert resource["attributes"]["action"] == "case.read"


def test_a_class_has_the_same_name_after_it_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zt_engine.sidecar.targets.MAX_BYTES", 8_000)
    found = places("/request/path")

    kinds = [found.of(target(f"/cases/{number % 7}"), "GET").kind for number in range(40)]

    assert len(set(kinds)) == 7
    assert kinds[:5] == kinds[35:]
    assert len(found._known) <= 8_000 // ENTRY_BYTES


def test_a_place_that_is_larger_than_the_memory_for_places_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zt_engine.sidecar.targets.MAX_BYTES", 20_000)
    found = places()
    long = [found.of(target(f"/cases/{number}" + "a" * 8000), "GET") for number in range(20)]

    assert len(found._known) == 0
    assert len({place.kind for place in long} | {found.of(target("/cases/1"), "GET").kind}) == 1


def test_the_log_has_the_route_and_the_hash_of_the_path_and_never_the_path() -> None:
    members = json.loads(b"{" + place("/cases/secret-name").log + b"}")

    assert members == {
        "method": "GET",
        "host": "portal.example",
        "route": "/cases/{case_id}",
        "path_hmac": hmac.new(KEY, b"/cases/secret-name", hashlib.sha256).hexdigest(),
    }


# -- labels that time changes -----------------------------------------------------------------------------------------

TIMED = TEXT.replace(
    "[GET, HEAD, POST], label: C2}",
    "[GET, HEAD, POST], label: {code: C2, declassify: {at: 2026-09-21T14:13:20Z, to: C0}}}",
)


@pytest.mark.parametrize(
    ("tick_start", "synchronised", "code"),
    [(AT - 1, True, "C2"), (AT, True, "C0"), (AT, False, "C2"), (AT - 1, False, "C2"), (AT + 1000, True, "C0")],
)
def test_a_declassification_counts_from_its_instant_on_when_the_clock_is_believed(
    tick_start: int, synchronised: bool, code: str
) -> None:
    label, raw = label_at(place("/cases/1", text=TIMED), tick_start=tick_start, clock_synchronised=synchronised)

    assert (label.code, json.loads(raw)["label"]["code"]) == (code, code)


def test_a_label_that_does_not_change_is_the_place_s_own() -> None:
    found = place("/cases/1")

    assert label_at(found, tick_start=AT, clock_synchronised=False) == (found.resource.label, found.resource_json)


def test_a_label_is_settled_until_it_depends_on_whether_the_clock_is_believed() -> None:
    timed = place("/cases/1", text=TIMED)

    assert place("/cases/1").settled(AT)
    assert (timed.settled(AT - 1), timed.settled(AT), timed.settled(AT + 1000)) == (True, False, False)


def test_what_is_stored_under_a_shared_decision_is_true_of_every_request_that_shares_it() -> None:
    """A member the policy does not read is blank in its input, so nobody's address or path stands for another's."""
    shared = places("/device")
    one, other = (shared.of(target(path), "GET") for path in ("/notes/a", "/notes/b"))
    apart = places("/request/path").of(target("/notes/a"), "GET")

    assert one.kind == other.kind
    assert (one.request_head, one.request_tail) == (other.request_head, other.request_tail)
    assert b"/notes/a" not in one.request_head
    assert b"/notes/a" in apart.request_head


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_the_keyed_hash_of_a_path_is_hmac(key: bytes, text: bytes) -> None:
    assert KeyedHash(key)(text) == hmac.new(key, text, "sha256").hexdigest().encode()
