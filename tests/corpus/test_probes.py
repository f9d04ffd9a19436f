"""How probes are written, and what becomes of them on the wire."""

from __future__ import annotations

from collections import Counter

import pytest

from zt_engine.core.errors import ConfigError
from zt_engine.corpus.probe import CLASSES, Expect, packaged, read_probes
from zt_engine.corpus.wire import compose

GOOD = """\
class: 1
probes:
  - id: a-b
    advisory: none
    note: A note that says what goes wrong.
    send: |
      GET / HTTP/1.1
    expect: refused
"""
VALUES = {"protected": "/vault", "identity": "Zt-Subject", "host": "app.example", "id": "p-1"}


def test_every_class_has_a_dozen_probes_and_more() -> None:
    probes = packaged()
    counts = Counter(probe.number for probe in probes)

    assert len(probes) >= 200 and counts.keys() == CLASSES.keys()
    assert min(counts.values()) >= 12
    assert len({probe.advisory for probe in probes}) > 25


def test_every_class_has_a_request_that_must_be_served_or_one_that_must_be_refused() -> None:
    for number in CLASSES:
        expected = {step.expect for probe in packaged() if probe.number == number for step in probe.steps}
        assert expected & {Expect.REFUSED, Expect.EXACT}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("class: 1", "class: 16", "`class` is one of 1 to 15"),
        ("probes:", "probe:", "a list `probes`"),
        ("id: a-b", "id: A b", "`id` is lower-case"),
        ("advisory: none", "advisory: CVE-1", "`advisory` is"),
        ("note: A note that says what goes wrong.", "note: Bad.", "`note` says"),
        ("expect: refused", "expect: exact", "`executes` says"),
        ("expect: refused", "expect: refused\n    executes: GET /", "`refused` has none"),
        ("expect: refused", "expect: maybe", "Invalid enum value"),
        ("expect: refused", "expect: exact\n    executes: get /", "`METHOD path`"),
        ("expect: refused", "expect: refused\n    to: backend", "`to` is"),
        ("expect: refused", "expect: refused\n    after: lunch", "`after` is"),
        ("expect: refused", "expect: refused\n    steps: []", "there is no `send`"),
        ("expect: refused", "expect: refused\n    pateince: 1", "pateince"),
        ("send: |", "send: [", "f.yaml:8"),
    ],
)
def test_a_probe_that_is_not_well_written_is_refused(old: str, new: str, fault: str) -> None:
    assert read_probes(GOOD, where="f.yaml")[0].id == "a-b"

    with pytest.raises(ConfigError) as raised:
        read_probes(GOOD.replace(old, new), where="f.yaml")

    assert raised.value.code == "CORPUS_PROBE"
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("GET / HTTP/1.1\nHost: {host}\n", b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"),
        ("POST / HTTP/1.1\n\nhello\n", b"POST / HTTP/1.1\r\n\r\nhello"),
        ("GET / HTTP/1.1\\nHost: x\\n\\n\\\n", b"GET / HTTP/1.1\nHost: x\n\n"),
        ("GET {protected|escape}/\\xff\\0 HTTP/1.1\n", b"GET /%76ault/\xff\0 HTTP/1.1\r\n\r\n"),
        ("GET {protected|double} HTTP/1.1\n", b"GET /%2576ault HTTP/1.1\r\n\r\n"),
        ("GET {protected|wide} HTTP/1.1\n", b"GET /%EF%BD%96ault HTTP/1.1\r\n\r\n"),
        ("GET /a\\\\b HTTP/1.1\n", b"GET /a\\b HTTP/1.1\r\n\r\n"),
        ("{identity|underscore}: {identity|dots}\n", b"Zt_Subject: Zt.Subject\r\n\r\n"),
        ("X: \\*3{ab}\n", b"X: ababab\r\n\r\n"),
        ("A\n\nB {id}\\r\\n\\r\\n\n", b"A\r\n\r\nB p-1\r\n\r\n"),
    ],
)
def test_what_is_written_is_what_is_sent(text: str, raw: bytes) -> None:
    assert compose(text, VALUES) == raw
