"""Sessions at a real provider over HTTP that has bad days: they live until their time, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from tests.control_support import NOW
from tests.fakes.strict_provider import Mood, StrictProvider
from tests.session_support import DUE, Office, sessions
from tests.session_support import office as office
from tests.session_support import only as only
from zt_engine.adapters.provider_oidc import DISCOVERY_TIMEOUT, TOKEN_SECONDS, ClientProof, OidcProvider
from zt_engine.control_plane.refreshing import CLAIM_SECONDS
from zt_engine.core.errors import UnavailableError


@pytest.fixture(scope="module")
def strict() -> Iterator[StrictProvider]:
    with StrictProvider() as provider:
        yield provider


@pytest.fixture
def asking(strict: StrictProvider) -> Iterator[Callable[[], OidcProvider]]:
    """Makes clients of a strict provider that is well again."""
    strict.mood, strict.good, strict.used = "well", {"r0"}, set()
    strict.thefts = strict.refreshes = 0
    strict.asked.clear()
    strict.go.clear()
    made: list[OidcProvider] = []

    def one() -> OidcProvider:
        proof = ClientProof("portal")
        made.append(OidcProvider(strict.issuer, proof=proof, scopes=(), now=lambda: float(NOW)))
        return made[-1]

    yield one
    for client in made:
        client.close()


@pytest.mark.parametrize("mood", ["html", "html_200", "error_500", "error_429", "broken_json", "huge", "hangs_up"])
def test_a_provider_that_answers_nonsense_ends_nobody_s_session_before_its_time(
    office: Office, strict: StrictProvider, asking: Callable[[], OidcProvider], mood: Mood
) -> None:
    office.provider.refresh_token = "r0"
    sid = office.signed_in().sid
    strict.mood = mood
    own = sessions(office, provider=asking())

    assert own.refresh(sid, now=DUE) is not None
    assert own.refresh(sid, now=DUE + 1) is not None
    strict.mood = "well"
    after = own.refresh(sid, now=DUE + CLAIM_SECONDS)

    assert after is not None
    if mood == "hangs_up":  # the token was used, and nobody knows the next one
        assert (after.until, strict.thefts) == (NOW + 900, 1)
    else:
        assert (after.until, strict.thefts) == (DUE + CLAIM_SECONDS + 900, 0)


def test_a_provider_that_refuses_a_refresh_ends_the_session(
    office: Office, strict: StrictProvider, asking: Callable[[], OidcProvider]
) -> None:
    sid = office.signed_in().sid
    strict.mood = "refuses"

    assert sessions(office, provider=asking()).refresh(sid, now=DUE) is None


@pytest.mark.parametrize("mood", ["no_client", "not_for_client"])
def test_a_provider_that_refuses_our_client_is_our_fault_and_ends_nobody_s_session(
    office: Office, strict: StrictProvider, asking: Callable[[], OidcProvider], mood: Mood
) -> None:
    office.provider.refresh_token = "r0"
    sid = office.signed_in().sid
    strict.mood = mood
    client = asking()
    own = sessions(office, provider=client)

    with capture_logs() as logs, pytest.raises(UnavailableError) as refused:
        client.exchange("c", verifier="v", redirect_uri="https://portal.example/.zt/callback")
    (said,) = logs
    assert (said["log_level"], said["code"], refused.value.code) == ("error", "SIGN_IN_CLIENT", "SIGN_IN_CLIENT")
    for setting in ("client_id", "key_file", "secret_file", "[sign_in]"):
        assert setting in said["hint"]
    assert own.refresh(sid, now=DUE) is not None
    strict.mood = "well"
    after = own.refresh(sid, now=DUE + CLAIM_SECONDS)

    assert after is not None
    assert after.until == DUE + CLAIM_SECONDS + 900


def test_a_provider_that_takes_for_ever_is_given_up_before_somebody_else_may_ask(
    strict: StrictProvider, asking: Callable[[], OidcProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zt_engine.adapters.provider_oidc.TOKEN_SECONDS", 0.2)
    strict.mood = "slow"

    with pytest.raises(UnavailableError):
        asking().refresh("r0")


def test_a_whole_question_takes_less_time_than_its_claim_holds() -> None:
    assert 2 * DISCOVERY_TIMEOUT + TOKEN_SECONDS < CLAIM_SECONDS


def test_a_provider_that_cannot_be_reached_is_tried_once_for_everybody_who_waits() -> None:
    provider = OidcProvider("http://127.0.0.1:1", proof=ClientProof("portal"), scopes=(), now=lambda: float(NOW))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            provider.promises_issuer()
    provider.close()


def test_where_to_sign_out_is_the_provider_s_word_with_the_person_s_token_and_the_way_back(
    asking: Callable[[], OidcProvider], strict: StrictProvider
) -> None:
    url = asking().sign_out_url(hint="e.y.J", redirect_uri="https://portal.example/.zt/signed-out", state="s")

    assert url == (
        f"{strict.issuer}/end?tenant=a&id_token_hint=e.y.J&client_id=portal"
        "&post_logout_redirect_uri=https%3A%2F%2Fportal.example%2F.zt%2Fsigned-out&state=s"
    )
