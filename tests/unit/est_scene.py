"""A control plane that serves EST, and renewals at it."""

from __future__ import annotations

import pytest
from cryptography import x509

from tests.csr import make_csr
from tests.est_support import Scene, pem_of
from zt_engine.core.errors import InputError


@pytest.fixture
def scene() -> Scene:
    return Scene()


def refusal(call: object, *arguments: object, **named: object) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.code


def renewal(scene: Scene, certificate: bytes, key: object = None) -> bytes:
    """A request for the very names of a certificate."""
    held = x509.load_pem_x509_certificate(certificate)
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    name = str(next(iter(held.subject)).value)
    return make_csr(key, name=name, alternatives=list(names))  # type: ignore[arg-type]


def enrolled(scene: Scene, key: object) -> bytes:
    scene.invite()
    return pem_of(scene.enroll(make_csr(key)))  # type: ignore[arg-type]


def reenroll(scene: Scene, csr: bytes, presented: bytes) -> bytes:
    return scene.service.reenroll(csr, presented=presented, now=scene.clock.at)
