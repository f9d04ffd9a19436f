"""`zt device`: what administrators do to devices, by asking the control plane with an admin key."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from device_inventory.device import DeviceStatus, Ownership
from device_inventory.enrollment import EnrollmentGroup
from device_inventory.inventory import DeviceKind
from zt_engine.adapters.control_http import ControlClient
from zt_engine.cli.asking import asking
from zt_engine.cli.device_ids import whole
from zt_engine.cli.device_report import as_json, plain, say, show_invitations, show_list, show_one
from zt_engine.cli.enrollment_report import show_enrollment, show_enrollments
from zt_engine.cli.group_options import Anywhere
from zt_engine.core.instants import parse_instant
from zt_engine.core.jose import to_base64url

app = typer.Typer(cls=Anywhere, no_args_is_help=True)
asked = asking(app, "List devices, and approve, quarantine, revoke, invite.")

Id = Annotated[str, typer.Argument(help="The device's id, or how no other one begins.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the audit for ever.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
SHOWN_PROBLEMS = 50
Source = Literal["intune", "jamf", "fleet", "csv", "json"]
MOST_IDS = 1_000_000


@app.command("list")
def list_(
    status: Annotated[DeviceStatus | None, typer.Option(help="How they stand.")] = None,
    ownership: Annotated[Ownership | None, typer.Option(help="Whose they are.")] = None,
    owner: Annotated[str, typer.Option(help="Whose.")] = "",
    q: Annotated[str, typer.Option("--search", "-s", help="Part of id, name, model or owner.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    json_: AsJson = False,
) -> None:
    """List devices."""
    with asked.client() as client:
        query = {"status": status, "ownership": ownership, "owner": owner, "q": q}
        found = list(client.pages("v1", "devices", most=limit, **query))
    if json_:
        print(as_json(found))
    else:
        show_list(Console(), found, asked.language, now=time.time())


@app.command()
def show(device: Id, json_: AsJson = False) -> None:
    """Show everything that is held of a device, who says so, and what was done to it."""
    with asked.client() as client:
        found = client.get("v1", "devices", _device(client, device))
    if json_:
        print(as_json(found))
    else:
        show_one(Console(), found, asked.language, now=time.time())


@app.command()
def approve(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """Approve a device as a second person: neither its holder nor who invited them."""
    _do(device, "approve", {"reason": reason}, json_)


@app.command()
def quarantine(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """Take a device out of service to look at it."""
    _do(device, "quarantine", {"reason": reason}, json_)


@app.command()
def release(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """Put a quarantined device back into service."""
    _do(device, "release", {"reason": reason}, json_)


@app.command()
def revoke(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """End a device's registration and revoke its keys, for good."""
    _do(device, "revoke", {"reason": reason}, json_)


@app.command()
def lost(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """Mark a device lost: its next request is denied."""
    _do(device, "lost", {"reason": reason}, json_)


@app.command()
def recover(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """Note that a lost device was found; it is quarantined until somebody has looked at it."""
    _do(device, "recover", {"reason": reason}, json_)


@app.command()
def retire(device: Id, reason: Reason, json_: AsJson = False) -> None:
    """Take a device out of the inventory's care for good."""
    _do(device, "retire", {"reason": reason}, json_)


@app.command()
def transfer(
    device: Id, to: Annotated[str, typer.Argument(help="Who gets it.")], reason: Reason, json_: AsJson = False
) -> None:
    """Give a device to somebody else; it is quarantined until somebody has looked at it."""
    _do(device, "transfer", {"reason": reason, "to": to}, json_)


@app.command()
def end(
    device: Id,
    at: Annotated[str, typer.Argument(help="2027-03-31T18:00:00+09:00, or `never`.")],
    reason: Reason,
    json_: AsJson = False,
) -> None:
    """Set when a contractor's or lent device stops counting."""
    _do(device, "end", {"reason": reason, "ends_at": None if at == "never" else _instant(at)}, json_)


@app.command()
def invite(
    subject: Annotated[str, typer.Argument(help="The `sub` of the one person who may use it.")],
    issuer: Annotated[str, typer.Option(help="Where they sign in; default: where people enroll.")] = "",
    ownership: Annotated[Ownership, typer.Option(help="Whose it is.")] = "corp",
    kind: Annotated[DeviceKind, typer.Option(help="Who uses it.")] = "person",
    ceiling: Annotated[int, typer.Option(min=0, max=1000, help="Highest label rank it will be good for.")] = 200,
    approval: Annotated[bool, typer.Option("--approval", help="A second person approves the device.")] = False,
    sponsor: Annotated[str, typer.Option(help="Who answers for a contractor's device.")] = "",
    ends: Annotated[str, typer.Option(help="When the device stops counting.")] = "",
    replaces: Annotated[str, typer.Option(help="The device whose re-enrollment this is.")] = "",
    json_: AsJson = False,
) -> None:
    """Invite one person to enroll one device. The code is shown once."""
    body: dict[str, Any] = {
        "subject": subject,
        "issuer": issuer,
        "ownership": ownership,
        "kind": kind,
        "ceiling": ceiling,
        "approval": approval,
        "sponsor": sponsor,
        "not_after_device": _instant(ends) if ends else None,
    }
    with asked.client() as client:
        body["replaces"] = _device(client, replaces) if replaces else None
        # Robots enroll by EST, where nobody signs in. Asked first: what fails after the invitation would lose its code.
        closed = kind != "robot" and not client.get("v1", "enroll", "config")["issuer"]
        made = client.post("v1", "invitations", body=body)
    if closed:
        typer.echo(say("closed", asked.language), err=True)
    if json_:
        print(as_json(made))
        return
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made["not_after"]))
    print(say("invited", asked.language, **(made | {"until": until})))


