"""The machine as a collector sees it: files under a root folder, and a fixed set of commands. Everything is bounded.

Nothing here decides what a value means. A file that is not there, may not be read, is too large or is no plain file
raises, and `collect` turns that into the status of the facts that were asked for: never into a value.
"""

from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from device_inventory.collectors.clock import KernelClock, kernel_clock
from device_inventory.collectors.commands import Output, run_command
from device_inventory.collectors.unseen import NotObserved
from device_inventory.facts import FactStatus, FactValue

Scope = Literal["user", "root"]

SMALL: Final = 64 * 1024
"""Nearly every file that is read is far below this."""
LARGE: Final = 64 * 1024 * 1024
"""A package database."""
MAX_NAMES: Final = 65_536
MAX_TEXT: Final = 256
_SESSION: Final = "HOME XDG_CONFIG_HOME XDG_CURRENT_DESKTOP LD_PRELOAD"
# Opening waits for nobody: a pipe that is never written to must not hold the collector.
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


class Collected(Struct, frozen=True, gc=False):
    """One fact as it was looked for: `value` is None unless `status` is `observed`.

    `detail` says why in words, for the person at the machine; it is not part of a report. `at`: when it was looked at,
    where that was before this look; None for this very look.
    """

    status: FactStatus
    value: FactValue = None
    detail: str = ""
    at: int | None = None

    def looked_at(self, now: int) -> int:
        """Return when it was looked at, `now` being the time of this look."""
        return now if self.at is None else self.at


Found = Mapping[str, Collected]


class Session(Struct, frozen=True):
    """What the environment says of the user's session, as far as it matters."""

    home: str = ""
    config: str = ""
    """Where the user's configuration lies when it is not in `.config`."""
    desktop: str = ""
    """Names of the desktop, separated by colons, as XDG has them."""
    preload: str = ""


def _session() -> Session:
    return Session(*(os.environ.get(name, "") for name in _SESSION.split()))


class Machine(Struct, frozen=True, kw_only=True):
    """Where to look, as whom, and at what time. `Machine(now=...)` is the machine this runs on.

    `root` stands before every path, so that a folder can play a machine; `run` answers the commands of
    `commands.COMMANDS` by name, so that nothing that was read can ever become an argument.
    """

    now: int
    """Epoch seconds."""
    root: Path = Path("/")
    run: Callable[[str], Output] = run_command
    clock: Callable[[], KernelClock] = kernel_clock
    uid: int = msgspec.field(default_factory=os.getuid)
    session: Session = msgspec.field(default_factory=_session)
    memory: Path | None = None
    """A file in which the slow lane remembers since when updates are waiting; not under `root`. None: no memory."""

    def at(self, path: str) -> str:
        """The path under the root."""
        return f"{self.root}{path}" if self.root != _SLASH else path

    def data(self, path: str, *, limit: int = SMALL, head: bool = False) -> bytes:
        """Content of a plain file of at most `limit` bytes, with `head` its beginning; raises OSError, NotObserved."""
        descriptor = os.open(self.at(path), _FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotObserved("error", f"`{path}` is no plain file")
            parts: list[bytes] = []
            held = 0
            # Files of the kernel give a page at a time and have no size, so only the end says that it is the end.
            while held <= limit and (part := os.read(descriptor, min(_CHUNK, limit + 1 - held))):
                parts.append(part)
                held += len(part)
        finally:
            os.close(descriptor)
        content = b"".join(parts)
        if held > limit and not head:
            raise NotObserved("error", f"`{path}` is larger than {limit} bytes")
        return content[:limit]

    def opened(self, path: str, *, limit: int = SMALL) -> io.BytesIO:
        """The same as a file to read from."""
        return io.BytesIO(self.data(path, limit=limit))

    def text(self, path: str, *, limit: int = SMALL, head: bool = False) -> str:
        """The same as text; bytes that are no UTF-8 become replacement characters."""
        return self.data(path, limit=limit, head=head).decode("utf-8", "replace")

    def word(self, path: str) -> str:
        """The only line of a file, without blanks around it."""
        return self.text(path, limit=4096).strip().strip("\0").strip()

    def number(self, path: str) -> int:
        """The one non-negative number a file holds; NotObserved `error` for anything else."""
        word = self.word(path)
        if not (word.isascii() and word.isdigit() and len(word) < 20):
            raise NotObserved("error", f"`{path}` holds no number")
        return int(word)

    def unzipped(self, path: str, *, limit: int) -> str:
        """Text of a gzip file, of which no more than `limit` bytes are unpacked."""
        unpack = zlib.decompressobj(wbits=31)
        try:
            content = unpack.decompress(self.data(path, limit=limit), limit)
        except zlib.error:
            raise NotObserved("error", f"`{path}` is no gzip file") from None
        return content.decode("utf-8", "replace")

    def names(self, path: str) -> list[str]:
        """Names in a folder, sorted; raises OSError."""
        found: list[str] = []
        with os.scandir(self.at(path)) as entries:
            for entry in entries:
                if len(found) == MAX_NAMES:
                    raise NotObserved("error", f"`{path}` holds too many names")
                found.append(entry.name)
        return sorted(found)

    def listing(self, path: str) -> list[str]:
        """Names in a folder, sorted; none where there is no such folder. Raises OSError when it may not be read."""
        try:
            return self.names(path)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def status(self, path: str) -> os.stat_result | None:
        """What is known of a file without opening it; None where there is none. Raises OSError when that is hidden."""
        try:
            return Path(self.at(path)).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a name; raises OSError when that is hidden."""
        return self.status(path) is not None

    def link(self, path: str) -> str | None:
        """Last name of what a symbolic link leads to; None where there is no link."""
        try:
            return Path(self.at(path)).readlink().name
        except OSError:
            return None

    def optional(self, path: str, *, limit: int = SMALL, head: bool = False) -> str | None:
        """Text of a file, or None where there is none; raises OSError when it may not be read."""
        try:
            return self.text(path, limit=limit, head=head)
        except (FileNotFoundError, NotADirectoryError):
            return None


_SLASH: Final = Path("/")


def seen(value: FactValue, detail: str = "", *, at: int | None = None) -> Collected:
    """An observed value; `at` when it was observed earlier than now."""
    return Collected("observed", value, detail, at)


def unknown(detail: str) -> Collected:
    """What could not be looked at, or gave no answer: `not_collected`."""
    return Collected("not_collected", None, detail)


def shown(text: str) -> Collected:
    """A text as a fact: printable and short, or not collected."""
    clean = "".join(letter for letter in text.strip() if letter.isprintable())[:MAX_TEXT].strip()
    return seen(clean) if clean and "\N{REPLACEMENT CHARACTER}" not in clean else unknown("it has no readable name")
