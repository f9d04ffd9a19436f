"""What a process does that uses a store until it is killed; its arguments are TASK URL RUN."""

from __future__ import annotations

import os
import sys
import threading

from msgspec.structs import replace

from tests.store_support import NOW, TENANT, audited, device, enrollment, invitation, key, there
from zt_engine.adapters.store_sql import SqlStore, open_store

LIMIT = 40


def say(text: str) -> None:
    """Acknowledge something, as an answer to a client would."""
    os.write(1, f"{text}\n".encode())


def enroll(store: SqlStore, name: str) -> None:
    """What an enrollment writes, in one transaction."""
    with store.writing(TENANT) as tx:
        tx.invitations.put(invitation(name, state="used", enrollment=name))
        tx.enrollments.put(enrollment(name, state="certified", device_id=name))
        tx.devices.put(device(name, keys=(key(name),), owner="p"))
        tx.audit.record(audited(f"device:{name}", reason="enrolled"))
        tx.outbox.announce("device.changed", b'"enrolled %b"' % name.encode())


def revoke(store: SqlStore, name: str) -> None:
    """What a revocation writes, in one transaction."""
    with store.writing(TENANT) as tx:
        held = there(tx.devices.get(name))
        tx.devices.put(replace(held, version=held.version + 1, status="revoked"))
        tx.situation.put("revocation", name, b"{}")
        tx.audit.record(audited(f"device:{name}", reason="revoked"))
        tx.outbox.announce("revocation.added", b'"revoked %b"' % name.encode())


def write(store: SqlStore, run: str) -> None:
    """Enroll and revoke in turn, from two threads, and acknowledge each after its commit."""

    def turns(thread: int) -> None:
        for turn in range(1_000_000):
            name = f"{run}-{thread}-{turn}"
            enroll(store, name)
            say(f"enrolled {name}")
            if turn % 3 == 2:
                revoke(store, name)
                say(f"revoked {name}")

    threads = [threading.Thread(target=turns, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def halt(store: SqlStore, name: str) -> None:
    """Change something, and stand still before the commit."""
    with store.writing(TENANT) as tx:
        held = there(tx.devices.get(name))
        tx.devices.put(replace(held, version=held.version + 1, status="revoked"))
        tx.audit.record(audited(f"device:{name}"))
        tx.audit.page(after=0, limit=1)  # by now it is written
        say("halted")
        threading.Event().wait()


def sequence(store: SqlStore) -> None:
    """Become the sequencer as soon as that is possible, and put in order whatever there is."""
    waiting = threading.Event()
    while (fence := store.elect()) is None:
        waiting.wait(0.01)
    say(f"elected {fence}")
    while True:
        store.gather_seen(TENANT, now=NOW)
        placed = store.sequence(TENANT, fence=fence, limit=LIMIT)
        if placed:
            say(f"placed {placed[0].seq} {placed[-1].seq}")
        else:
            waiting.wait(0.005)


def main() -> None:
    """Do one of the three."""
    task, url, run = sys.argv[1:]
    store = open_store(url)
    if task == "write":
        write(store, run)
    elif task == "halt":
        halt(store, run)
    else:
        sequence(store)
