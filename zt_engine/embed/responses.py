"""What becomes of the application's response: its labels are judged, its obligations carried out."""

from __future__ import annotations

from collections.abc import Iterable

from zt_engine.embed.ruling import Ruling

Header = tuple[bytes, bytes]

LABEL = b"zt-label"
NO_STORE = "no_store"


def labels_of(headers: Iterable[Header]) -> tuple[str, ...]:
    """Return the labels a response claims for itself, from every `Zt-Label` line and every member of its list."""
    found = [value.decode("latin-1") for name, value in headers if name.lower() == LABEL]
    return tuple(part.strip() for value in found for part in value.split(","))


def carried_out(headers: Iterable[Header], ruling: Ruling) -> list[Header]:
    """Return the headers of a response with the obligations that a middleware can carry out by itself."""
    kept = list(headers)
    if NO_STORE in ruling.obligations:
        kept = [(name, value) for name, value in kept if name.lower() != b"cache-control"]
        kept.append((b"Cache-Control", b"no-store"))
    return kept
