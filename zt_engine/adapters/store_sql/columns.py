"""Column types that mean the same on both databases, and refuse what one of them would.

PostgreSQL takes no NUL in a text and no number above 64 bits; SQLite takes either, or raises something of its own.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Dialect, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from zt_engine.core.errors import InputError

MAX_NAME: Final = 512
_MAX_NUMBER: Final = 2**63 - 1


class Name(TypeDecorator[str]):
    """A short text that is looked up or sorted by: in the order of its code points, whatever the database's locale."""

    impl = String(MAX_NAME)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """The order of code points is SQLite's own; PostgreSQL calls it `C`."""
        kind = String(MAX_NAME, collation="C") if dialect.name == "postgresql" else String(MAX_NAME)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """InputError STORE_VALUE for a text that could not be kept or looked up."""
        if value is not None and (len(value) > MAX_NAME or "\0" in value or not _is_unicode(value)):
            raise InputError("STORE_VALUE", f"a name has at most {MAX_NAME} characters, and no NUL or surrogate")
        return value


class Prose(TypeDecorator[str]):
    """A text of any length that is searched through."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """InputError STORE_VALUE for a text that could not be kept or looked up."""
        if value is not None and ("\0" in value or not _is_unicode(value)):
            raise InputError("STORE_VALUE", "a text has no NUL or surrogate")
        return value


class Json(TypeDecorator[bytes]):
    """A value as the JSON it was encoded to. As text, so that an operator can read it with the database's own tools."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> str | None:
        """InputError STORE_VALUE for what is no text. JSON escapes NUL, so that is never in it."""
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError:
            raise InputError("STORE_VALUE", "JSON is UTF-8") from None

    def process_result_value(self, value: str | None, dialect: Dialect) -> bytes | None:
        """The bytes that were given."""
        return None if value is None else value.encode()


class Number(TypeDecorator[int]):
    """A whole number of 64 bits: a version, a place in an order, epoch seconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """InputError STORE_VALUE for a number that could not be kept."""
        if value is not None and not -_MAX_NUMBER <= value <= _MAX_NUMBER:
            raise InputError("STORE_VALUE", "a number has at most 64 bits")
        return value


def _is_unicode(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
