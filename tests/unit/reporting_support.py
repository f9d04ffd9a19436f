"""A control plane that takes reports, and a machine that is enrolled at it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.enrollment_support import Machine, Office
from tests.fakes.persons import SECRET
from zt_engine.control_plane.signing_in import SignIn
from zt_engine.core.errors import ZtError

FORGED = SignIn(id_token=b"forged", secret=SECRET)


def refused(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(ZtError) as caught:
        call(*arguments, **more)
    return caught.value.code


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def machine(office: Office) -> Machine:
    return office.enroll()
