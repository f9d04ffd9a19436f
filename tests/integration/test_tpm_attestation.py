"""TPM 2.0: a real one in software proves where a key is and what was booted, and any other says so in vain."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from device_inventory.inventory import Device
from tests.csr import make_csr, new_key
from tests.est_support import authority_in_memory
from tests.integration.tpm_lab import Agent, Maker, Tpm, needed
from zt_engine.adapters.attestation_tpm import TpmAttestation, chip_of
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.csr_x509 import read_csr
from zt_engine.adapters.tpm_endorsement import read_makers
from zt_engine.adapters.tpm_structures import read_public, read_quoted
from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url, to_base64url
from zt_engine.ports.credentials import CertificateRequest

NOW = time.time() + 3600
"""Later than the certificates that are made, which swtpm dates by the machine's clock."""
SECRET = bytes(range(32))
NONCE = "n-0123456789abcdef"


class Bench(msgspec.Struct):
    """Two makers, three TPMs: ours, one of another maker, one without a certificate."""

    ours: Maker
    theirs: Maker
    tpm: Tpm
    foreign: Tpm
    bare: Tpm


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    needed()
    folder = tmp_path_factory.mktemp("tpm")
    ours, theirs = Maker(folder / "ours"), Maker(folder / "theirs")
    tpm, foreign, bare = ours.make("a"), theirs.make("b"), ours.make("c", certified=False)
    tpm.extend(*range(8))
    yield Bench(ours, theirs, tpm, foreign, bare)
    for one in (tpm, foreign, bare):
        one.close()


@pytest.fixture(scope="module")
def verifier(bench: Bench) -> TpmAttestation:
    return TpmAttestation(roots=read_makers(bench.ours.roots), secret=SECRET)


class Machine(msgspec.Struct):
    """A machine with a key in its TPM: the agent's process, and the request for a certificate it made."""

    agent: Agent
    csr: bytes

    @property
    def request(self) -> CertificateRequest:
        return read_csr(self.csr).request

    def attest(self, nonce: str = NONCE) -> dict[str, Any]:
        return self.agent.statement("attest", nonce=nonce, about=self.request.der_digest)


def machine(folder: Path, tpm: Tpm, by: TpmAttestation) -> Machine:
    agent = Agent(folder, tpm, lambda statement: by.challenge(statement, now=NOW))
    return Machine(agent, agent.do("make")["csr"].encode())


