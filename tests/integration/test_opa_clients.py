"""A stock `opa run` as a client of the control plane: it verifies our bundle, takes the next one by long polling,
decides as our engine does, and its status and decision log arrive.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from tests.control_support import TENANT
from tests.integration.policy_inputs import Maker, labels
from tests.peers import ROOT
from tests.publishing_support import bundle_of, record_of
from tests.running_control import Running
from tests.sidecar_support import wait_for
from tests.stream_server import free_port
from zt_engine.adapters.bundle_signing import BundleSigningKey, load_signing_key
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.bootstrap.activation import nobody
from zt_engine.cli.main import app as commands
from zt_engine.core.bundle import open_bundle
from zt_engine.core.release import write_release

PAGE = ROOT / "docs/opa-clients.md"


class Site(Running):
    """An installation whose control plane has releases and OPA clients."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (private,) = [
            path for path in (folder / "keys").glob("*.pem") if "bundle" in path.name and "pub" not in path.name
        ]
        self.signing: BundleSigningKey = load_signing_key(
            private.read_bytes(), key_id=private.name.removesuffix(".pem"), where=""
        )
        self.client = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60)
        self.seq = 0

    def close(self) -> None:
        self.client.close()
        super().close()

    def token(self, name: str) -> Path:
        out = self.folder / f"{name}.token"
        done = CliRunner().invoke(
            commands, ["control", "opa-client", "add", name, "--config", str(self.config), "--out", str(out)]
        )
        assert done.exit_code == 0, done.output
        return out

    def release(self, version: str) -> tuple[str, bytes]:
        """Release a version; return its revision and bytes."""
        raw = bundle_of(version, key=self.signing)
        coming = self.client.get("/v1/releases/next").json()
        active = coming["active"]
        now = int(self.program.clock.now())
        record = record_of(
            raw, coming["seq"], tenant=TENANT, not_before=now - 60, not_after=now + 3600,
            way_back=active["content_digest"] if active else "",
        )  # fmt: skip
        assert self.client.put(f"/v1/bundles/{record.bundle_digest}", content=raw).is_success
        answer = self.client.post(
            "/v1/releases",
            json={"record": write_release(record, self.signing)},
            headers={"idempotency-key": f"release-number-{coming['seq']:04d}"},
        )
        assert answer.status_code == 201, answer.text
        self.seq = coming["seq"]
        return answer.json()["revision"], raw

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/releases/{self.seq}/status").json()
        return found


@contextmanager
def opa_server(opa: str, folder: Path, config: dict[str, Any]) -> Iterator[httpx.Client]:
    """A stock OPA with a configuration, and a client of it."""
    folder.mkdir(exist_ok=True)
    (folder / "opa.json").write_text(json.dumps(config))
    port = free_port()
    command = [
        opa,
        "run",
        "--server",
        "--addr",
        f"127.0.0.1:{port}",
        "--config-file",
        "opa.json",
        "--log-level",
        "error",
    ]
    with (folder / "opa.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            def answers() -> bool:
                try:
                    return client.get("/health").is_success
                except httpx.HTTPError:
                    return False

            wait_for(answers, "OPA")
            yield client
    finally:
        process.terminate()
        process.wait(30)


def configuration(site: Site, token: Path, *, verified_by: BundleSigningKey | None = None) -> dict[str, Any]:
    """What docs/opa-clients.md shows, with this site's address, token and key."""
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    key, key_id = verified_by or site.signing, site.signing.key_id
    found: dict[str, Any] = json.loads(shown.replace("bundle-1", key_id))
    found["services"]["control"]["url"] = f"{site.url}/v1/opa"
    found["services"]["control"]["credentials"]["bearer"]["token_path"] = str(token)
    found["keys"][key_id]["key"] = key.public().pem()
    assert found["keys"][key_id]["algorithm"] == key.algorithm
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as one:
        yield one


def has(site: Site, name: str, revision: str) -> bool:
    return {"name": name, "kind": "opa", "has": revision} in site.status()["has"]


def test_a_stock_opa_verifies_our_bundle_follows_releases_and_decides_as_we_do(
    opa: str, site: Site, tmp_path: Path
) -> None:
    first, raw = site.release("1")
    with opa_server(opa, tmp_path / "opa", configuration(site, site.token("gateway"))) as client:
        wait_for(lambda: has(site, "gateway", first), "the first revision")

        bundle = open_bundle(raw, keys={site.signing.key_id: site.signing.public()})
        engine = WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=1000, memory_mib=64)
        maker = Maker(7, words=labels, facts=("disk.encrypted", "os.build"), services=("portal",))
        asked = [nobody(), *(json.dumps(maker.document()).encode() for _ in range(20))]
        for document in asked:
            theirs = client.post("/v1/data/zt/main/unlisted", json={"input": json.loads(document)}).json()["result"]
            ours = json.loads(engine.evaluate("zt/main/unlisted", document))
            assert unordered(theirs) == unordered(ours)
        engine.close()

        second, _ = site.release("2")
        wait_for(lambda: has(site, "gateway", second), "the second revision, by long polling")
        folder = site.folder / "control/opa-logs/gateway"
        wait_for(lambda: len(logged(folder)) >= len(asked), "the decision log")
        assert {event["path"] for event in logged(folder)} == {"zt/main/unlisted"}
        assert {event["labels"]["site"] for event in logged(folder)} == {"tokyo"}


def unordered(value: Any) -> Any:
    """A value whose lists, which are Rego's sets here, have one order."""
    if isinstance(value, dict):
        return {name: unordered(item) for name, item in value.items()}
    return sorted((unordered(item) for item in value), key=json.dumps) if isinstance(value, list) else value


def logged(folder: Path) -> list[dict[str, Any]]:
    found = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line)["event"] for line in found]


def test_an_opa_that_believes_another_key_takes_nothing_and_its_status_says_why(
    opa: str, site: Site, tmp_path: Path
) -> None:
    site.release("3")
    config = configuration(site, site.token("stranger"), verified_by=BundleSigningKey.generate("other"))
    with opa_server(opa, tmp_path / "opa", config) as client:

        def refused() -> bool:
            missing = {one["name"]: one for one in site.status()["missing"]}
            return missing.get("stranger", {}).get("refusals") == ["bundle_error"]

        wait_for(refused, "the refusal")
        assert client.post("/v1/data/zt/main/unlisted", json={"input": {}}).json().get("result") is None


def test_an_opa_learns_by_discovery_what_to_take_and_keeps_its_own_keys(opa: str, site: Site, tmp_path: Path) -> None:
    revision, _ = site.release("4")
    boot = configuration(site, site.token("found"))
    for name in ("bundles", "status", "decision_logs"):
        del boot[name]
    boot["discovery"] = {"service": "control", "resource": "discovery"}
    with opa_server(opa, tmp_path / "opa", boot):
        wait_for(lambda: has(site, "found", revision), "the revision by discovery")


def test_a_token_that_was_taken_out_opens_nothing(site: Site) -> None:
    site.release("taken-out")
    token = site.token("gone").read_text()
    headers = {"authorization": f"Bearer {token}"}
    before = site.client.get("/v1/opa/bundles/zt", headers=headers).status_code
    CliRunner().invoke(commands, ["control", "opa-client", "remove", "gone", "--config", str(site.config)])

    assert before == 200
    assert site.client.get("/v1/opa/bundles/zt", headers=headers).status_code == 401
    listed = CliRunner().invoke(commands, ["control", "opa-client", "list", "--config", str(site.config)]).output
    assert "gone" not in listed.split()
