"""A control plane over real HTTP that keeps to the contract, for tests of the agent, with the real domain behind it.

It holds everything in memory. `refuse` may answer instead of it, `after` is told of every request that was carried out
and may break the connection off before the answer is sent, which is what a client that dies sees.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from device_inventory.claims import read_helper_claims, read_report
from device_inventory.device import DeviceRecordError
from device_inventory.enrollment import STEPS, Enrollment, advance, after_report, consented
from device_inventory.inventory import Device, HeldKey
from device_inventory.invitation import Invitation, admit, begun, used
from device_inventory.notice import NOTICE_VERSION, notice
from device_inventory.operations import admit_key, enrolled, may_renew, renewed, report_lost
from device_inventory.reports import ingest
from device_inventory.sign_in import bound_nonce
from zt_engine.adapters.csr_x509 import read_csr
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.control_plane.invitations import new_code
from zt_engine.core.errors import InputError
from zt_engine.core.jose import CompactJws, from_base64url, split_compact, to_base64url
from zt_engine.pages.registry import registry

TENANT = "acme"
Answer = tuple[int, Mapping[str, str], bytes]


class Dropped(Exception):
    """The connection breaks before the answer is sent."""


class Refusal(Exception):
    """An RFC 9457 answer."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail


class _Public:
    """What `DevDeviceCa.issue` asks of a key."""

    def __init__(self, public: Any) -> None:
        self._public = public

    def public_key(self) -> Any:
        return self._public


