"""Signing in with a browser on another machine: the device code of RFC 8628, for a terminal without a screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from device_inventory.agent.errors import AgentError, Secret, UnreachableError
from device_inventory.agent.jose import payload
from device_inventory.agent.oidc import (
    Client,
    Provider,
    TokenRefusedError,
    ask_token,
    check_id_token,
    oauth_error,
    post,
    refusal,
)
from device_inventory.agent.tls import safe_url
from device_inventory.agent.wire import Wire, nonsense, plain, read_answer

LONGEST: Final = 1800.0
SLOWER: Final = 5.0
"""What `slow_down` adds to the pause, for this and all later requests (RFC 8628, 3.5)."""

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


class DevicePrompt(Struct, frozen=True, kw_only=True):
    """What a person is told: where to go, and what to type there."""

    uri: str
    code: str
    complete_uri: str = ""


class _Begun(Struct):
    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    verification_uri_complete: str = ""
    interval: float = 5.0


def sign_in(
    wire: Wire,
    provider: Provider,
    client: Client,
    *,
    nonce: str,
    show: Callable[[DevicePrompt], None],
    pause: Callable[[float], None],
    now: Callable[[], float],
    elapsed: Callable[[], float],
) -> Secret:
    """Return an ID token. `show` tells the person what to do, `pause` waits.

    AGENT_DEVICE_CODE_UNSUPPORTED, AGENT_SIGN_IN_REFUSED, AGENT_SIGN_IN_TIMEOUT.
    """
    if not provider.device_authorization_endpoint:
        raise AgentError("AGENT_DEVICE_CODE_UNSUPPORTED", "the provider offers no device code", where=provider.issuer)
    begun = _begin(wire, provider, client, nonce, now())
    show(
        DevicePrompt(
            uri=begun.verification_uri, code=plain(begun.user_code, 40), complete_uri=begun.verification_uri_complete
        )
    )
    until = elapsed() + min(begun.expires_in, LONGEST)
    interval = max(1.0, min(begun.interval, 60.0))
    form = {"grant_type": _GRANT, "client_id": client.client_id, "device_code": begun.device_code}
    while True:
        pause(interval)
        if elapsed() >= until:
            raise AgentError("AGENT_SIGN_IN_TIMEOUT", "the code is over")
        try:
            token = ask_token(wire, provider, form, now=now())
        except TokenRefusedError as refused:
            interval += _slower(refused)
        except UnreachableError:
            interval = min(interval * 2, 60.0)  # RFC 8628, 3.5: back off when the connection fails
        else:
            # Not every provider carries a nonce through the device code; one that does must carry this one. Whether
            # a sign-in without counts is for the control plane to say.
            return check_id_token(token, client, nonce=_nonce_of(token, nonce), now=now())


def _begin(wire: Wire, provider: Provider, client: Client, nonce: str, now: float) -> _Begun:
    where = provider.device_authorization_endpoint
    answer = post(wire, where, {"client_id": client.client_id, "scope": client.scope, "nonce": nonce})
    if answer.status in (400, 401, 403):
        refused = oauth_error(answer)
        raise refusal(refused.error, refused.description)
    begun = read_answer(answer, _Begun, where=where, now=now)
    if not all(not url or safe_url(url) for url in (begun.verification_uri, begun.verification_uri_complete)):
        raise nonsense("the address to go to is neither https nor on loopback", where)
    return begun


def _slower(refused: TokenRefusedError) -> float:
    match refused.error:
        case "authorization_pending":
            return 0.0
        case "slow_down":
            return SLOWER
        case "expired_token":
            raise AgentError("AGENT_SIGN_IN_TIMEOUT", "the code is over") from None
    raise refusal(refused.error, refused.description) from None


def _nonce_of(token: Secret, sent: str) -> str | None:
    try:
        return sent if "nonce" in payload(token.reveal()) else None
    except ValueError:
        return None
