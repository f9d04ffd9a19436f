"""The notice says of every fact what it is, why and for how long, and it is the limit of both sides."""

from __future__ import annotations

import re

import pytest

from device_inventory.device import OWNERSHIPS
from device_inventory.facts import CATALOGUE
from device_inventory.notice import NOTICE_VERSION, PREAMBLE, RETENTION_DAYS, allowed, notice

# What the inventory knows by itself, and no collector is asked for.
OWN = {"device.key_protection", "device.ownership", "mdm.compliant", "report_seq"}
_JAPANESE = re.compile(r"[぀-ヿ一-鿿]")


def test_every_fact_of_the_catalogue_is_on_the_notice_or_known_without_asking() -> None:
    worked_out = {name for name in CATALOGUE if name.startswith("vuln.")}

    assert allowed("corp") == set(CATALOGUE) - OWN - worked_out


def test_a_device_of_ones_own_sends_less() -> None:
    assert allowed("byod") < allowed("corp")
    assert allowed("shared") == allowed("corp")
    assert not allowed("byod") & {"device.serial_hash", "device.model", "root_equiv_groups", "listening.remote_admin"}


def test_a_device_of_ones_own_can_still_show_what_ordinary_papers_demand() -> None:
    assert allowed("byod") >= {"disk.encrypted", "os.supported", "integrity.rooted", "av.realtime", "edr.running"}


@pytest.mark.parametrize("ownership", OWNERSHIPS)
def test_the_notice_lists_exactly_what_is_allowed_in_both_languages(ownership: str) -> None:
    japanese, english = (notice(ownership, language) for language in ("ja", "en"))  # type: ignore[arg-type]

    assert [item.name for item in japanese] == [item.name for item in english]
    assert {item.name for item in japanese} == allowed(ownership)  # type: ignore[arg-type]


def test_japanese_is_polite_and_english_is_english() -> None:
    for item in notice("corp", "ja"):
        for text in (item.text, item.purpose, item.retention):
            assert text.endswith("。")
            assert all(
                sentence.endswith(("です", "ます", "ません")) or "（" in sentence for sentence in text[:-1].split("。")
            )
    for item in notice("corp", "en"):
        for text in (item.text, item.purpose, item.retention):
            assert text.endswith(".")
            assert not _JAPANESE.search(text)
            assert text[0].isupper()


def test_no_two_facts_are_said_to_be_the_same_thing() -> None:
    for language in ("ja", "en"):
        texts = [item.text for item in notice("corp", language)]  # type: ignore[arg-type]
        assert len(set(texts)) == len(texts)


def test_the_notice_says_how_long_everything_is_kept() -> None:
    assert all(str(RETENTION_DAYS) in item.retention for item in notice("corp", "ja"))
    assert all(str(RETENTION_DAYS) in item.retention for item in notice("corp", "en"))


def test_the_version_names_the_texts() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", NOTICE_VERSION)
    assert "閲覧履歴は収集しません" in PREAMBLE["ja"]
    assert "do not collect your files" in PREAMBLE["en"]
