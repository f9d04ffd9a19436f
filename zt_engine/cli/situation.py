"""`zt situation`: what is going on, as the security team declares it, by asking the control plane with an admin key."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

import msgspec
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zt_engine.adapters.approvals import RecordKind, approve
from zt_engine.cli.asking import asking
from zt_engine.cli.group_options import Anywhere
from zt_engine.cli.output import Language
from zt_engine.core.errors import ConfigError, InputError, Problem

app = typer.Typer(cls=Anywhere, no_args_is_help=True)
asked = asking(app, "Show the situation; raise and lower the threat level; declare overlays, grants; revoke.")

Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the audit for ever.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Hours = Annotated[float, typer.Option("--hours", min=0.01, max=720, help="For how long.")]
Level = Annotated[int, typer.Argument(min=0, max=4, help="0 calm, 1 watchful, 2 alert, 3 severe, 4 emergency.")]
Kind = Literal["grant", "continuity", "threat_level"]
KeptKind = Literal["overlay", "grant", "continuity"]
SignalLevel = Literal["cleared", "low", "medium", "high"]
OF_SIGNALS: Final = "signals"
"""Whose overlays those are that rules about signals declared."""
_WIDE_SPACE: Final = "\N{IDEOGRAPHIC SPACE}"
PATHS: Final[Mapping[str, str]] = {"overlay": "overlays", "grant": "grants", "continuity": "continuity"}
LEVELS: Final[Mapping[Language, tuple[str, ...]]] = {
    "en": ("calm", "watchful", "alert", "severe", "emergency"),
    "ja": ("平常", "注意", "警戒", "厳戒", "緊急"),
}
_TEXTS: Final[Mapping[str, Mapping[Language, str]]] = {
    "level": {"en": "threat level {level}: {name}", "ja": "脅威レベル {level}: {name}"},
    "none": {"en": "nothing else is in force", "ja": "ほかに有効なものはありません"},
    "until": {"en": "until {until}", "ja": "{until} まで"},
    "revocations": {"en": "revocations in force: {count}", "ja": "有効な失効: {count}件"},
    "done": {
        "en": "{what}: declared; sidecars hear it within a second",
        "ja": "{what}: 宣言しました。すぐに伝わります",
    },
    "changed": {
        "en": "{what}: changed; sidecars hear it within a second",
        "ja": "{what}: 変更しました。すぐに伝わります",
    },
    "gone": {"en": "{what}: taken back", "ja": "{what}: 取り消しました"},
    "unknown_device": {
        "en": "no such device is known; the revocation is recorded and holds for whoever enrolls under this id",
        "ja": "このIDの端末は登録されていません。失効は記録され、今後このIDで登録される端末にも適用されます",
    },
    "owner": {"en": "raised by {owner}", "ja": "宣言者 {owner}"},
    "of_signals": {"en": "from signals, rule {cause}", "ja": "シグナルによる措置、ルール {cause}"},
    "noticed": {
        "en": "taken in; no overlay is another one now",
        "ja": "受け付けました。措置に変わりはありません",
    },
    "ends": {
        "en": "{what}: cleared; it ends at {until} unless more is noticed",
        "ja": "{what}: 解除を受け付けました。新たな検知がなければ {until} に終わります",
    },
    "staged": {
        "en": "staged, rollout {number} (reached: {rings})",
        "ja": "段階的に展開中、展開 {number}（到達: {rings}）",
    },
    "watched": {"en": "only watched, rollout {number}", "ja": "観察のみ、展開 {number}"},
    "reviewed": {"en": "{what}: reviewed", "ja": "{what}: 事後確認を記録しました"},
    "signed": {"en": "{file}: signed, {count} in all", "ja": "{file}: 署名しました（計{count}件）"},
    "to_sign": {
        "en": "{file}: have two approvers sign it (zt situation approve threat_level), then zt situation lower {file}",
        "ja": "{file}: 承認者2人の署名（zt situation approve threat_level）の後、zt situation lower {file}",
    },
}


@app.command()
def show(json_: AsJson = False) -> None:
    """Show what is in force or announced."""
    with asked.client() as plane:
        found = plane.get("v1", "situation")
    if json_:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    level = found["threat_level"]
    _say("level", level=level, name=LEVELS[asked.language][level])
    lines = [("overlay", one, f"{one['effect']}  {one['scope']}") for one in found["overlays"]]
    lines += [
        (one["kind"], one, " ".join((*one.get("subjects", ()), *one.get("groups", ())))) for one in found["grants"]
    ]
    lines += [_staged(one) for one in found["staged"]]
    lines += [("review", {"id": one["grant"], "not_after": one["due"]}, "") for one in found["reviews"]]
    lines += [("continuity", found["continuity"], "")] if found["continuity"] else []
    for kind, record, what in lines:
        until = _text("until", until=_instant(record["not_after"])) if "not_after" in record else ""
        why = record.get("reason") or record.get("cause") or ""
        name = f"{kind}:{record['id']}" if record.get("id") else kind
        owner = _text("owner", owner=record["owner"]) if record.get("owner") else ""
        if record.get("owner") == OF_SIGNALS:
            owner, why = _text("of_signals", cause=why), ""
        line = "  ".join(part for part in (name, what, until, owner, why) if part)
        # Names are what sources and people told: none moves the cursor or turns the line around.
        print("".join(one if one.isprintable() or one == _WIDE_SPACE else "\N{REPLACEMENT CHARACTER}" for one in line))
    if not lines:
        _say("none")
    _say("revocations", count=found["revocations_in_force"])


@app.command("raise")
def raise_(level: Level, reason: Reason) -> None:
    """Raise the threat level, alone; two people have to sign that it goes down."""
    with asked.client() as plane:
        plane.put("v1", "situation", "threat-level", body={"threat_level": level, "reason": reason})
    _say("done", what=_text("level", level=level, name=LEVELS[asked.language][level]))


@app.command()
def lowering(
    level: Level, file: Annotated[Path, typer.Argument(help="Where to write it.")], hours: Hours = 1.0
) -> None:
    """Write down that the threat level is to go down, for two approvers to sign within some hours."""
    with asked.client() as plane:
        found = plane.get("v1", "situation")
    record = {
        "tenant": found["tenant"],
        "previous": found["threat_level"],
        "threat_level": level,
        "expires_at": int(time.time() + hours * 3600),
    }
    _write(file, record)
    _say("to_sign", file=file)


@app.command("approve")
def approve_(
    kind: Kind,
    file: Annotated[Path, typer.Argument(help="The record (JSON); the signature is added to it.")],
    approver: Annotated[Path, typer.Option("--approver-key", help="The approver's private key (PEM, Ed25519).")],
) -> None:
    """Sign a record as an approver: a grant, a declaration of continuity, or that the threat level goes down."""
    record = _read(file)
    signed = {name: value for name, value in record.items() if name != "approvals"}
    kinds: dict[Kind, RecordKind] = {"grant": "grant", "continuity": "continuity", "threat_level": "threat_level"}
    approval = approve(_private(approver), kinds[kind], signed)
    if approval in record.get("approvals", []):
        raise InputError("APPROVED_ALREADY", f"key `{approval['key_id'][:12]}`", where=str(file))
    approvals = [*record.get("approvals", []), approval]
    _write(file, {**signed, "approvals": approvals})
    _say("signed", file=file, count=len(approvals))


@app.command()
def lower(file: Annotated[Path, typer.Argument(help="What two approvers signed.")], reason: Reason) -> None:
    """Lower the threat level, as two approvers have signed."""
    record = {name: value for name, value in _read(file).items() if name != "tenant"}
    with asked.client() as plane:
        plane.put("v1", "situation", "threat-level", body={**record, "reason": reason})
    level = record["threat_level"]
    _say("done", what=_text("level", level=level, name=LEVELS[asked.language][level]))


@app.command()
def overlay(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Its name.")],
    effect: Annotated[str, typer.Option(help="deny, ceiling:R, threshold:+N, acr:L, report_age:S, obligation:ID.")],
    scope: Annotated[str, typer.Option(help="tenant, service:, subject:, group:, device:, ownership: or label:.")],
    cause: Annotated[str, typer.Option("--cause", "-m", help="Why.")],
    hours: Hours = 24.0,
    exercise: Annotated[bool, typer.Option("--exercise", help="Record it and change nothing.")] = False,
) -> None:
    """Tighten what is decided, until an end that it always has."""
    now = int(time.time())
    record = {
        "id": id_,
        "effect": effect,
        "scope": scope,
        "not_before": now,
        "not_after": now + int(hours * 3600),
        "cause": cause,
        "exercise": exercise,
    }
    _declare("overlay", record)


@app.command()
def signal(
    kind: Annotated[str, typer.Argument(help="What was noticed, as rules name it: user_risk, edr_alert.")],
    principal: Annotated[str, typer.Argument(help="subject:ID, device:ID, service:ID or tenant.")],
    level: Annotated[SignalLevel | None, typer.Option(help="How bad it was judged.")] = None,
    value: Annotated[int | None, typer.Option(min=0, help="How many were counted.")] = None,
    exercise: Annotated[bool, typer.Option("--exercise", help="Record it and change nothing.")] = False,
) -> None:
    """Tell what somebody noticed: the rules of the control plane say what follows from it, and for how long."""
    told: dict[str, Any] = {"id": f"cli-{uuid4()}", "kind": kind, "at": int(time.time()), "principal": principal}
    told |= {name: said for name, said in (("level", level), ("value", value)) if said is not None}
    if len(told) != 5:
        raise typer.BadParameter("one of --level and --value")
    with asked.client() as plane:
        found = plane.post("v1", "signals", body={"signals": [{**told, "exercise": exercise}]})
    for one in found["overlays"]:
        _say("changed", what=f"overlay:{one}")
    for one, end in found["ends"].items():
        _say("ends", what=f"overlay:{one}", until=_instant(end))
    if not found["overlays"] and not found["ends"] and found["taken"]:
        _say("noticed")
    if found["ignored"] and not found["taken"]:
        first = found["ignored"][0]
        raise InputError(first["code"], first["message"])


@app.command()
def grant(file: Annotated[Path, typer.Argument(help="The grant with its approvals (JSON).")]) -> None:
    """Declare a grant that people have signed: an exception, break-glass, an approval."""
    _declare("grant", _read(file))


@app.command()
def continuity(file: Annotated[Path, typer.Argument(help="The declaration with its approvals (JSON).")]) -> None:
    """Declare that operations go on under restrictions of their own, as two people have signed."""
    _declare("continuity", _read(file))


@app.command()
def review(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The break-glass grant.")],
    findings: Annotated[str, typer.Option("--findings", "-m", help="What it was for and what was done with it.")],
) -> None:
    """Write down what came of breaking the glass; 72 hours after its end nobody breaks it again without."""
    with asked.client() as plane:
        plane.post("v1", "situation", "grants", id_, "review", body={"findings": findings})
    _say("reviewed", what=f"grant:{id_}")


@app.command()
def remove(kind: KeptKind, id_: Annotated[str, typer.Argument(metavar="ID")], reason: Reason) -> None:
    """Take an overlay, a grant or a declaration back before its end."""
    with asked.client() as plane:
        plane.delete("v1", "situation", PATHS[kind], id_, reason=reason)
    _say("gone", what=f"{kind}:{id_}")


@app.command()
def revoke(
    kind: Literal["device", "cert", "subject", "session", "jti"],
    key: Annotated[str, typer.Argument(help="Its id.")],
    reason: Reason,
    hours: Annotated[float | None, typer.Option("--hours", min=0.01, help="Until when; for ever by default.")] = None,
) -> None:
    """Revoke a device, certificate, subject, session or token; it cannot be taken back before its end."""
    until = None if hours is None else int(time.time() + hours * 3600)
    with asked.client() as plane:
        body = {"kind": kind, "key": key, "until": until, "reason": reason}
        told = plane.post("v1", "revocations", body=body)
    _say("done", what=f"{kind}:{key}")
    if told.get("known") is False:
        _say("unknown_device")


def _staged(one: Mapping[str, Any]) -> tuple[str, dict[str, Any], str]:
    """What a rollout brings to some: it is in force in the rings that are reached and nowhere else."""
    record = one["record"]
    what = f"{record['effect']}  {record['scope']}" if one["kind"] == "overlay" else ""
    if one["kind"] == "threat_level":
        level = record["threat_level"]
        what = _text("level", level=level, name=LEVELS[asked.language][level])
    rings = ", ".join(one["reached"])
    said = _text("watched" if one["mode"] == "report-only" else "staged", number=one["ref_seq"], rings=rings)
    return (one["kind"], record, "  ".join(part for part in (said, what) if part))


def _declare(kind: KeptKind, record: Mapping[str, Any]) -> None:
    name = str(record.get("id", ""))
    with asked.client() as plane:
        held = plane.get("v1", "situation")
        if any(record == one for one in (*held["overlays"], *held["grants"], held["continuity"])):
            raise InputError("DECLARED_ALREADY", f"`{name}` is declared", where=f"{kind}:{name}")
        plane.put("v1", "situation", PATHS[kind], name, body=record)
    _say("done", what=f"{kind}:{name}")


def _read(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise _fault(str(error), file) from None


def _write(file: Path, record: Mapping[str, Any]) -> None:
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(file)
    except OSError as error:
        raise _fault(str(error.strerror), file) from None


def _private(file: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError((Problem(code="APPROVER_KEY", message="no Ed25519 private key (PEM)", where=str(file)),))
    return key


def _fault(message: str, file: Path) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_FILE", message=message[:200], where=str(file)),))


def _text(text: str, **values: object) -> str:
    return _TEXTS[text][asked.language].format(**values)


def _say(text: str, **values: object) -> None:
    print(_text(text, **values))


def _instant(value: int | str) -> str:
    return value if isinstance(value, str) else datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%MZ")