@app.command()
def invitations(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200, json_: AsJson = False
) -> None:
    """List invitations: for whom, in which state, until when."""
    with asked.client() as client:
        found = list(client.pages("v1", "invitations", most=limit))
    if json_:
        print(as_json(found))
    else:
        show_invitations(Console(), found, asked.language)


@app.command()
def withdraw(
    invitation: Annotated[str, typer.Argument(help="The invitation's id, or how no other one begins.")],
    reason: Reason,
    json_: AsJson = False,
) -> None:
    """Withdraw an invitation that nobody has used."""
    with asked.client() as client:
        found = whole(invitation, lambda: client.pages("v1", "invitations", most=MOST_IDS), what="invitation")
        changed = client.post("v1", "invitations", found, "withdraw", body={"reason": reason})
    shown = {"id": changed["id"], "status": changed["state"]}
    print(as_json(changed) if json_ else say("changed", asked.language, **shown))


@app.command()
def enrollments(
    state: Annotated[EnrollmentGroup | None, typer.Option(help="How far they are; `open` is under way.")] = None,
    person: Annotated[str, typer.Option(help="Whose.")] = "",
    device: Annotated[str, typer.Option(help="The device that came of it, or how no other one begins.")] = "",
    q: Annotated[str, typer.Option("--search", "-s", help="Part of id, subject, device or invitation.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 200,
    json_: AsJson = False,
) -> None:
    """List enrollments: who is registering what, how far they are, and what came of it."""
    with asked.client() as client:
        query = {"state": state, "person": person, "device": _device(client, device), "q": q}
        found = list(client.pages("v1", "enrollments", most=limit, **query))
    if json_:
        print(as_json(found))
    else:
        show_enrollments(Console(), found, asked.language, now=time.time())


@app.command()
def enrollment(
    id_: Annotated[str, typer.Argument(metavar="ENROLLMENT", help="Its id, or how no other one begins.")],
    json_: AsJson = False,
) -> None:
    """Show how far an enrollment is, and what happened to it."""
    with asked.client() as client:
        meant = whole(id_, lambda: client.pages("v1", "enrollments", most=MOST_IDS, q=id_), what="enrollment")
        found = client.get("v1", "enrollments", meant)
    if json_:
        print(as_json(found))
    else:
        show_enrollment(Console(), found)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The export; its ending says whether it is .csv or .json.")],
    source: Annotated[Source, typer.Option(help="What wrote it.")],
    mapping: Annotated[Path | None, typer.Option(help="For csv and json: what the columns are (JSON).")] = None,
    json_: AsJson = False,
) -> None:
    """Take in an export of a management server. Exit 1 when a row could not be loaded; the others were."""
    kind = "text/csv" if file.suffix.lower() == ".csv" else "application/json"
    table = to_base64url(mapping.read_bytes()) if mapping is not None else ""
    with asked.client() as client, file.open("rb") as export:
        done = client.load(source, export, kind=kind, mapping=table)
    if json_:
        print(as_json(done))
    else:
        for fault in done["problems"][:SHOWN_PROBLEMS]:
            text = f"{file}:{fault['line']}: {fault['code']}: {fault['message']}"
            print(plain(text).plain, file=sys.stderr)
        print(say("imported", asked.language, **done))
    raise typer.Exit(1 if done["problem_count"] else 0)


def _do(device: str, operation: str, body: dict[str, Any], json_: bool) -> None:
    with asked.client() as client:
        changed = client.post("v1", "devices", _device(client, device), operation, body=body)
    print(as_json(changed) if json_ else say("changed", asked.language, **changed))


def _device(client: ControlClient, given: str) -> str:
    """Return the whole id of a device. What begins it stands in it, so the list can be asked for that alone."""
    return whole(given, lambda: client.pages("v1", "devices", most=MOST_IDS, q=given), what="device")


def _instant(text: str) -> int:
    found = parse_instant(text, dates=True)
    if found is None:
        raise typer.BadParameter(f"`{text}` is no instant: 2027-03-31T18:00:00+09:00")
    return found
