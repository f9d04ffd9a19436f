"""The agent's side of attestation, in the environment that has tpm2-pytss: commands as JSON lines, answers likewise.

Usage: tpm_child.py FOLDER TCTI [KIND_OF_EK]. Commands: `make`, `attest`, `quote`, `sign`. A challenge goes out as
`{"challenge": ...}` and its answer is the next line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from device_inventory.agent import keys_tpm
from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Home, KeyRef
from device_inventory.agent.tpm_attest import ENDORSEMENTS, TpmAttester

KEY = KeyRef(kind="tpm", name="device.tpm")


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> Any:
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    return json.loads(line)


def challenge(statement: object) -> Any:
    say({"challenge": statement})
    answer = hear()
    if "refused" in answer:
        raise AgentError("AGENT_TPM_FAILED", answer["refused"])
    return answer


def main() -> None:
    folder, tcti = Path(sys.argv[1]), sys.argv[2]
    # The agent's TPM is a device file; here it is a socket.
    keys_tpm.DEVICE, keys_tpm._TCTI = Path("/dev/null"), tcti  # type: ignore[misc]
    home = Home(folder)
    home.prepare()
    attester = TpmAttester(
        home, key_file=lambda: KEY.name, tcti=tcti, challenge=challenge, endorsements=sys.argv[3:] or ENDORSEMENTS
    )
    while True:
        command = hear()
        try:
            match command["do"]:
                case "make":
                    key = keys_tpm.TpmKey.make(home, KEY)
                    say({"jwk": dict(key.public_jwk), "csr": key.csr("device"), "protection": key.protection})
                case "sign":
                    say({"signature": keys_tpm.TpmKey.open(home, KEY).sign(command["text"].encode()).hex()})
                case "attest":
                    say({"statement": attester.attest(nonce=command["nonce"], csr_digest=command["about"])})
                case "quote":
                    say({"statement": attester.quote(nonce=command["nonce"], device_id=command["about"])})
        except AgentError as error:
            say({"error": str(error)})


main()
