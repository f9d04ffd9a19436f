"""A release whose own scenarios come out too permissive on this sidecar decides nothing here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.publisher_office import KEY, version
from tests.release_support import TENANT, published
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.bootstrap import release_smoke
from zt_engine.bootstrap.release_opening import ReleaseTrust, open_release
from zt_engine.bootstrap.release_smoke import Smoke, chosen
from zt_engine.bootstrap.weakening import release_parts
from zt_engine.config import Policy
from zt_engine.core.bundle import Bundle, open_bundle
from zt_engine.core.errors import BundleError

TABLE = "scenarios/company.yaml"
READS = 'request: {method: GET, url: "https://www.corp.example/"}\n    expect: {effect: '
DENIED = {TABLE: (f"{READS}allow, reasons: [], obligations: []}}", f"{READS}deny}}")}
CHANGES = 'request: {method: PUT, url: "https://www.corp.example/pages/top"}\n    expect: {effect: '
ALLOWED = {TABLE: (f"{CHANGES}step_up}}", f"{CHANGES}allow}}")}


def bundle(edits: Mapping[str, tuple[str, str]] | None = None) -> Bundle:
    return open_bundle(version("smoke", edits), keys={KEY.key_id: KEY.public()})


@pytest.fixture(scope="module")
def engine() -> Iterator[WasmEngine]:
    """The module is the same, whatever its scenarios say."""
    one = bundle()
    with_it = WasmEngine(one.wasm, one.data, revision=one.revision, budget_ms=1000)
    yield with_it
    with_it.close()


def test_a_release_that_answers_as_its_scenarios_say_is_asked_once(engine: WasmEngine) -> None:
    smoke, parts = Smoke(), release_parts(bundle())

    assert smoke.check(parts, engine) == len(chosen(parts.bundle)) > 20
    assert smoke.check(parts, engine) == 0


def test_what_a_scenario_refuses_and_this_sidecar_opens_keeps_the_release_out(engine: WasmEngine) -> None:
    smoke, parts = Smoke(), release_parts(bundle(DENIED))
    for _ in range(2):
        with pytest.raises(BundleError) as refused:
            smoke.check(parts, engine)

        assert refused.value.code == "BUNDLE_SMOKE"
        assert refused.value.where == f"{TABLE}:2"
        assert "everybody reads the website: `allow`, and its author says `deny`" in refused.value.message


def test_what_a_scenario_opens_and_this_sidecar_refuses_does_not(engine: WasmEngine) -> None:
    assert Smoke().check(release_parts(bundle(ALLOWED)), engine) > 20


def test_tables_that_cannot_be_read_keep_the_release_out(engine: WasmEngine) -> None:
    parts = release_parts(bundle({TABLE: ("subject: nobody", "subject: nobodi")}))
    with pytest.raises(BundleError, match="SCENARIO_MALFORMED"):
        Smoke().check(parts, engine)


def test_what_must_be_refused_is_asked_first_and_tables_beyond_a_size_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def table(name: str, filler: int = 0) -> bytes:
        text = f'scenarios:\n  - name: {{ja: {name}, en: {name}}}\n    request: {{url: "https://a.example/"}}\n'
        return f"{text}    at: 2026-11-20T10:00:00Z\n    expect: {{effect: deny}}\n#{'x' * filler}\n".encode()

    monkeypatch.setattr(release_smoke, "MAX_BYTES", 1000)
    tables = {f"scenarios/{name}.yaml": table(name) for name in ("aaa", "must_allow", "must_deny")}
    tables["scenarios/bbb.yaml"] = table("bbb", 1000)

    class Held:
        scenarios = tables

    assert sorted(one.name("en") for one in chosen(Held())) == ["aaa", "must_allow", "must_deny"]  # type: ignore[arg-type]
    monkeypatch.setattr(release_smoke, "MAX_BYTES", 250)
    assert [one.name("en") for one in chosen(Held())] == ["must_deny"]  # type: ignore[arg-type]


def test_a_sidecar_refuses_such_a_release_before_it_is_switched_to() -> None:
    notice, raw = published(version("smoke", DENIED), KEY, seq=1)
    trust = ReleaseTrust({KEY.key_id: KEY.public()}, {}, Policy(budget_ms=1000), {})
    with pytest.raises(BundleError) as refused:
        open_release(notice, raw, trust, tenant=TENANT)

    assert refused.value.code == "BUNDLE_SMOKE"
