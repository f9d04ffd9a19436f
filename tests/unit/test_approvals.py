"""Approvals: who signed exactly this record, and nobody else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.adapters.approvals import (
    Approvers,
    approval_message,
    approve,
    canonical,
    read_approvers,
    verify_approvals,
)
from zt_engine.core.approval import Approval
from zt_engine.core.errors import ConfigError, InputError

YAMADA, SATO = Ed25519PrivateKey.from_private_bytes(b"y" * 32), Ed25519PrivateKey.from_private_bytes(b"s" * 32)
RECORD = {"id": "g1", "ceiling": 200, "subjects": ["田中"], "waives": []}


def pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


APPROVERS = read_approvers({"yamada": pem(YAMADA), "sato": pem(SATO)})


def verify(
    record: dict[str, object], approvals: list[dict[str, str]], *, approvers: Approvers = APPROVERS
) -> tuple[str, ...]:
    return verify_approvals("grant", record, [Approval(**item) for item in approvals], approvers=approvers, needed=1)


def refusal(record: dict[str, object], approvals: list[dict[str, str]]) -> str:
    with pytest.raises(InputError) as caught:
        verify(record, approvals)
    return caught.value.code


def test_people_are_named_in_order_whatever_the_order_of_their_signatures() -> None:
    assert verify(RECORD, [approve(YAMADA, "grant", RECORD), approve(SATO, "grant", RECORD)]) == ("sato", "yamada")


def test_the_order_of_names_and_the_approvals_themselves_are_not_signed() -> None:
    approval = approve(YAMADA, "grant", RECORD)
    turned = dict(reversed({**RECORD, "approvals": [approval]}.items()))

    assert verify(turned, [approval]) == ("yamada",)


def test_what_is_signed_is_one_exact_text() -> None:
    expected = 'zt-approval/1\ngrant\n{"ceiling":200,"id":"g1","subjects":["田中"],"waives":[]}'

    assert approval_message("grant", {**RECORD, "approvals": []}) == expected.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
records = st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values, max_size=3)


def exact(value: object) -> object:
    """A value whose equality tells `True` from 1, as JSON does."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return [exact(item) for item in value] if isinstance(value, list) else (type(value), value)


@given(records, records)
def test_two_records_have_one_canonical_form_only_if_they_are_the_same(
    a: dict[str, object], b: dict[str, object]
) -> None:
    assert (canonical(a) == canonical(b)) == (exact(a) == exact(b))


@given(records, st.sampled_from(["id", "ceiling", "extra"]), json_values)
def test_any_change_spoils_the_signature(record: dict[str, object], name: str, value: object) -> None:
    approval = approve(YAMADA, "grant", record)
    edited = {**record, name: value}

    assert exact(edited) == exact(record) or refusal(edited, [approval]) == "APPROVAL_SIGNATURE"


def test_a_signature_for_another_kind_of_record_is_none() -> None:
    assert refusal(RECORD, [approve(YAMADA, "continuity", RECORD)]) == "APPROVAL_SIGNATURE"


@pytest.mark.parametrize("change", ["", "=", "A", " ", "\n", "!"])
def test_a_signature_in_another_spelling_is_refused(change: str) -> None:
    approval = approve(YAMADA, "grant", RECORD)
    spelt = approval["signature"][:-1] if not change else approval["signature"] + change

    assert refusal(RECORD, [{**approval, "signature": spelt}]) == "APPROVAL_SIGNATURE"


def test_one_bad_signature_spoils_the_record_whatever_the_others_say() -> None:
    good, bad = approve(YAMADA, "grant", RECORD), approve(SATO, "grant", {**RECORD, "id": "g2"})

    assert refusal(RECORD, [good, bad]) == "APPROVAL_SIGNATURE"


def test_two_keys_of_one_person_count_once() -> None:
    keys = read_approvers({"yamada": pem(YAMADA)}) | {
        name: type(one)("yamada", one.public_key) for name, one in read_approvers({"other": pem(SATO)}).items()
    }
    approvals = [Approval(**approve(key, "grant", RECORD)) for key in (YAMADA, SATO)]

    with pytest.raises(InputError, match="APPROVAL_MISSING"):
        verify_approvals("grant", RECORD, approvals, approvers=keys, needed=2)


def test_nobody_approves_for_themselves() -> None:
    approvals = [Approval(**approve(key, "grant", RECORD)) for key in (YAMADA, SATO)]

    with pytest.raises(InputError, match="APPROVAL_OWN"):
        verify_approvals("grant", RECORD, approvals, approvers=APPROVERS, needed=1, beneficiaries=frozenset({"sato"}))


def test_a_fraction_cannot_be_signed_since_it_has_many_spellings() -> None:
    with pytest.raises(ValueError, match="single"):
        canonical({"a": [1.5]})


def test_every_key_that_is_none_is_named() -> None:
    private = YAMADA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keys = {"a": b"", "b": private, "c": pem(X25519PrivateKey.generate()), "d": pem(SATO), "e": pem(SATO)}

    with pytest.raises(ConfigError) as caught:
        read_approvers(keys)

    assert [problem.message.split("`")[1] for problem in caught.value.problems] == ["a", "b", "c", "e"]
    assert {problem.code for problem in caught.value.problems} == {"APPROVER_KEY"}
    assert b"PRIVATE" not in str(caught.value).encode()
