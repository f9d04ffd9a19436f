"""Questions of Apache that were read before, but for what differs in every one: the id and the port of the client.

As elsewhere (`sidecar.repeats`) nothing follows about the decision: `Authorizer.stands` is asked each time.
"""

from __future__ import annotations

from zt_engine.core.request import is_request_id

ID, PORT = b"UNIQUE_ID", b"REMOTE_PORT"

Key = tuple[bytes, bytes, bytes]


def key_of(raw: bytes) -> tuple[Key, bytes] | None:
    """Return what parameters say (FastCGI 1.0, 3.4) without what differs in every question, and its id as we write it.

    None for parameters that have to be read. Only those are kept that have both names (`ApacheHook.ask`), and where
    their bytes come a second time nobody says which of the two is the parameter. So of what is kept it is known where
    the two values stand, and whatever has the same key has the same lengths, names and values in the same places. Ids
    and ports of other lengths have other keys; httpd's ids have one length.
    """
    one, other = _value(raw, ID), _value(raw, PORT)
    if one is None or other is None:
        return None
    number = raw[one[0] : one[1]].replace(b"@", b"_")
    if not is_request_id(number):
        return None
    (begin, end), (start, stop) = (one, other) if one < other else (other, one)
    return (raw[:begin], raw[end:start], raw[stop:]), number


def _value(raw: bytes, name: bytes) -> tuple[int, int] | None:
    """Return where the value of a parameter stands, if it is whole, has lengths of one byte and its name comes once."""
    at = raw.find(name)
    if at < 2 or raw[at - 2] != len(name) or raw[at - 1] > 127 or raw.find(name, at + 1) >= 0:
        return None
    begin = at + len(name)
    end = begin + raw[at - 1]
    return (begin, end) if end <= len(raw) else None
