"""Step-up with a key, wired: at which desk, and how strong the policy in force takes each sign-in to be."""

from __future__ import annotations

from collections.abc import Callable

from zt_engine.adapters.webauthn_desk import StepUpClient
from zt_engine.bootstrap.following_control import ControlFollower
from zt_engine.core.identity import AssuranceTable
from zt_engine.ports import CertificateVerifier, Clock
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.browser.stepping_up import StepUp
from zt_engine.sidecar.browser.visit import Pages
from zt_engine.sidecar.replica import Replica


def assurance_of(authorizer: Authorizer) -> Callable[[], AssuranceTable]:
    """Return what tells the table of the policy in force; before there is one, nothing is strong."""

    def table() -> AssuranceTable:
        policy = authorizer.policy
        return {} if policy is None else policy.assurance

    return table


def key_pages(
    control: ControlFollower | None,
    replica: Replica,
    certificates: CertificateVerifier,
    clock: Clock,
    table: Callable[[], AssuranceTable],
) -> Pages:
    """Return the pages; without a control plane, which keeps people's keys, they lead to the identity provider."""
    desk = None if control is None else StepUpClient(control.client)
    return StepUp(desk=desk, replica=replica, certificates=certificates, clock=clock, table=table).pages
