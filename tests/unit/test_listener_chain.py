"""A control plane says when agents could not find the CA that its invitations name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from zt_engine.bootstrap.control_parts import pin
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.listener_chain import digests, sole_certificate, warn_unsent
from zt_engine.config import ControlSettings
from zt_engine.core.errors import ConfigError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A CA, and a certificate of it."""
    ca, certificate, _ = write_server_certificate(tmp_path_factory.mktemp("tls"), ["control.example"], now=time.time())
    return ca, certificate


def said(chain: bytes, pinned: str, folder: Path, **control: Any) -> list[Any]:
    (folder / "chain.pem").write_bytes(chain)
    names = {"cert_file": "chain.pem", "key_file": "key.pem", "ca_file": "ca.pem"} | control
    settings = ControlSettings.model_validate({"base": folder, "control": names})
    with capture_logs() as logged:
        warn_unsent(settings, pinned)
    return [(one["event"], one["log_level"], one["code"], "append" in one["hint"]) for one in logged]


def test_a_chain_without_the_ca_that_invitations_name_is_a_warning(tmp_path: Path, files: tuple[Path, Path]) -> None:
    ca, certificate = (one.read_bytes() for one in files)
    assert said(certificate, pin(ca), tmp_path) == [("control.ca_not_sent", "warning", "AGENT_CA_NOT_SENT", True)]


def test_a_chain_with_the_ca_is_none(tmp_path: Path, files: tuple[Path, Path]) -> None:
    ca, certificate = (one.read_bytes() for one in files)
    assert said(certificate + ca, pin(ca), tmp_path) == []
    assert said(ca + certificate, pin(ca), tmp_path) == []


def test_where_invitations_name_no_ca_or_nothing_is_served_in_tls_there_is_nothing_to_say(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    ca, certificate = (one.read_bytes() for one in files)
    assert said(certificate, "", tmp_path, ca_file=None) == []
    assert said(certificate, pin(ca), tmp_path, cert_file=None, key_file=None) == []


def test_what_is_no_certificate_has_no_digest() -> None:
    assert digests(b"") == digests(b"-----BEGIN CERTIFICATE-----\nnonsense\n") == frozenset()


def test_a_file_of_one_ca_is_read_whatever_text_stands_around_it(files: tuple[Path, Path]) -> None:
    ca = files[0].read_bytes()
    assert pin(sole_certificate(b"Issuer: somebody\n\n" + ca + b"\n# end\n", where="ca.pem")) == pin(ca)


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_of_no_ca_or_of_two_is_a_fault_that_says_where(files: tuple[Path, Path], count: int) -> None:
    with pytest.raises(ConfigError, match="CONFIG_FILE") as caught:
        sole_certificate(files[0].read_bytes() * count, where="ca.pem")
    assert (caught.value.problems[0].where, "PEM" in caught.value.problems[0].hint) == ("ca.pem", True)
