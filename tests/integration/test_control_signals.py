"""The rules about signals of a control plane that runs: read when it starts, read again on SIGHUP, or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.control_support import NOW, TENANT, Control
from tests.running_control import Running
from tests.store_support import ON_DISK, store_url
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.adapters.store_sql import open_store
from zt_engine.cli.main import app as commands
from zt_engine.control_plane.idempotency import ATTEMPTS
from zt_engine.control_plane.signals import RULES, Signals
from zt_engine.core.errors import ConfigError, UnavailableError
from zt_engine.core.signals import Signal

WRITTEN = "switches:\n  - {id: burst, signal: logins, scope: subject, enter: %d, exit: 2, effects: [acr:phr]}\n"
SETTING = '\nsignals = "signals.yaml"\n'
SOURCES = 4


def tell(running: Running, key: str, value: int, id_: str) -> Any:
    one = {"id": id_, "kind": "logins", "at": int(time.time()), "principal": "subject:tanaka", "value": value}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"integration-{id_}"}
    return httpx.post(f"{running.url}/v1/signals", json={"signals": [one]}, headers=headers, trust_env=False).json()


def test_a_connectors_key_tells_signals_by_rules_that_are_read_again_while_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "zt"
    with Running(folder) as running:
        assert tell(running, running.key, 12, "none")["ignored"][0]["code"] == "SIGNAL_UNRULED"
    config = folder / "zt.toml"
    rules = folder / "signals.yaml"
    rules.write_text(WRITTEN % 20, encoding="utf-8")
    made = CliRunner().invoke(
        commands, ["control", "admin-key", "add", "edr", "--role", "connector", "--config", str(config)]
    )
    assert made.exit_code == 0, made.output
    key = (folder / "keys/edr.key").read_text(encoding="ascii").strip()

    with Running(folder, more=SETTING) as running:
        assert tell(running, key, 12, "below")["overlays"] == []
        rules.write_text((WRITTEN % 20).replace("enter", "entre"), encoding="utf-8")
        with capture_logs() as logged:
            assert not running.thread.run(running.program.reload(config))
        assert "SIGNALS_UNKNOWN_KEY" in str(logged)
        assert f"{rules}:2" in str(logged)
        assert tell(running, key, 12, "still")["overlays"] == []
        rules.write_text(WRITTEN % 10, encoding="utf-8")
        with capture_logs() as logged:
            assert running.thread.run(running.program.reload(config))
        assert {"event": "signals.read", "rules": 1, "log_level": "info"} in logged
        assert "stream_keys.changed" not in str(logged)
        assert tell(running, key, 12, "above")["overlays"] == ["signals/burst/tanaka/1"]
        shown = httpx.get(f"{running.url}/v1/situation", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        assert shown.json()["code"] == "AUTH_FORBIDDEN"


def test_a_control_plane_does_not_start_with_rules_it_cannot_read(tmp_path: Path) -> None:
    folder = tmp_path / "zt"
    Running(folder).close()

    with pytest.raises(ConfigError, match=r"`control\.signals`"):
        Running(folder, more=SETTING)


@pytest.mark.parametrize("kind", ON_DISK)
def test_what_several_replicas_hear_at_the_same_time_counts_together(kind: str, tmp_path: Path) -> None:
    rules = load_signals((WRITTEN % 10).replace("exit: 2,", f"exit: 2, samples: {SOURCES},"), where="")
    with store_url(kind, tmp_path) as url:
        stores = [open_store(url) for _ in range(SOURCES)]
        stores[0].migrate()
        replicas = [Control(store=store, extras={RULES: rules}) for store in stores]

        def hear(number: int) -> None:
            one = Signal(id=f"s{number}", kind="logins", at=NOW, principal="subject:tanaka", value=12)
            for attempt in range(ATTEMPTS):
                try:
                    with stores[number].writing(TENANT) as tx:
                        Signals(replicas[number].plane).take(tx, [one], now=NOW)
                except UnavailableError as error:
                    if error.code != "STORE_CONFLICT" or attempt + 1 == ATTEMPTS:
                        raise
                else:
                    return

        with ThreadPoolExecutor(SOURCES) as pool:
            list(pool.map(hear, range(SOURCES)))
        with stores[0].reading(TENANT) as tx:
            assert list(tx.situation.all("overlay")) == ["signals/burst/tanaka/1"]
        assert len(replicas[0].announced()) == 1
        for replica in replicas:
            replica.__exit__()
