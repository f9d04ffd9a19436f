"""The container of a bundle: one canonical gzip tar for one set of files, and a strict bounded reader.

The deflate stream is *stored*, not compressed: every zlib writes compressed data differently, and a bundle must come
out the same on every machine. Transport compresses. Two sets of equal files have equal archives, and an archive that
is not the canonical one of its files is refused, so no byte of it is without meaning.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from zt_engine.core.errors import BundleError
from zt_engine.core.gzip_member import MemberError, MemberTooLargeError, expand

MAX_ARCHIVE = 32 << 20
MAX_FILE = 24 << 20
MAX_TOTAL = 32 << 20
MAX_FILES = 4096
MAX_NAME = 100
"""The name field of a ustar header; longer names would need the prefix field."""

_BLOCK = 512
_GZIP_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF))
"""RFC 1952: deflate, no flags, no time, no hint, unknown system."""
_STORED_MAX = 0xFFFF
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*", re.ASCII)


def write(files: Mapping[str, bytes]) -> bytes:
    """Return the one archive of these files: sorted by name, mode 0644, owner 0, time 0."""
    tar = b"".join(_tar(files))
    return _GZIP_HEADER + _stored(tar) + struct.pack("<II", zlib.crc32(tar), len(tar) & 0xFFFFFFFF)


def read(raw: bytes) -> dict[str, bytes]:
    """Return the files of an archive; anything but plain files with safe, unique names is refused.

    Bounded before anything is expanded: archive, total, file and count. Whether it is canonical is a separate
    question (`is_canonical`), so that a tampered file is reported by its name and not as an odd archive.
    """
    if len(raw) > MAX_ARCHIVE:
        raise BundleError("BUNDLE_TOO_LARGE", f"{len(raw)} bytes; at most {MAX_ARCHIVE} are read")
    tar = _inflate(raw)
    files: dict[str, bytes] = {}
    at = 0
    while True:
        header = tar[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise BundleError("BUNDLE_MALFORMED", "the archive ends within a header")
        if not any(header):
            return files
        name, size = _entry(header)
        at += _BLOCK
        if name in files:
            raise BundleError("BUNDLE_MALFORMED", "a name appears twice", where=name)
        if len(files) >= MAX_FILES:
            raise BundleError("BUNDLE_TOO_LARGE", f"more than {MAX_FILES} files")
        if at + size > len(tar):
            raise BundleError("BUNDLE_MALFORMED", "the archive ends within a file", where=name)
        files[name] = tar[at : at + size]
        at += -(-size // _BLOCK) * _BLOCK


def is_canonical(raw: bytes, files: Mapping[str, bytes]) -> bool:
    """Whether `raw` is byte for byte what `write` makes of these files."""
    return raw == write(files)


def is_safe_name(name: str) -> bool:
    """Whether a name is relative, short, plain ASCII and free of `.` and `..` segments."""
    return (
        len(name) <= MAX_NAME
        and _SAFE_NAME.fullmatch(name) is not None
        and not any(segment in (".", "..") for segment in name.split("/"))
    )


def header(name: str, size: int) -> bytes:
    """Return the one ustar header of a plain file; the checksum is taken with its own field blank."""
    before = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % 0
    after = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    checksum = sum(before) + 8 * ord(" ") + sum(after)
    return before + b"%06o\0 " % checksum + after


def _tar(files: Mapping[str, bytes]) -> Iterator[bytes]:
    for name in sorted(files):
        if not is_safe_name(name):
            raise BundleError("BUNDLE_MALFORMED", f"`{name[:120]}` is not a name a bundle may hold")
        content = files[name]
        yield header(name, len(content))
        yield content
        yield bytes(-len(content) % _BLOCK)
    yield bytes(2 * _BLOCK)


def _entry(header: bytes) -> tuple[str, int]:
    name = header[:100].split(b"\0", 1)[0].decode("ascii", "replace")
    if header[156:157] not in (b"0", b"\0"):
        raise BundleError("BUNDLE_MALFORMED", "only plain files: no folders, links or devices", where=name[:MAX_NAME])
    if any(header[345:500]) or not is_safe_name(name):
        raise BundleError("BUNDLE_MALFORMED", "a name a bundle may not hold", where=repr(name[:MAX_NAME]))
    digits = header[124:136].rstrip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        raise BundleError("BUNDLE_MALFORMED", "a size that is not octal", where=name)
    size = int(digits, 8)
    if size > MAX_FILE:
        raise BundleError("BUNDLE_TOO_LARGE", f"{size} bytes; at most {MAX_FILE} a file", where=name)
    return name, size


def _stored(data: bytes) -> bytes:
    """Deflate without compression (RFC 1951 3.2.4), by hand so that it is the same everywhere."""
    blocks = []
    for start in range(0, len(data) or 1, _STORED_MAX):
        block = data[start : start + _STORED_MAX]
        last = start + _STORED_MAX >= len(data)
        blocks.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    return b"".join(blocks)


def _inflate(raw: bytes) -> bytes:
    """Expand one gzip member that fills the whole input, never beyond the limit whatever it claims."""
    try:
        return expand(raw, most=MAX_TOTAL)
    except MemberTooLargeError as error:
        raise BundleError("BUNDLE_TOO_LARGE", str(error)) from None
    except MemberError as error:
        raise BundleError("BUNDLE_MALFORMED", str(error)) from None
