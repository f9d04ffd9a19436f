"""`zt agent` on a machine whose posture is set and whose clock runs ahead, with tpm2-pytss of another environment.

Its arguments are SITE_PACKAGES SECONDS COMMAND... SITE_PACKAGES comes last in the path: only what is nowhere else is
taken from there.
"""

from __future__ import annotations

import sys

from tests.fakes.agent_machine import FakeMachine
from tests.integration.tpm_office import Ahead
from zt_engine.cli import agent, main


def run() -> None:
    sys.path.append(sys.argv[1])
    agent.CLOCK = Ahead(float(sys.argv[2]))
    # What the agent says of the TPM is what a machine that wants to look good would say.
    machine = FakeMachine(tpm__present=True, tpm__version="2.0", boot__measured=True)
    agent._machine = lambda _folder: machine
    sys.argv = ["zt", "agent", *sys.argv[3:]]
    main()