class FakeControlPlane:
    """A context manager; `who(id_token)` returns issuer and subject, or raises Refusal."""

    def __init__(
        self,
        clock: Any,
        *,
        issuer: str,
        client_id: str = "zt-agent",
        who: Callable[[str], tuple[str, str]],
        tls: ssl.SSLContext | None = None,
        lifetime: int = 86_400,
    ) -> None:
        self.clock, self.issuer, self.client_id, self.who, self.lifetime = clock, issuer, client_id, who, lifetime
        self.ca = DevDeviceCa(now=clock.now())
        self.invitations: dict[str, Invitation] = {}
        self.enrollments: dict[str, Enrollment] = {}
        self.devices: dict[str, Device] = {}
        self.nonces: dict[str, tuple[str, str]] = {}
        self.used: set[str] = set()
        self.reports: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.secrets: list[str] = []
        """Everything that was sent or handed out and that nobody else may see."""
        self.needed = {"disk.encrypted": "C2"}
        self.good_for: str | None = None
        self.next_report_in = 0
        self.full = False
        self.proof_hosts: tuple[str, ...] = ()
        self.notice_version = NOTICE_VERSION
        self.attestation = "none"
        self.terms: dict[str, object] = {}
        self.key_bodies: list[dict[str, Any]] = []
        self.refuse: Callable[[str, str], Answer | None] = lambda method, path: None
        self.after: Callable[[str, str], None] = lambda method, path: None
        self._lock = threading.Lock()
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # the body is written apart from the head
            timeout = 10

            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 20)))

            def _serve(self, body: bytes) -> None:
                url = urlsplit(self.path)
                try:
                    status, headers, content = plane.serve(self.command, url.path, url.query, self.headers, body)
                except Dropped:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

            def date_time_string(self, timestamp: Any = None) -> str:
                return super().date_time_string(plane.clock.now())

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that hangs up is no event."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def invite(self, subject: str, *, ownership: str = "corp", approval: bool = False, replaces: str = "") -> str:
        """Return the code of a new invitation."""
        code = new_code()
        now = int(self.clock.now())
        self.invitations[code] = Invitation(
            tenant=TENANT,
            id=secrets.token_hex(4),
            code_digest=hashlib.sha256(code.encode()).hexdigest(),
            issuer=self.issuer,
            subject=subject,
            assigned=subject,
            ownership=ownership,
            approval=approval,
            replaces=replaces,
            invited_by="boss",
            created_at=now,
            not_after=now + 72 * 3600,
        )
        return code

    # -- one request

    def serve(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Answer:
        """Answer one request; one at a time, as a database would have it."""
        with self._lock:
            self.requests.append((method, path))
            self.secrets += str(headers.get("Authorization", "")).split()[1:]
            instead = self.refuse(method, path)
            if instead is not None:
                return instead
            language = "ja" if str(headers.get("Accept-Language", "")).startswith("ja") else "en"
            try:
                status, answer = self._route(method, path, parse_qs(query), headers, body, language)
            except Refusal as refusal:
                return problem(refusal.status, refusal.code, refusal.detail, language)
            except DeviceRecordError as error:
                return problem(409, error.code, error.message, language)
            except InputError as error:
                return problem(400, error.code, error.message, language)
            self.after(method, path)
            return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _route(self, method: str, path: str, query: Any, headers: Any, body: bytes, language: str) -> tuple[int, Any]:
        words = path.strip("/").split("/")[1:]
        match (method, *words):
            case ("GET", "enroll", "config"):
                return 200, self._terms()
            case ("GET", "enroll", "notice"):
                return 200, self._notice(query["ownership"][0], query["lang"][0])
            case ("POST", "enroll"):
                return 201, self._start(json.loads(body))
            case ("GET", "enroll", id_):
                return 200, self._progress(self._session(headers, id_))
            case ("POST", "enroll", id_, step):
                return 200, self._step(self._session(headers, id_), step, json.loads(body or b"{}"))
            case ("POST", "devices", "nonce"):
                return 200, self._nonce(self._device(method, path, headers).device_id, "report")
            case ("POST", "reports"):
                return 200, self._report(body, language)
            case ("GET", "devices", "self"):
                device = self._device(method, path, headers)
                items = self._items(device, language)
                return 200, {"status": device.status, "items": items, "good_for": self.good_for}
            case ("POST", "devices", "self", "renew"):
                return 200, self._renew(self._device(method, path, headers), headers, json.loads(body))
            case ("POST", "devices", "self", "lost"):
                return 200, self._lost(self._device(method, path, headers))
            case ("POST", "lost"):
                return 200, self._lost_by_owner(json.loads(body))
        raise Refusal(404, "NOT_FOUND")

    # -- enrolling

    def _terms(self) -> dict[str, object]:
        return {
            "tenant": TENANT,
            "issuer": self.issuer,
            "client_id": self.client_id,
            "scopes": ["openid"],
            "url": self.url,
            "notice_version": self.notice_version,
            "attestation": self.attestation,
            **self.terms,
        }

    def _notice(self, ownership: Any, language: Any) -> dict[str, object]:
        facts = [
            {"name": item.name, "text": item.text, "purpose": item.purpose, "retention": item.retention}
            for item in notice(ownership, language)
        ]
        return {"version": self.notice_version, "facts": facts}

    def _start(self, body: Any) -> dict[str, object]:
        issuer, subject = self._signed_in(body)
        invitation = self.invitations.get(body["code"])
        if invitation is None:
            raise Refusal(404, "INVITE_UNKNOWN")
        now = int(self.clock.now())
        admit(invitation, issuer=issuer, subject=subject, now=now)
        secret = secrets.token_urlsafe(16)
        self.secrets.append(secret)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        held = self.enrollments.get(invitation.enrollment)
        if held is None:
            held = Enrollment(
                tenant=TENANT,
                id=secrets.token_hex(8),
                invitation=body["code"],
                issuer=issuer,
                subject=subject,
                state="identified",
                secret_digest=digest,
                started_at=now,
                changed_at=now,
                not_after=now + 3600,
            )
            self.invitations[body["code"]] = begun(invitation, enrollment=held.id)
        self.enrollments[held.id] = held = replace(held, secret_digest=digest)
        return {"enrollment": held.id, "secret": secret, **self._progress(held)}

    def _signed_in(self, body: Any) -> tuple[str, str]:
        self.secrets += [body["id_token"], body["sign_in_secret"]]
        who = self.who(body["id_token"])
        claims = json.loads(from_base64url(body["id_token"].split(".")[1]))
        if claims.get("nonce") != bound_nonce(body["sign_in_secret"], self.url):
            raise Refusal(401, "SIGN_IN_FOREIGN")
        return who

    def _session(self, headers: Any, id_: str) -> Enrollment:
        kind, _, secret = str(headers.get("Authorization", "")).partition(" ")
        held = self.enrollments.get(id_)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if kind != "ZtEnroll" or held is None or held.secret_digest != digest:
            raise Refusal(401, "ENROLLMENT_SECRET")
        return held

    def _progress(self, held: Enrollment) -> dict[str, object]:
        invitation = self.invitations[held.invitation]
        return {
            "state": held.state,
            "next": STEPS[held.state],
            "device_id": held.device_id or None,
            "ownership": invitation.ownership,
            "items": [],
        }

    def _step(self, held: Enrollment, step: str, body: Any) -> dict[str, object]:
        now = int(self.clock.now())
        match step:
            case "consent":
                held = consented(held, notice_version=body["notice_version"], current=self.notice_version, now=now)
                self.enrollments[held.id] = held
                return self._progress(held)
            case "nonce":
                return self._nonce(held.id, "key")
            case "key":
                return self._certify(held, body, now)
        raise Refusal(404, "NOT_FOUND")

    def _certify(self, held: Enrollment, body: Any, now: int) -> dict[str, object]:
        self.key_bodies.append(body)
        csr, key = self._proven(body, holder=held.id, purpose="key", enrollment=held.id)
        known = self.devices.get(held.device_id)
        if known is not None and known.keys[0].spki == csr.spki:
            # The answer got lost: the same key of the same enrollment is given a certificate again.
            certificate, again = self._issue(known.device_id, csr, key, body["key_protection"], now)
            self.devices[known.device_id] = replace(known, keys=(again,))
            return certificate
        device_id = f"dev-{secrets.token_hex(4)}"
        for other in self.devices.values():
            if any(one.spki == csr.spki for one in other.keys):
                admit_key(csr.spki, other, device_id=device_id)
        certificate, first = self._issue(device_id, csr, key, body["key_protection"], now)
        invitation = self.invitations[held.invitation]
        held = replace(advance(held, "certify", now=now), device_id=device_id)
        self.devices[device_id] = enrolled(
            invitation, first, device_id=device_id, now=now, helper_key=body["helper_key"]
        )
        self.invitations[held.invitation] = used(invitation, enrollment=held.id)
        self.enrollments[held.id] = held
        return certificate

    def _proven(self, body: Any, *, holder: str, purpose: str, **claims: str) -> tuple[Any, Any]:
        read = read_csr(body["csr"].encode())
        proof = self._jws(body["proof"], read.request.jwk, "zt-enroll+jwt")
        said = proof.claims
        if proof.header["jwk"] != read.request.jwk or said["aud"] != self.url:
            raise Refusal(400, "PROOF_FOREIGN")
        if said["csr"] != read.request.der_digest or any(said[name] != value for name, value in claims.items()):
            raise Refusal(400, "PROOF_FOREIGN")
        self._use(said["nonce"], holder, purpose)
        return read.request, read.key

    def _issue(
        self, device_id: str, csr: Any, key: Any, protection: Any, now: int
    ) -> tuple[dict[str, object], HeldKey]:
        issued = self.ca.issue(device_id, now=now, lifetime=self.lifetime, key=_Public(key))
        held = HeldKey(
            x5t=issued.x5t,
            spki=csr.spki,
            jkt=csr.jkt,
            jwk=csr.jwk,
            issuer="ca",
            serial=f"{issued.certificate.serial_number:x}",
            not_before=now - 300,
            not_after=now + self.lifetime,
            protection=protection,
        )
        return {"device_id": device_id, "certificate": issued.pem.decode(), "chain": self.ca.pem.decode()}, held

    # -- as a device

    def _nonce(self, holder: str, purpose: str) -> dict[str, object]:
        nonce = secrets.token_urlsafe(24)
        self.nonces[nonce] = (holder, purpose)
        return {"nonce": nonce, "expires_in": 60}

    def _use(self, nonce: object, holder: str, purpose: str) -> None:
        if self.nonces.pop(str(nonce), None) != (holder, purpose):
            raise Refusal(400, "NONCE_REFUSED")

    def _of_key(self, x5t: object) -> tuple[Device, HeldKey]:
        for device in self.devices.values():
            for key in device.keys:
                if key.x5t == x5t and key.revoked_at is None:
                    return device, key
        raise Refusal(401, "DEVICE_UNKNOWN")

    def _jws(self, token: str, jwk: Mapping[str, str], typ: str) -> CompactJws:
        held = split_compact(
            token.encode(), max_bytes=1 << 18, malformed="PROOF_MALFORMED", too_large="PROOF_MALFORMED"
        )
        x, y = (int.from_bytes(from_base64url(jwk[name])) for name in ("x", "y"))
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        signature = utils.encode_dss_signature(int.from_bytes(held.signature[:32]), int.from_bytes(held.signature[32:]))
        try:
            public.verify(signature, held.signing_input, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise Refusal(401, "PROOF_SIGNATURE") from None
        if held.header.get("typ") != typ or held.header.get("alg") != "ES256" or len(held.signature) != 64:
            raise Refusal(401, "PROOF_TYPE")
        return held

    def _device(self, method: str, path: str, headers: Any) -> Device:
        kind, _, token = str(headers.get("Authorization", "")).partition(" ")
        if kind != "ZtDevice":
            raise Refusal(401, "DEVICE_AUTH_REQUIRED")
        head = json.loads(from_base64url(token.split(".")[0]))
        device, key = self._of_key(head["kid"])
        said = self._jws(token, key.jwk, "zt-device+jwt").claims
        now = self.clock.now()
        fits = (
            said["iss"] == device.device_id
            and said["aud"] == self.url
            and said["htm"] == method
            and said["htu"] == self.url + path
            and said["iat"] - 60 <= now <= said["exp"] <= said["iat"] + 60
            and said["jti"] not in self.used
        )
        if not fits:
            raise Refusal(401, "DEVICE_AUTH_REFUSED")
        self.used.add(str(said["jti"]))
        if now >= key.not_after and not path.endswith(("/renew", "/nonce")):
            raise Refusal(401, "CERT_EXPIRED")
        return device

    def _report(self, body: bytes, language: str) -> dict[str, object]:
        head = json.loads(from_base64url(body.decode().split(".")[0]))
        device, key = self._of_key(head["kid"])
        claims = self._jws(body.decode(), key.jwk, "zt-posture+jwt").claims
        now = int(self.clock.now())
        if claims["aud"] != self.url or claims["x5t"] != key.x5t or now >= key.not_after:
            raise Refusal(401, "EVIDENCE_FOREIGN")
        self._use(claims["nonce"], device.device_id, "report")
        helper = None
        if "helper" in claims:
            said = self._jws(str(claims["helper"]), device.helper_key or {}, "zt-helper+jwt").claims
            if (said["nonce"], said["device"]) != (claims["nonce"], device.device_id):
                raise Refusal(400, "EVIDENCE_FOREIGN")
            helper = read_helper_claims(said)
        taken = ingest(device, read_report(claims), helper=helper, now=now)
        device = taken.device
        self.devices[device.device_id] = device
        if taken.refusal is not None:
            raise Refusal(409, taken.refusal.code, taken.refusal.message)
        self.reports.append(claims)
        for held in self.enrollments.values():
            if held.device_id == device.device_id and held.state != "complete":
                self.enrollments[held.id], device = after_report(held, device, now=now)
                self.devices[device.device_id] = device
        items = self._items(device, language)
        items += [
            {"fact": one.fact, "label": "", "code": one.code, "text": one.message, "remedy": "", "command": ""}
            for one in taken.findings
        ]
        return {
            "accepted": True,
            "seq": claims["seq"],
            "status": device.status,
            "items": items,
            "next_report_in": self.next_report_in,
            "full": self.full,
            "proof_hosts": self.proof_hosts,
        }

    def _items(self, device: Device, language: str) -> list[dict[str, str]]:
        held = device.sources["agent"].facts if "agent" in device.sources else {}
        text = {"ja": "ディスクの暗号化", "en": "disk encryption"}[language]
        return [
            {
                "fact": name,
                "label": label,
                "code": "FACT_UNMET",
                "text": text,
                "remedy": "",
                "command": "zt agent report",
            }
            for name, label in self.needed.items()
            if name not in held or held[name].value is not True
        ]

    def _renew(self, device: Device, headers: Any, body: Any) -> dict[str, object]:
        token = str(headers["Authorization"]).partition(" ")[2]
        now = int(self.clock.now())
        may_renew(device, x5t=json.loads(from_base64url(token.split(".")[0]))["kid"], now=now)
        csr, key = self._proven(body, holder=device.device_id, purpose="report", device=device.device_id)
        certificate, held = self._issue(device.device_id, csr, key, device.keys[-1].protection, now)
        self.devices[device.device_id] = renewed(device, held, now=now)
        return certificate

    def _lost(self, device: Device) -> dict[str, object]:
        self.devices[device.device_id] = report_lost(device, now=int(self.clock.now()))
        return {"status": "lost"}

    def _lost_by_owner(self, body: Any) -> dict[str, object]:
        _, subject = self._signed_in(body)
        if "device_id" not in body:
            mine = [device for device in self.devices.values() if device.owner == subject]
            return {
                "devices": [{"device_id": one.device_id, "name": "", "model": "", "status": one.status} for one in mine]
            }
        device = self.devices.get(body["device_id"])
        if device is None or device.owner != subject:
            raise Refusal(404, "DEVICE_UNKNOWN")
        return self._lost(device)


def problem(status: int, code: str, detail: str = "", language: str = "en", **headers: str) -> Answer:
    """Return an RFC 9457 answer."""
    entry = registry().get(code)
    title, remedy = (entry.text(language), entry.hint(language)) if entry else (code, "")
    body = {"type": "about:blank", "status": status, "code": code, "title": title, "detail": detail, "remedy": remedy}
    return status, {"Content-Type": "application/problem+json", **headers}, json.dumps(body).encode()


def x5t_of(pem: str) -> str:
    """Return `x5t#S256` of a certificate."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return to_base64url(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())
