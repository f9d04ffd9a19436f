"""A sign-in is for one control plane: what another one learns from it, or made up, is of no use here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.oidc import Binding
from device_inventory.sign_in import bound_nonce
from tests.fakes.persons import SECRET, URL, FakePersons
from zt_engine.control_plane.signing_in import SignIn, SignIns
from zt_engine.core.errors import InputError

PEOPLE = FakePersons()


def refused(sign_in: SignIn) -> str:
    with pytest.raises(InputError) as caught:
        SignIns(PEOPLE, URL).verify(sign_in, now=0)
    return caught.value.code


def test_a_sign_in_that_was_made_for_this_control_plane_counts() -> None:
    assert SignIns(PEOPLE, URL).verify(PEOPLE.sign_in("tanaka"), now=0).subject == "tanaka"


@given(
    secret=st.text(max_size=64),
    other=st.sampled_from(["https://evil.example", "http://control.example", "https://control.example:8443", ""]),
)
def test_invariant_a_token_that_was_made_for_another_url_opens_nothing_with_any_secret(secret: str, other: str) -> None:
    stolen = PEOPLE.sign_in("tanaka", nonce=bound_nonce(SECRET, other))

    for told in (SECRET, secret):
        code = refused(SignIn(id_token=stolen.id_token, secret=told))
        assert code == ("SIGN_IN_FOREIGN" if told else "AGENT_OUTDATED")


def test_a_token_without_a_nonce_shows_nothing() -> None:
    assert refused(PEOPLE.sign_in("tanaka", nonce="")) == "SIGN_IN_UNBOUND"


def test_a_secret_that_could_be_guessed_is_none() -> None:
    token = PEOPLE.sign_in("tanaka", nonce=bound_nonce("short", URL))

    assert refused(SignIn(id_token=token.id_token, secret="short")) == "SIGN_IN_FOREIGN"


def test_each_sign_in_has_a_nonce_of_its_own_and_shows_its_secret_to_nobody() -> None:
    one, two = Binding(URL), Binding(URL + "/")

    assert one.nonce != two.nonce
    assert "secret='" not in repr(PEOPLE.sign_in("tanaka")) + repr(one)
