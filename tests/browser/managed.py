"""A Chromium as a managed machine has it: the device's key in the person's NSS database, and a policy that says where
it is shown, so that nobody is asked which certificate to take.

Policies of Chromium are read from `/etc/chromium/policies` only. The test has a mount namespace of its own for that: on
the machine nothing is written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from tests.browser.chromium import program

SECRET = "between-two-commands"
WRAPPER = """#!/bin/sh
export HOME="{home}"
exec unshare --mount {more} sh -c 'mount --bind "{policies}" /etc/chromium/policies && exec "$0" "$@"' "{chromium}" "$@"
"""


def tool(name: str) -> str:
    """A program of Debian's `libnss3-tools`, or of util-linux."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"the program `{name}` is missing")
        pytest.skip(reason=f"no {name} on this machine")
    return found


def managed(folder: Path, *, certificate: bytes, key: bytes, issuer: str, origin: str) -> Path:
    """Return a Chromium that shows this certificate at one origin; `issuer` is the CN of its CA."""
    certutil, importer = tool("certutil"), tool("pk12util")
    database, policies = folder / "home/.pki/nssdb", folder / "policies"
    database.mkdir(parents=True)
    (policies / "managed").mkdir(parents=True)
    parsed, private = x509.load_pem_x509_certificate(certificate), load_pem_private_key(key, None)
    packed = pkcs12.serialize_key_and_certificates(
        b"device",
        private,
        parsed,
        None,
        BestAvailableEncryption(SECRET.encode()),  # type: ignore[arg-type]
    )
    (folder / "device.p12").write_bytes(packed)
    subprocess.run([certutil, "-N", "-d", f"sql:{database}", "--empty-password"], check=True)
    subprocess.run(
        [importer, "-i", str(folder / "device.p12"), "-d", f"sql:{database}", "-K", "", "-W", SECRET],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    chosen = json.dumps({"pattern": origin, "filter": {"ISSUER": {"CN": issuer}}})
    (policies / "managed/zt.json").write_text(json.dumps({"AutoSelectCertificateForUrls": [chosen]}))
    if not Path("/etc/chromium/policies").is_dir():
        return _beside(folder, policies)
    return _written(folder, policies, "/etc/chromium/policies")


def _beside(folder: Path, policies: Path) -> Path:
    """A whole `/etc/chromium`, where the machine has no folder of policies to put ours over."""
    whole = folder / "etc-chromium"
    shutil.copytree("/etc/chromium", whole)
    shutil.copytree(policies, whole / "policies")
    return _written(folder, whole, "/etc/chromium")


def _written(folder: Path, ours: Path, place: str) -> Path:
    wrapper = folder / "chromium"
    more = "" if os.geteuid() == 0 else "--map-root-user"
    if subprocess.run(["unshare", "--mount", *more.split(), "true"], check=False, capture_output=True).returncode:
        pytest.skip(reason="this machine gives a process no mounts of its own, and its own policies are not touched")
    text = WRAPPER.replace("/etc/chromium/policies", place)
    wrapper.write_text(text.format(home=folder / "home", policies=ours, chromium=program(), more=more))
    wrapper.chmod(0o755)
    return wrapper
