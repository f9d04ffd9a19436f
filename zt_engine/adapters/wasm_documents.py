"""What goes into a Wasm policy and what may come out: caps on the input document, the one legal shape of an answer."""

from __future__ import annotations

import msgspec

from zt_engine.core.errors import BundleError, UnavailableError

MAX_DOCUMENT = 256 * 1024
MAX_DEPTH = 64
MAX_ANSWER = 1024 * 1024

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    result: msgspec.Raw


_skim = msgspec.json.Decoder(msgspec.Raw).decode
_read = msgspec.json.Decoder(list[_Answer]).decode


def check_document(document: bytes) -> None:
    """Refuse a document that is too large, too deep or not JSON, with UnavailableError ENGINE_INPUT.

    Our own serialiser never makes one; but OPA's parser inside the Wasm turns malformed JSON silently into an undefined
    input, so this is checked (about 1 us for 2 kB) instead of trusted.
    """
    if len(document) > MAX_DOCUMENT:
        raise UnavailableError("ENGINE_INPUT", f"the input document has {len(document)} bytes, at most {MAX_DOCUMENT}")
    # So many opening brackets, inside of strings or not, are no deeper than that: the common case ends here.
    if document.count(b"{") + document.count(b"[") > MAX_DEPTH and _deeper_than(document, MAX_DEPTH):
        raise UnavailableError("ENGINE_INPUT", f"the input document is nested deeper than {MAX_DEPTH}")
    try:
        _skim(document)
        if not document.isascii():
            document.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnavailableError("ENGINE_INPUT", f"the input document is not JSON: {error}") from None


def _deeper_than(document: bytes, limit: int) -> bool:
    """Whether brackets outside of strings nest deeper than `limit`: each pass removes the innermost pairs."""
    unescaped = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    bare = b"".join(unescaped.split(b'"')[::2]).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(limit):
        if not bare:
            return False
        bare = bare.replace(b"[]", b"")
    return bool(bare)


def check_data(data: bytes) -> None:
    """Refuse data that is not one JSON object, with BundleError WASM_DATA_INVALID."""
    try:
        _skim(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BundleError("WASM_DATA_INVALID", f"the policy's data is not JSON: {error}") from None
    if not data.lstrip().startswith(b"{"):
        raise BundleError("WASM_DATA_INVALID", "the policy's data is not a JSON object")


def read_answer(text: bytes) -> bytes:
    """Return X of `[{"result": X}]`; an empty list is ENGINE_UNDEFINED, anything else ENGINE_MALFORMED."""
    try:
        answers = _read(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnavailableError("ENGINE_MALFORMED", f"the policy's answer is not a result set: {error}") from None
    if len(answers) == 1:
        return bytes(answers[0].result)
    if answers:
        raise UnavailableError("ENGINE_MALFORMED", f"the policy gave {len(answers)} results instead of one")
    raise UnavailableError("ENGINE_UNDEFINED", "the policy gave no result")
