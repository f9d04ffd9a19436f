"""What a person finds in the demo's folder afterwards, or while it is kept running: a question, tokens, curl lines."""

from __future__ import annotations

import shlex

from zt_engine.bootstrap.demo_story import CASE, PAPERS, PORTAL, Words
from zt_engine.bootstrap.demo_world import DemoWorld

TOKEN_SECONDS = 3500
TOKENS = {"laptop-1": "tanaka", "laptop-2": "tanaka"}
"""Device -> who signed in on it; one file of headers each."""

CURL_LINES: tuple[tuple[Words, str, str, str, tuple[str, ...]], ...] = (
    (("健全な端末で案件を開く", "a healthy laptop opens the case"), PORTAL, CASE, "laptop-1", ()),
    (
        ("3日報告のない端末: 何を直せばよいかのページ", "a laptop silent for three days: a page says what to do"),
        *(PORTAL, CASE, "laptop-2", ("-i", "-H", "Accept: text/html", "-H", "Accept-Language: ja")),
    ),
    (
        ("秘の文書は開かれたネットワークでは開けない", "no secret paper on the open network"),
        *(PAPERS, "/secret/7", "laptop-1", ()),
    ),
    (("公開情報は誰でも読める", "published data is for everybody"), "info.gbiz.example", "/datasets/1", "", ()),
    (
        ("細工したパスは拒否", "a crafted path is refused"),
        *(PORTAL, "/news/..%2fcases/456", "laptop-1", ("--path-as-is",)),
    ),
)

QUESTION = """\
# zt decide question.yaml --config zt.toml        The format: docs/decide.md
subject: tanaka          # of policy/subjects, signed in just now with the strongest method
device: laptop-2         # of policy/devices: it has not reported for three days
request: {method: GET, url: "https://portal.ministry.example/cases/123"}
"""


def write_question(world: DemoWorld) -> None:
    """Write a question for `zt decide` about the laptop that was silent for three days."""
    world.sandbox.write("question.yaml", QUESTION.encode())


def prepare_to_stay(world: DemoWorld) -> None:
    """Write a question, and tokens that hold for most of an hour, into files."""
    write_question(world)
    for device, person in TOKENS.items():
        bearer = world.bearer(person, device, lifetime=TOKEN_SECONDS)
        world.sandbox.write(f"clients/{device}.header", f"Authorization: Bearer {bearer}\n".encode())


def curl_lines(world: DemoWorld, port: int) -> list[tuple[Words, str]]:
    """Return requests to try against nginx on a port, each with what it shows."""
    folder, lines = world.folder, []
    for title, host, target, device, options in CURL_LINES:
        words = ["curl", "--cacert", f"{folder}/tls/server-ca.pem", "--resolve", f"{host}:{port}:127.0.0.1"]
        if device:
            words += ["--cert", f"{folder}/clients/{device}.pem", "-H", f"@{folder}/clients/{device}.header"]
        words += [*options, f"https://{host}:{port}{target}"]
        lines.append((title, shlex.join(words)))
    return lines
