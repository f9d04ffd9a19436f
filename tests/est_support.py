"""An EST server over a real store and a real CA, for the tests of its rules and of its wire."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from fastapi import FastAPI

from device_inventory.inventory import Device
from device_inventory.invitation import Invitation
from tests.csr import make_csr
from tests.issuer import NOW
from tests.store_support import memory_store
from zt_engine.adapters.ca_keys import Authority, self_signed
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.est_certificates import X509EstCertificates
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.control_plane.api.est import est_routes
from zt_engine.control_plane.est import RETRY_AFTER, EstService, Pending
from zt_engine.control_plane.ledger import Ledger
from zt_engine.ports.inventory import DeviceFilter

TENANT = "t1"
CODE = "r7Q2-one-time-code-of-128-bits"


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def elapsed(self) -> float:
        return self.at

    def synchronised(self) -> bool:
        return True


def authority_in_memory(starts: int = NOW, *, seconds: int = 365 * 86_400) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(
        id=f"{starts:x}", certificate=self_signed(key, name="Device CA", starts=starts, seconds=seconds), key=key
    )


class Scene:
    """One EST server; `invite` makes what foreign clients come with."""

    def __init__(self, *, now: float = NOW, retry_after: int = RETRY_AFTER) -> None:
        self.clock = Clock(now)
        self.store: SqlStore = memory_store()
        self.ca = X509CertificateAuthority([authority_in_memory(int(now))])
        self.certificates = X509EstCertificates(self.ca)
        self.service = EstService(
            tenant=TENANT,
            store=self.store,
            authority=self.ca,
            certificates=self.certificates,
            record=Ledger(()),
            retry_after=retry_after,
        )
        self.app = FastAPI()
        self.app.include_router(est_routes(self.service, self.clock))

    def invite(self, id_: str = "inv-1", *, code: str = CODE, **changes: Any) -> Invitation:
        fields: dict[str, Any] = {
            "tenant": TENANT,
            "id": id_,
            "code_digest": hashlib.sha256(code.encode()).hexdigest(),
            "issuer": "https://idp.example",
            "subject": "tanaka",
            "assigned": "tanaka",
            "ownership": "corp",
            "kind": "robot",
            "invited_by": "admin:root",
            "created_at": int(self.clock.at),
            "not_after": int(self.clock.at) + 72 * 3600,
        }
        invitation = Invitation(**(fields | changes))
        with self.store.writing(TENANT) as tx:
            tx.invitations.put(invitation)
        return invitation

    def change(self, device_id: str, change: Callable[[Device], Device]) -> Device:
        """Do something to a device, as an administrator does."""
        with self.store.writing(TENANT) as tx:
            device = tx.devices.get(device_id)
            assert device is not None
            after = change(device)
            tx.devices.put(after)
        return after

    def devices(self) -> list[Device]:
        with self.store.reading(TENANT) as tx:
            return list(tx.devices.page(DeviceFilter(), after="", limit=100))

    def enroll(self, csr: bytes | None = None, *, user: str = "inv-1", password: str = CODE) -> bytes | Pending:
        return self.service.enroll(csr or make_csr(), user=user, password=password, now=self.clock.at)


def opened(bag: bytes | Pending) -> list[x509.Certificate]:
    assert isinstance(bag, bytes)
    return pkcs7.load_der_pkcs7_certificates(bag)


def pem_of(bag: bytes | Pending) -> bytes:
    (certificate,) = opened(bag)
    return certificate.public_bytes(Encoding.PEM)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
