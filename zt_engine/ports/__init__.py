"""The seams of the engine: what the request path asks of the outside, as Protocols that adapters fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from zt_engine.core.device_proof import Proven
    from zt_engine.core.identity import VerifiedCertificate, VerifiedToken


class Clock(Protocol):
    """The only source of time; everything else takes `now`."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def elapsed(self) -> float:
        """Seconds since some instant, those of a suspended machine counted; only their difference means anything."""
        ...

    def synchronised(self) -> bool:
        """Whether the host's clock is known to follow a time source; declassification waits for it."""
        ...


class PolicyEngine(Protocol):
    """Evaluates one activated policy. Anything but exactly one defined value raises `UnavailableError`."""

    @property
    def revision(self) -> str:
        """The revision of the bundle this engine answers for."""
        ...

    def evaluate(self, entrypoint: str, document: bytes) -> bytes:
        """Return the JSON of the entrypoint's value for `document`, the JSON of `input`.

        Raises UnavailableError: ENGINE_TIMEOUT, ENGINE_UNDEFINED, ENGINE_TRAP, ENGINE_MEMORY, ENGINE_BUILTIN,
        ENGINE_INPUT, ENGINE_MALFORMED, ENGINE_DOWN, ENGINE_QUARANTINED, ENGINE_REVISION.
        """
        ...

    def close(self) -> None:
        """Free the engine; later evaluations raise ENGINE_DOWN."""
        ...


class TokenVerifier(Protocol):
    """Signature, issuer, audience and times of an access token (RFC 9068 under RFC 8725)."""

    def verify(self, token: bytes, *, now: float) -> VerifiedToken:
        """Return the verified token, or raise InputError with a TOKEN_ code."""
        ...


class CertificateVerifier(Protocol):
    """A forwarded client certificate, validated by the sidecar itself (RFC 5280)."""

    def verify(self, escaped_pem: bytes, *, now: float) -> VerifiedCertificate:
        """Return the verified certificate, or raise InputError with a CERT_ code."""
        ...


class DeviceProofVerifier(Protocol):
    """What a device signed for a browser that shows no client certificate."""

    def verify(self, jws: bytes, *, now: float) -> Proven:
        """Return the statement and the certificate of the key; InputError with a DEVICE_PROOF_ or CERT_ code.

        Whose session, host and browser it is for, and whether it still counts, is the caller's to ask.
        """
        ...


class DpopVerifier(Protocol):
    """Proof of possession (RFC 9449)."""

    def verify(
        self,
        proof: bytes,
        *,
        token: bytes,
        method: str,
        url: str,
        request_id: str,
        now: float,
        jkt: str | None = None,
        holder: str | None = None,
    ) -> str:
        """Return the thumbprint of the proven key, or raise InputError with a DPOP_ code.

        `jkt` is the key the token is bound to: a proof of another key is refused before it is remembered. `holder` is
        whose token it is: no holder may take all the room there is for used proofs.
        """
        ...


class DecisionLog(Protocol):
    """The hash-chained record of decisions. Nothing is answered before `flush` has returned."""

    generation: int
    """Grows with each new file: inputs that were stored before have to be stored again."""

    def append(self, body: bytes, *, sync: bool = False) -> None:
        """Buffer an event: JSON members without braces, `seq` and `prev_hash`. `sync`: on disk before flush returns."""
        ...

    def store_input(self, digest: str, canonical: bytes) -> None:
        """Buffer the canonical input of a decision, once per digest."""
        ...

    def discard(self) -> None:
        """Forget what is buffered: the turn it belongs to was denied as a whole."""
        ...

    def flush(self) -> None:
        """Write what is buffered; raises UnavailableError LOG_UNAVAILABLE and forgets it if that fails."""
        ...


class OpaOutput(msgspec.Struct, frozen=True):
    """What one run of `opa` left: exit status, both outputs, and the files it was asked to make (those that exist)."""

    status: int
    stdout: bytes
    stderr: bytes
    made: Mapping[str, bytes] = {}


class OpaTool(Protocol):
    """Runs the `opa` program in an empty folder of its own, with limits on time, memory and output. Authoring only."""

    def run(self, *arguments: str, files: Mapping[str, bytes], collect: tuple[str, ...] = ()) -> OpaOutput:
        """Run `opa <arguments>` in a folder with exactly `files` and `capabilities.json`; return `collect` if made.

        Raises ConfigError OPA_MISSING, UnavailableError OPA_TIMEOUT or OPA_KILLED.
        """
        ...
