"""Directory records of subjects, one JSON file each (`subjects/*.json`)."""

from __future__ import annotations

import re

import msgspec

from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.identity import MAX_CLEARANCE, MAX_LIST, SubjectRecord, is_text
from zt_engine.core.strict_json import read_object

MAX_RECORD_BYTES = 64 * 1024
_STATUS = re.compile(r"[a-z][a-z_]{0,31}")


def decode_subject(raw: bytes, *, where: str) -> SubjectRecord:
    """Return the record in `raw`; raises ConfigError with every problem.

    Codes: SUBJECT_RECORD_TOO_LARGE, SUBJECT_RECORD_MALFORMED (no JSON object, duplicate names), SUBJECT_RECORD_SHAPE (a
    member is missing, unknown or of the wrong type), SUBJECT_RECORD_VALUE.
    """
    if len(raw) > MAX_RECORD_BYTES:
        raise _error("SUBJECT_RECORD_TOO_LARGE", f"larger than {MAX_RECORD_BYTES} bytes", where)
    try:
        record = msgspec.convert(read_object(raw), SubjectRecord, strict=True)
    except msgspec.ValidationError as error:
        raise _error("SUBJECT_RECORD_SHAPE", str(error), where) from None
    except ValueError as error:
        raise _error("SUBJECT_RECORD_MALFORMED", str(error), where) from None
    problems = tuple(Problem(code="SUBJECT_RECORD_VALUE", message=text, where=where) for text in _faults(record))
    if problems:
        raise ConfigError(problems)
    return record


def _faults(record: SubjectRecord) -> list[str]:
    faults = [f"`{name}` is no short printable text" for name in ("id", "issuer") if not is_text(getattr(record, name))]
    for name in ("org", "nationality", "employment"):
        value = getattr(record, name)
        if value and not is_text(value):
            faults.append(f"`{name}` is no short printable text")
    for name in ("groups", "compartments", "roles"):
        values = getattr(record, name)
        if len(values) > MAX_LIST or not all(map(is_text, values)):
            faults.append(f"`{name}` is no list of at most {MAX_LIST} short printable texts")
    if _STATUS.fullmatch(record.status) is None:
        faults.append("`status` is no lower-case word; only `active` opens anything")
    if not 0 <= record.clearance <= MAX_CLEARANCE:
        faults.append(f"`clearance` is not between 0 and {MAX_CLEARANCE}")
    if record.version < 0:
        faults.append("`version` is negative")
    if record.valid_until is not None and record.valid_until < 0:
        faults.append("`valid_until` is negative")
    return faults


def _error(code: str, message: str, where: str) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, where=where),))