@pytest.fixture(scope="module")
def laptop(bench: Bench, verifier: TpmAttestation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = machine(tmp_path_factory.mktemp("laptop"), bench.tpm, verifier)
    yield made
    made.agent.close()


def device_with(csr: bytes) -> Device:
    """A device that holds the key of a request."""
    ca = X509CertificateAuthority([authority_in_memory(int(NOW))])
    issued = ca.issue(csr, device_id="d-1", protection="attested_hw", seconds=3600, now=NOW)
    return Device(tenant="t", device_id="d-1", version=1, status="active", ownership="corp", keys=(issued.key,))


def refusal(call: Any, *arguments: object, **named: object) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    assert caught.value.code == "ATTESTATION_REFUSED"
    return caught.value.message


def refused_key(by: TpmAttestation, statement: dict[str, Any], of: Machine, *, nonce: str = NONCE) -> str:
    return refusal(by.key, statement, nonce=nonce, request=of.request, now=NOW)


def changed(statement: dict[str, Any], part: str, **members: object) -> dict[str, Any]:
    return {**statement, part: {**statement[part], **members}}


# Where the key is.


def test_a_tpm_shows_that_it_holds_the_key_a_certificate_is_asked_for(
    laptop: Machine, verifier: TpmAttestation
) -> None:
    statement = laptop.attest()

    attested = verifier.key(statement, nonce=NONCE, request=laptop.request, now=NOW)

    assert len(attested.hardware) == 43


def test_the_same_chip_has_the_same_name_each_time(laptop: Machine, verifier: TpmAttestation) -> None:
    names = {
        verifier.key(laptop.attest(nonce), nonce=nonce, request=laptop.request, now=NOW).hardware
        for nonce in ("one", "two")
    }

    assert len(names) == 1


def test_the_agents_own_signature_is_by_the_key_the_tpm_vouches_for(laptop: Machine) -> None:
    raw = bytes.fromhex(laptop.agent.do("sign", text="report")["signature"])
    key = read_csr(laptop.csr).key

    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key.verify(encode_dss_signature(r, s), b"report", ec.ECDSA(hashes.SHA256()))


def test_a_statement_is_good_for_its_nonce_and_its_request_only(laptop: Machine, verifier: TpmAttestation) -> None:
    statement = laptop.attest()
    other = msgspec.structs.replace(laptop.request, der_digest="x" * 43)

    assert "bound" in refused_key(verifier, statement, laptop, nonce="another")
    assert "bound" in refusal(verifier.key, statement, nonce=NONCE, request=other, now=NOW)


def test_a_key_outside_the_tpm_is_not_vouched_for(laptop: Machine, verifier: TpmAttestation) -> None:
    """A request for a key in a file, with the statement of an honest TPM about its own."""
    csr = read_csr(make_csr()).request
    statement = laptop.agent.statement("attest", nonce=NONCE, about=csr.der_digest)

    assert "not the one the request is for" in refusal(verifier.key, statement, nonce=NONCE, request=csr, now=NOW)


# Foreign chips.


def test_a_chip_of_another_maker_is_refused(bench: Bench, verifier: TpmAttestation, tmp_path: Path) -> None:
    stranger = TpmAttestation(roots=read_makers(bench.theirs.roots), secret=SECRET)
    other = machine(tmp_path / "other", bench.foreign, stranger)
    try:
        statement = other.attest()
        stranger.key(statement, nonce=NONCE, request=other.request, now=NOW)

        # Even with the right token: the endorsement itself is looked at each time.
        assert "nobody who is known" in refused_key(verifier, statement, other)
        assert "nobody who is known" in refusal(verifier.challenge, statement, now=NOW)
    finally:
        other.agent.close()


def test_a_chip_without_a_certificate_is_refused_unless_it_was_registered_beforehand(
    bench: Bench, verifier: TpmAttestation, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "bare", bench.bare, lambda statement: verifier.challenge(statement, now=NOW))
    csr = agent.do("make")["csr"].encode()
    said = agent.do("attest", nonce=NONCE, about=read_csr(csr).request.der_digest)
    agent.close()
    assert "`ek.certificate` is missing" in said["error"]

    chip = chip_of_tpm(bench.bare, tmp_path / "bare")
    registered = TpmAttestation(registered=frozenset({chip}), secret=SECRET)
    known = machine(tmp_path / "bare", bench.bare, registered)
    try:
        attested = registered.key(known.attest(), nonce=NONCE, request=known.request, now=NOW)
    finally:
        known.agent.close()
    assert attested.hardware == chip


def chip_of_tpm(tpm: Tpm, folder: Path, *kinds: str) -> str:
    """What an administrator registers: the name of a chip, as it was delivered."""
    seen: list[dict[str, Any]] = []

    def look(statement: Any) -> Any:
        seen.append(dict(statement))
        return {}

    agent = Agent(folder, tpm, look, *kinds)
    agent.do("make")
    assert "no credential" in agent.do("attest", nonce=NONCE, about="-")["error"]
    agent.close()
    return chip_of(read_public(from_base64url(seen[0]["ek"]["public"])).key)


@pytest.mark.parametrize("kind", ["EK-RSA2048", "EK-ECC256", "EK-HIGH-ECC384"])
def test_every_kind_of_endorsement_key_opens_its_credential(bench: Bench, kind: str, tmp_path: Path) -> None:
    """RSA and ECC, with SHA-256 and SHA-384, AES-128 and AES-256: what is sealed here is opened by a real TPM."""
    chip = chip_of_tpm(bench.tpm, tmp_path, kind)
    by = TpmAttestation(registered=frozenset({chip}), secret=SECRET)
    agent = Agent(tmp_path, bench.tpm, lambda statement: by.challenge(statement, now=NOW), kind)
    made = Machine(agent, agent.do("make")["csr"].encode())
    try:
        attested = by.key(made.attest(), nonce=NONCE, request=made.request, now=NOW)
    finally:
        agent.close()

    assert attested.hardware == chip


def test_an_attestation_key_of_one_chip_cannot_borrow_the_endorsement_of_another(
    bench: Bench, laptop: Machine, verifier: TpmAttestation, tmp_path: Path
) -> None:
    """A bought TPM lends its certificate to keys in another one: the credential opens in neither."""
    honest = laptop.attest()

    def lend(statement: Any) -> Any:
        return verifier.challenge({**statement, "ek": honest["ek"]}, now=NOW)

    agent = Agent(tmp_path / "thief", bench.foreign, lend)
    csr = agent.do("make")["csr"].encode()

    said = agent.do("attest", nonce=NONCE, about=read_csr(csr).request.der_digest)

    agent.close()
    assert said["error"].endswith("AGENT_TPM_FAILED: TSS2_Exception")


def test_an_attestation_key_in_software_cannot_be_shown_to_be_in_the_chip(
    laptop: Machine, verifier: TpmAttestation
) -> None:
    """The public area of a key of one's own, with every attribute a TPM would give it."""
    statement = laptop.attest()
    mine, raw = new_key(), from_base64url(statement["ak"]["public"])
    numbers = mine.public_key().public_numbers()
    forged = raw[:-68] + b"\0\x20" + numbers.x.to_bytes(32, "big") + b"\0\x20" + numbers.y.to_bytes(32, "big")

    assert read_public(forged).key == mine.public_key()
    assert "not shown to be in one TPM" in refused_key(
        verifier, changed(statement, "ak", public=to_base64url(forged)), laptop
    )


def test_a_token_of_another_control_plane_is_worth_nothing(
    bench: Bench, laptop: Machine, verifier: TpmAttestation
) -> None:
    elsewhere = TpmAttestation(roots=read_makers(bench.ours.roots), secret=bytes(32))

    assert "not shown to be in one TPM" in refused_key(elsewhere, laptop.attest(), laptop)


def test_an_endorsement_certificate_of_another_key_is_refused(
    bench: Bench, laptop: Machine, verifier: TpmAttestation, tmp_path: Path
) -> None:
    second = bench.ours.make("d")
    other = machine(tmp_path / "second", second, verifier)
    certificate = other.attest()["ek"]["certificate"]
    other.agent.close()
    second.close()

    assert "another key" in refused_key(verifier, changed(laptop.attest(), "ek", certificate=certificate), laptop)


# What was booted.


def boot(by: TpmAttestation, of: Machine, *, nonce: str = NONCE, device: Device | None = None) -> Any:
    quote = of.agent.statement("quote", nonce=nonce, about="d-1")
    return by.boot(quote, device=device or device_with(of.csr), nonce=nonce, now=NOW)


def test_a_quote_shows_that_the_boot_was_measured(laptop: Machine, verifier: TpmAttestation) -> None:
    assert boot(verifier, laptop) == {"tpm.present": True, "tpm.version": "2.0", "boot.measured": True}


def test_a_boot_that_measured_nothing_is_not_called_measured(
    bench: Bench, verifier: TpmAttestation, tmp_path: Path
) -> None:
    fresh = bench.ours.make("e")
    idle = machine(tmp_path / "idle", fresh, verifier)
    try:
        facts = [boot(verifier, idle)["boot.measured"]]
        fresh.extend(*range(7))
        facts.append(boot(verifier, idle)["boot.measured"])
        fresh.extend(7)
        facts.append(boot(verifier, idle)["boot.measured"])
    finally:
        idle.agent.close()
        fresh.close()

    assert facts == [False, False, True]


def test_a_quote_is_good_for_its_nonce_and_its_device_only(laptop: Machine, verifier: TpmAttestation) -> None:
    quote = laptop.agent.statement("quote", nonce=NONCE, about="d-1")
    device = device_with(laptop.csr)
    other = msgspec.structs.replace(device, device_id="d-2")

    assert "bound" in refusal(verifier.boot, quote, device=device, nonce="another", now=NOW)
    assert "bound" in refusal(verifier.boot, quote, device=other, nonce=NONCE, now=NOW)


def test_a_tpm_cannot_speak_for_a_device_whose_key_it_does_not_hold(laptop: Machine, verifier: TpmAttestation) -> None:
    """An honest machine lends its clean boot to another one."""
    quote = laptop.agent.statement("quote", nonce=NONCE, about="d-1")

    assert "does not hold" in refusal(verifier.boot, quote, device=device_with(make_csr()), nonce=NONCE, now=NOW)


def test_other_values_of_the_registers_are_refused(laptop: Machine, verifier: TpmAttestation) -> None:
    quote = laptop.agent.statement("quote", nonce=NONCE, about="d-1")
    values = from_base64url(quote["quote"]["registers"])
    forged = changed(quote, "quote", registers=to_base64url(bytes(255) + values[255:]))
    short = changed(quote, "quote", registers=to_base64url(values[:-1]))
    device = device_with(laptop.csr)

    assert "other values" in refusal(verifier.boot, forged, device=device, nonce=NONCE, now=NOW)
    assert "each register" in refusal(verifier.boot, short, device=device, nonce=NONCE, now=NOW)


def test_a_statement_about_a_key_is_no_quote_and_the_other_way_round(laptop: Machine, verifier: TpmAttestation) -> None:
    statement, quote = laptop.attest(), laptop.agent.statement("quote", nonce=NONCE, about="d-1")
    swapped = {**quote, "quote": {**quote["quote"], "attest": quote["key"]["attest"]}}

    assert "`quote.attest` is missing" in refusal(
        verifier.boot, {**quote, "quote": {}}, device=device_with(laptop.csr), nonce=NONCE, now=NOW
    )
    assert refusal(verifier.boot, swapped, device=device_with(laptop.csr), nonce=NONCE, now=NOW)
    assert "bound" in refusal(verifier.boot, statement, device=device_with(laptop.csr), nonce=NONCE, now=NOW)
    assert "bound" in refused_key(verifier, quote, laptop)


# Bad input.


@pytest.mark.parametrize("part", ["ek", "ak", "key"])
def test_every_byte_of_a_statement_matters(laptop: Machine, verifier: TpmAttestation, part: str) -> None:
    """Whatever is changed anywhere is refused, and never raises anything else."""
    statement = laptop.attest()
    for member, text in statement[part].items():
        raw = from_base64url(text)
        for position in range(0, len(raw), max(1, len(raw) // 40)):
            torn = raw[:position] + bytes([raw[position] ^ 0x55]) + raw[position + 1 :]
            if member == "certificate" and position > 200:
                continue  # the maker's signature has bits that do not count
            refused_key(verifier, changed(statement, part, **{member: to_base64url(torn)}), laptop)
            refused_key(verifier, changed(statement, part, **{member: to_base64url(raw[:position])}), laptop)
        refused_key(verifier, changed(statement, part, **{member: to_base64url(raw + b"\0")}), laptop)


@pytest.mark.parametrize("part", ["format", "ek", "ak", "key"])
@pytest.mark.parametrize("wrong", [None, "", 1, [], {}, {"public": 1}, {"public": "!"}, {"public": "A" * 20_000}])
def test_a_statement_of_another_shape_is_refused(
    laptop: Machine, verifier: TpmAttestation, part: str, wrong: object
) -> None:
    refused_key(verifier, {**laptop.attest(), part: wrong}, laptop)
    refusal(verifier.boot, wrong, device=device_with(laptop.csr), nonce=NONCE, now=NOW)


# Over time.


def test_after_a_restart_the_same_statement_can_be_made_without_another_challenge(
    bench: Bench, verifier: TpmAttestation, tmp_path: Path
) -> None:
    chip = bench.ours.make("f")
    first = machine(tmp_path / "home", chip, verifier)
    first.attest()
    first.agent.close()

    chip.reboot()
    again = Agent(tmp_path / "home", chip, lambda _statement: pytest.fail("it was shown already"))
    made = Machine(again, first.csr)
    try:
        attested = verifier.key(made.attest(), nonce=NONCE, request=made.request, now=NOW)
    finally:
        again.close()
        chip.close()
    assert attested.hardware


def test_tpm2_tools_agree_on_what_was_quoted(laptop: Machine, bench: Bench, tmp_path: Path) -> None:
    """The same registers, read by a program nobody of us wrote."""
    quote = laptop.agent.statement("quote", nonce=NONCE, about="d-1")
    values = from_base64url(quote["quote"]["registers"])
    bench.tpm.tool("tpm2_pcrread", "sha256:0,1,2,3,4,5,6,7", "-o", str(tmp_path / "values"))

    assert (tmp_path / "values").read_bytes() == values
    assert read_quoted(from_base64url(quote["quote"]["attest"])).digest == hashlib.sha256(values).digest()
